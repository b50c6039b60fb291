"""Names of a package that are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, module_of: Mapping[str, str], *, extra: str, needs: Collection[str]
) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Args:
        package: its `__name__`.
        module_of: the module of each name, relative to the package.
        extra: of fenchel, which installs what these modules need.
        needs: what that is.
    """

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f".{module_of[name]}", package), name)
        except ModuleNotFoundError as error:
            if error.name not in needs:
                raise
            message = f'{error.name} is not installed; run: pip install "fenchel[{extra}]"'
            raise ModuleNotFoundError(message, name=error.name) from None

    return get
