"""Whole files and folders: written under a temporary name, then renamed."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from .errors import InputError

HOST = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())
TEMPORARY = re.compile(r"\.(?P<target>\d+)\.(?P<pid>\d+)\.(?P<host>[A-Za-z0-9_-]+)\.[0-9a-f]{8}")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it: readers see the old one or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_writable(folder: Path, what: str) -> None:
    """Makes a folder unless it is there; refuses one that cannot be written to.

    Raises:
        InputError: names the folder, what it is for, and what the system says.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{what} must be a folder to write to, got {folder} ({error})") from None


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file that survives a power cut."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Makes the names in a folder survive a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def renamed(source: Path, target: Path) -> bool:
    """Whether the folder `source` now stands at `target`; False if that place was taken."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    sync(target.parent)
    return True


def exchanged(one: Path, two: Path) -> bool:
    """Whether two folders have swapped names in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    paths = os.fsencode(one), os.fsencode(two)
    return rename is not None and rename(here, paths[0], here, paths[1], exchange) == 0


def temporary_beside(place: Path) -> Path:
    """A new name in the same folder that says which process of which host uses it for `place`."""
    return place.with_name(f".{place.name}.{os.getpid()}.{HOST}.{secrets.token_hex(4)}")


def owner_is_dead(temporary: re.Match[str]) -> bool:
    """Whether the process behind a temporary name lived on this host and has ended."""
    if temporary["host"] != HOST or os.name != "posix":
        return False  # nothing is known of other hosts; elsewhere signal 0 would end the process
    try:
        os.kill(int(temporary["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


class Identity(NamedTuple):
    """Tells a file or folder from one that takes its place later."""

    inode: int  # alone not enough: one that is deleted leaves its inode to the next
    modified_ns: int
    is_folder: bool


def identify(path: Path) -> Identity | None:
    """The identity of what is there; None: there is nothing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        status = path.lstat()  # a link to nowhere
    except NotADirectoryError:
        return None
    return Identity(status.st_ino, status.st_mtime_ns, stat.S_ISDIR(status.st_mode))


def remove_empty(folder: Path, top: Path) -> None:
    """Removes `folder` and those above it up to and with `top`; each must be empty."""
    while folder.is_relative_to(top):
        folder.rmdir()
        folder = folder.parent


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing if there is no such folder."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
