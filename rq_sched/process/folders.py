"""Folders and files that only this user can have put there, or can change.

What stands in a folder that others may write to may be theirs: a file of process groups to kill, a socket to connect
to, a link by which we write to a file of our own. So such a folder is refused, as `ssh` does it for its keys.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

ROOT = 0


def make_private(folder: Path) -> None:
    """Have a folder of this user's that nobody else can change or exchange; parents that are missing get mode 0700.

    Raises:
        OSError: it can't be made; or (PermissionError) others own it or one above it, or may write to it.
    """
    _refuse(weakness(folder))
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    _refuse(weakness(folder))
    _refuse(weakness_of_last(folder))


def weakness(folder: Path) -> str | None:
    """How somebody else could exchange a folder, or one of those above it; None: nobody can.

    One that all may write to doesn't count where the sticky bit keeps them from others' entries, as in ``/tmp``.
    """
    for path in (*reversed(folder.absolute().parents), folder.absolute()):
        if path.is_symlink() and path.lstat().st_uid not in (ROOT, os.geteuid()):
            return f"{path} is a link of another user"
    real = Path(os.path.realpath(folder))
    for path in (*reversed(real.parents), real):
        if not path.exists():
            return None
        found = path.stat()
        if found.st_uid not in (ROOT, os.geteuid()):
            return f"{path} belongs to another user"
        if others_write(found) and (path == real or not found.st_mode & stat.S_ISVTX):
            return f"others may write to {path}: chmod go-w {path}"
    return None


def weakness_of_last(folder: Path) -> str | None:
    """The same for the folder alone, whatever is above it: it must be this user's own."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    return f"others may write to {folder}: chmod go-w {folder}" if others_write(found) else None


def open_own(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file, made if need be, that is this user's own: no link, nothing that others have put there.

    Raises:
        OSError
        PermissionError: it is something else.
    """
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink <= 1 and not others_write(found):
        return file
    os.close(file)
    raise PermissionError(f"{path} isn't a file of this user's own, which nobody else may write to: remove it")


def others_write(found: os.stat_result) -> bool:
    """Whether anybody but the owner and root may write there. A group that has nobody else in it is no other."""
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and found.st_gid != ROOT and not _own_group(found.st_gid)


def _own_group(group: int) -> bool:
    """Whether it is this user's private group, as many systems make one for each user."""
    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


def _refuse(weakness: str | None) -> None:
    if weakness is not None:
        raise PermissionError(weakness)
