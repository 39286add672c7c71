"""What works on the code of rq-sched. Nothing here is installed."""
