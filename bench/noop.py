"""The task that the benches run."""


def noop(first: int, second: int) -> None:
    """Does nothing: what is measured is everything around it."""
