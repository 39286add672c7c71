"""``python -m rq_sched``: the command line, as ``rq-sched``."""

import sys

from rq_sched.cli import main

if __name__ == "__main__":
    sys.exit(main())
