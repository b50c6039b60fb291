"""Where tensors live and at what precision: the one place that reads `device=` and `dtype=`.

PyTorch is optional (`fenchel[deep]`), so it is imported inside the functions only.
`torch.get_default_dtype()` is never changed: every tensor is given its dtype.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def require_torch() -> Any:
    """PyTorch, or a ModuleNotFoundError that says how to install it."""
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":  # torch is there, and something that it needs is not
            raise
        message = 'PyTorch is not installed; run: pip install "fenchel[deep]"'
        raise ModuleNotFoundError(message, name="torch") from None
    return torch


def resolve(device: str | torch.device = "auto") -> torch.device:
    """The torch device meant by `device`.

    Args:
        device: "auto" (CUDA if it is available, else the CPU), "cpu", "cuda", "cuda:<index>", or
            a torch.device of these types.

    Raises:
        ValueError: unknown name, or CUDA (or that index) is asked for and absent.
        ModuleNotFoundError: PyTorch is not installed.
    """
    torch = require_torch()
    name = str(device)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(
            f'device must be "auto", "cpu", "cuda" or "cuda:<index>", got {device!r}; pass one'
        )
    resolved = torch.device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if resolved.type == "cuda" and (resolved.index or 0) >= count:
        raise ValueError(
            f"device must be present, got {name!r} with {count} CUDA devices available; "
            'pass "auto" or "cpu"'
        )
    return resolved


def dtype(value: str | torch.dtype = "float32") -> torch.dtype:
    """The torch dtype meant by `value`: "float32", "float64", or one of these as a torch.dtype.

    Raises:
        ValueError: anything else.
        ModuleNotFoundError: PyTorch is not installed.
    """
    torch = require_torch()
    for known in (torch.float32, torch.float64):
        if value is known or f"torch.{value}" == str(known):
            return known
    raise ValueError(f'dtype must be "float32" or "float64", got {value!r}; pass one of them')


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Where torch's generator of the CPU, from which weights are drawn, starts from a seed.

    It is as before thereafter; those of accelerators are not touched.
    """
    torch = require_torch()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
