"""What rq-sched does, from Python. With ``rq-sched up`` running in another terminal, in the same folder:

python -m examples.quickstart
"""

from __future__ import annotations

from examples.quickstart_tasks import count_primes, think
from rq_sched import Client
from rq_sched.errors import TaskFailed


def main() -> None:
    with Client() as client:
        # By name or as the function itself; what it needs is said apart from its arguments.
        handle = client.options(cpu=1, memory=16, priority=10).submit("math:hypot", 3.0, 4.0)
        print("3, 4 ->", handle.result(timeout=30))

        # A function marked with @task: still a function, and a task with the options that stand above it.
        assert count_primes(100) == 25
        marked = count_primes.options(client=client)
        print("primes below a million ->", marked.submit(1_000_000).result(timeout=30))

        # A call for each item, and the tasks as they end.
        handles = client.options(memory=16).map("math:factorial", range(200))
        ended = sum(1 for _ in client.as_completed(handles, timeout="1m"))
        print("ended ->", ended)

        # As an executor of the standard library.
        with client.executor(cpu=1, memory=16) as pool:
            print("sum ->", sum(pool.map(count_primes, range(0, 5000, 100))))

        # What is going on, and an end to it.
        slow = client.submit(think, 600)
        print("it is", slow.explain().state)
        print("cancel ->", slow.cancel(requeue=False, grace=2).outcome)

        # An error comes back as text.
        try:
            client.submit("math:sqrt", -1).result(timeout=30)
        except TaskFailed as error:
            print("failed ->", str(error).splitlines()[-1])


if __name__ == "__main__":
    main()
