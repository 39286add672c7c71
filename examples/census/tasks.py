"""What runs on the nodes."""

from __future__ import annotations

import ast
import os
import warnings
from pathlib import Path
from typing import TypedDict

TALLY = "tally"


class Counts(TypedDict):
    """What is counted in one file. ``broken``: why it can't be parsed (the library has such files: for its tests)."""

    bytes: int
    lines: int
    functions: int
    classes: int
    imports: int
    broken: str | None


def count_file(path: str, notes: str | None = None) -> Counts:
    """Count what is in a source file.

    Parameters:
        path: the file.
        notes: a folder where a line is left for each run, so that somebody can count the runs without asking Redis.
    """
    source = Path(path).read_bytes()
    if notes is not None:
        leave_note(Path(notes) / TALLY, path)
    counts = Counts(bytes=len(source), lines=len(source.splitlines()), functions=0, classes=0, imports=0, broken=None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's escapes and the like
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        counts["broken"] = type(error).__name__
        return counts
    for node in ast.walk(tree):
        counts["functions"] += isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        counts["classes"] += isinstance(node, ast.ClassDef)
        counts["imports"] += isinstance(node, (ast.Import, ast.ImportFrom))
    return counts


def leave_note(tally: Path, text: str) -> None:
    """Append a line in one write: lines of several processes don't mix."""
    descriptor = os.open(tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)
