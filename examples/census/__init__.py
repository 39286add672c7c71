"""A census of Python's own standard library, taken by rq-sched: ``python -m examples.census``.

Each source file is a task: parse it, count its functions, classes, lines. Its needs follow from its size. The demo
starts everything that it needs in a temporary folder (a server, 2 schedulers, 3 nodes of different size, all real
processes), submits, watches, sums up, and checks itself; it leaves nothing behind.

``workload``  which files, and what each needs      ``cluster``  ``rq-sched up`` as a child process
``tasks``     what runs on the nodes                ``watch``    ledgers sampled all along
``checks``    was it right?                         ``report``   the tables
"""
