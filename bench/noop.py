"""The task of the benches: nothing."""


def f(number: int, text: str) -> None:
    """Two small arguments, no result."""
