"""What an experiment is: settings at three sizes, the runs they ask for, how one run is made."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from .errors import InputError

if TYPE_CHECKING:
    import pandas as pd

PRESETS = ("quick", "standard", "paper")
RESERVED = ("figures", "report")  # folders of the results that are not experiments


class Settings(Protocol):
    """The author's frozen dataclass of plain values; the command line offers each field."""

    @property
    def n_replications(self) -> int:
        """Replications inside one run."""

    @property
    def n_seeds(self) -> int:
        """Runs of each config, with the seeds 0, ..., n_seeds - 1."""


SettingsT = TypeVar("SettingsT", bound=Settings)
ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class Experiment(Generic[SettingsT, ConfigT]):
    """A family of runs, declared once and run at three sizes.

    Attributes:
        name: an identifier; the folder of the results has this name.
        summary: one line, shown by `fenchel list`.
        run: makes one run, (config, seed) -> table. It must depend on nothing else.
        cells: the configs that settings ask for: frozen dataclasses of plain values.
        presets: settings for "quick" (seconds to a minute), "standard" (at most ten minutes on two
            cores) and "paper" (the paper's scale).

    Raises:
        ValueError, TypeError: on construction, for a field that does not fit the description.
    """

    name: str
    summary: str
    run: Callable[[ConfigT, int], pd.DataFrame]
    cells: Callable[[SettingsT], Sequence[ConfigT]]
    presets: Mapping[str, SettingsT]

    def __post_init__(self) -> None:
        check_name(self.name, "the experiment's name")
        if self.name in RESERVED:
            raise ValueError(f"name {self.name!r} is a folder of the results; pick another name")
        for field in ("run", "cells"):
            if not callable(getattr(self, field)):
                raise TypeError(f"{field} must be a function, got {getattr(self, field)!r}")
        if sorted(self.presets) != sorted(PRESETS):
            raise ValueError(
                f"presets of {self.name} must be exactly {', '.join(PRESETS)}, got "
                f"{', '.join(self.presets) or 'none'}; name settings for each"
            )
        for preset, settings in self.presets.items():
            _check_settings(settings, f"preset {preset!r} of {self.name}")
        if len({type(settings) for settings in self.presets.values()}) > 1:
            raise TypeError(f"presets of {self.name} must all have one type; use one dataclass")

    def settings(self, preset: str, **overrides: object) -> SettingsT:
        """The settings of a preset, with some fields replaced."""
        if preset not in self.presets:
            raise InputError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        values = {
            f.name: getattr(self.presets[preset], f.name) for f in _fields(self.presets[preset])
        }
        unknown = sorted(set(overrides) - set(values))
        if unknown:
            raise InputError(
                f"settings of {self.name} have no {', '.join(unknown)}; "
                f"there are {', '.join(values)}"
            )
        settings = type(self.presets[preset])(**{**values, **overrides})
        _check_settings(settings, f"settings of {self.name}")
        return settings

    def configs(self, settings: SettingsT) -> list[ConfigT]:
        """The checked list of configs that `settings` ask for: not empty, plain, all different."""
        _check_settings(settings, f"settings of {self.name}")
        configs = list(self.cells(settings))
        hashes = [config_hash(self.name, config) for config in configs]
        if not configs:
            raise ValueError(
                f"cells of {self.name} gave no config for {settings}; give at least one"
            )
        for i, config in enumerate(configs):
            if hashes.index(hashes[i]) < i:
                raise ValueError(f"cells of {self.name} gave {config} twice; give each config once")
        return configs


def config_hash(experiment_name: str, config: object) -> str:
    """Sixteen hex digits that name a config: the head of the sha256 of its canonical JSON.

    The JSON is `{"config":{fields},"experiment":name}`: sorted keys, no spaces, ASCII, floats by
    repr. Names of classes are not in it, and 1 and 1.0 are different values.

    Raises:
        TypeError: `config` is not a frozen dataclass.
        ValueError: a field holds something else than None, bool, int, finite float, str, and
            sequences, string-keyed mappings and frozen dataclasses of these.
    """
    identity = {"experiment": experiment_name, "config": plain(config)}
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]


def plain(config: object) -> dict[str, Any]:
    """The fields of a frozen dataclass as values that JSON keeps exactly (sequences: lists).

    Raises:
        TypeError, ValueError: as `config_hash`.
    """
    if isinstance(config, type) or not is_dataclass(config):
        raise TypeError(f"a config must be a frozen dataclass, got {config!r}; declare one")
    if not getattr(config, "__dataclass_params__").frozen:  # noqa: B009 (unknown to type checkers)
        raise TypeError(f"{type(config).__name__} must be frozen; use @dataclass(frozen=True)")
    return {
        field.name: _plain(getattr(config, field.name), f"{type(config).__name__}.{field.name}")
        for field in fields(config)
    }


def canonical_json(value: object) -> str:
    """The one JSON text of a plain value: sorted keys, no spaces, ASCII, floats by repr."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def check_name(name: object, what: str) -> None:
    """Refuses what cannot name a module, a folder and a word on the command line at once."""
    if not isinstance(name, str) or not (name.isidentifier() and name.isascii()):
        raise ValueError(f"{what} must be an identifier such as 'exp3_regret', got {name!r}")


def _plain(value: object, name: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}; say it by None or a word")
        return float(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): _plain(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(value)
    raise ValueError(
        f"{name} must be a plain value (None, bool, int, float, str, or a sequence or mapping of "
        f"these), got {type(value).__name__} {value!r}; convert it, by int(), .tolist() or a name"
    )


def _fields(settings: object) -> list[Any]:
    return list(fields(settings))  # type: ignore[arg-type]


def _check_settings(settings: object, name: str) -> None:
    plain(settings)
    for field in ("n_replications", "n_seeds"):
        value = getattr(settings, field, None)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(
                f"{field} in {name} must be an integer of at least 1, got {value!r}; raise it"
            )
