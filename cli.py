"""The command line from a checkout: ``python cli.py …`` does the same as ``rq-sched …``. Never installed."""

import sys

from rq_sched.cli import main

if __name__ == "__main__":
    sys.exit(main())
