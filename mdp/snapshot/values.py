"""What states are made of."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

State = dict[str, Any]


class UnsupportedEnv(ValueError):  # noqa: N818  # the name that users know
    """The state of an environment, or of one of its wrappers, cannot be kept."""


_PLAIN = frozenset(  # values that cannot be changed
    {type(None), bool, int, float, str, np.float64, np.float32, np.int64, np.int32, np.bool_}
)


def copied(value: Any) -> Any:
    """A copy that shares nothing that can be changed.

    Raises:
        TypeError: it is none of numbers, texts, arrays, and tuples, lists, deques and dictionaries
            of these.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is np.ndarray:
        return value.copy()
    if kind is dict:
        return {key: item if type(item) in _PLAIN else copied(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value
    if kind in (tuple, list):
        return kind(copied(item) for item in value)
    if kind is deque:
        return deque((copied(item) for item in value), value.maxlen)
    raise TypeError(f"a state must be of plain values and arrays, got {kind.__name__}")


def fingerprint(*parts: Any) -> str:
    """Sixteen hex digits of plain values and arrays."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                digest.update(f"{key}:".encode())
                add(item)
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        elif isinstance(value, bytes):
            digest.update(value)
        else:
            digest.update(repr(value).encode())
        digest.update(b";")

    add(list(parts))
    return digest.hexdigest()[:16]
