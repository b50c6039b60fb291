"""Arrays in, arrays out: numpy or torch, checked once at the public door."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array: TypeAlias = npt.NDArray[Any] | Tensor
_SMALL = 1 << 18  # entries of an array
_FLOATS = (torch.float32, torch.float64)
_MASS_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}  # relative, of sums of weights


@dataclass(frozen=True)
class Origin:
    """What the arguments were, so that results can be the same.

    Attributes:
        is_numpy: numpy arrays (or lists), not tensors.
        dtype: float32 or float64.
        device: of all tensors.
    """

    is_numpy: bool
    dtype: torch.dtype
    device: torch.device

    def restore(self, tensor: Tensor) -> Any:
        """The tensor, or the numpy array that it is."""
        return tensor.detach().cpu().numpy() if self.is_numpy else tensor


def together(**arrays: Any) -> tuple[dict[str, Tensor | None], Origin]:
    """Tensors of one dtype on one device, from numpy arrays or tensors; None stays None.

    Lists and arrays of integers take the dtype of the others, float64 if there are none.

    Raises:
        TypeError: an argument is no array of numbers, or numpy arrays and tensors are mixed.
        ValueError: dtypes or devices differ, or an entry is not finite.
    """
    given = {name: value for name, value in arrays.items() if value is not None}
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    if tensors and len(tensors) < len(given):
        other = next(name for name in given if name not in tensors)
        raise TypeError(
            f"{other} must be a torch tensor like {next(iter(tensors))}, got "
            f"{type(given[other]).__name__}; pass torch.as_tensor({other}), or numpy arrays only"
        )
    converted: dict[str, Tensor | None] = dict.fromkeys(arrays)
    for name, value in given.items():
        converted[name] = value if name in tensors else _from_numpy(value, name)
    floating = {n: t for n, t in converted.items() if t is not None and t.is_floating_point()}
    first = next(iter(floating.items()), ("", torch.empty(0, dtype=torch.float64)))
    dtype = first[1].dtype
    device = next((t.device for t in converted.values() if t is not None), torch.device("cpu"))
    for name, tensor in converted.items():
        if tensor is None:
            continue
        if tensor.is_complex():
            raise TypeError(f"{name} must be real, got {tensor.dtype}; take its real part")
        if tensor.is_floating_point() and tensor.dtype != dtype:
            raise ValueError(
                f"{name} must have the dtype of {first[0]}, {dtype}, got {tensor.dtype}; convert it"
            )
        if tensor.device != device:
            raise ValueError(
                f"{name} must be on the device of the others, {device}, got {tensor.device}; "
                "move it"
            )
        tensor = tensor if tensor.is_floating_point() else tensor.to(dtype)
        extremes = tensor.detach().aminmax() if tensor.numel() else ()  # NaN if any entry is
        if not all(math.isfinite(extreme) for extreme in extremes):
            index = tuple((~torch.isfinite(tensor.detach())).nonzero()[0].tolist())
            raise ValueError(
                f"{name} must be finite, got {tensor[index].item()} at index {index}; clean it"
            )
        converted[name] = tensor
    if dtype not in _FLOATS:
        raise ValueError(f"{first[0]} must be float32 or float64, got {dtype}; convert it")
    return converted, Origin(not tensors, dtype, device)


def _from_numpy(value: Any, name: str) -> Tensor:
    try:
        array = np.asarray(value)
    except ValueError as error:  # ragged
        raise TypeError(f"{name} must be an array of real numbers ({error})") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be an array of real numbers, got {value!r:.80}; convert it")
    if array.dtype.kind in "iu":
        array = array.astype(np.int64)
    elif array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be float32 or float64, got {array.dtype}; convert it")
    if not (array.flags.c_contiguous and array.flags.writeable):  # torch warns, or refuses
        array = array.copy()
    return torch.from_numpy(array)


@contextmanager
def threads_for(work: int) -> Iterator[None]:
    """One thread of torch's for loops over small arrays, in which threads cost more than they do.

    Where another process has a core, waiting for it makes them 10 to 50 times slower. Torch's
    number of threads is that of the process: calls from several Python threads share it.

    Args:
        work: entries of the largest array.
    """
    before = torch.get_num_threads()
    if work > _SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require_shape(tensor: Tensor, name: str, shape: tuple[int | None, ...], meaning: str) -> None:
    """Raise a ValueError unless the last axes of `tensor` have the lengths given (None: any)."""
    actual = tuple(tensor.shape[-len(shape) :])
    if tensor.ndim < len(shape) or any(
        wanted not in (None, got) for wanted, got in zip(shape, actual, strict=True)
    ):
        raise ValueError(f"{name} must have shape {meaning}, got {tuple(tensor.shape)}; reshape it")


def weights(given: Tensor | None, name: str, like: Tensor, size: int) -> Tensor:
    """Nonnegative weights (..., size) of positive mass; None: 1/size each.

    Args:
        given: the weights.
        name: of the argument.
        like: a tensor with the dtype, the device and (before its last two axes) the batch wanted.
        size: number of points.
    """
    batch = like.shape[:-2]
    if given is None:
        return torch.full((*batch, size), 1 / size, dtype=like.dtype, device=like.device)
    require_shape(given, name, (size,), f"(..., {size}), one weight a point")
    if bool((given.detach() < 0).any()):
        index = tuple((given.detach() < 0).nonzero()[0].tolist())
        raise ValueError(
            f"{name} must be nonnegative, got {given[index].item()} at index {index}; clip it"
        )
    if not bool((given.detach().sum(dim=-1) > 0).all()):
        raise ValueError(f"{name} must have positive mass, got zeros only; remove the problem")
    try:
        return given.expand(*batch, size)
    except RuntimeError:
        raise ValueError(
            f"{name} must have the batch axes {tuple(batch)} of the points, got shape "
            f"{tuple(given.shape)}; reshape it"
        ) from None


def require_equal_mass(a: Tensor, b: Tensor) -> None:
    """Raise a ValueError unless the weights have equal sums, up to rounding."""
    masses = a.detach().double().sum(dim=-1), b.detach().double().sum(dim=-1)
    off = (masses[0] - masses[1]).abs() > _MASS_TOLERANCE[a.dtype] * masses[0]
    if bool(off.any()):
        at = tuple(off.nonzero()[0].tolist())
        raise ValueError(
            f"a and b must have equal mass, got {masses[0][at].item():.9g} and "
            f"{masses[1][at].item():.9g}; divide each by its sum"
        )
