"""``python -m rq_sched.cli``, or this file by its path: the command line, as ``rq-sched``."""

import sys
from pathlib import Path

if not __package__:  # called by path: Python has put this folder on sys.path, where the package's parent should be
    sys.path.remove(str(Path(__file__).parent))
    sys.path.append(str(Path(__file__).parents[2]))

from rq_sched.cli import main

if __name__ == "__main__":
    sys.exit(main())
