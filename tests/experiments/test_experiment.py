import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from fenchel.experiments import Experiment, InputError, config_hash


@dataclass(frozen=True)
class Inner:
    alpha: float = 0.5


@dataclass(frozen=True)
class Config:
    horizon: int = 1000
    rate: float = 0.1
    name: str = "π"
    arms: tuple[int, ...] = (2, 3)
    inner: Inner = Inner()
    limit: float | None = None


def test_hash_is_the_head_of_the_digest_of_the_canonical_json() -> None:
    text = (
        '{"config":{"arms":[2,3],"horizon":1000,"inner":{"alpha":0.5},"limit":null,'
        '"name":"\\u03c0","rate":0.1},"experiment":"exp3"}'
    )
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert config_hash("exp3", Config()) == expected
    assert expected == "ac86b41b052b4938"  # the line above on any machine: folders keep their names


def test_hash_tells_experiments_and_values_apart() -> None:
    base = Config()
    others = [
        replace(base, horizon=1001),
        replace(base, rate=0.1 + 2**-56),  # the next float
        replace(base, rate=1),
        replace(base, rate=1.0),
        replace(base, name="pi"),
        replace(base, arms=(3, 2)),
        replace(base, arms=()),
        replace(base, inner=Inner(0.25)),
        replace(base, limit=0.0),
        replace(base, limit=-0.0),
        replace(base, limit=False),
    ]
    hashes = {config_hash("exp3", config) for config in [base, *others]}
    assert len(hashes) == len(others) + 1
    assert config_hash("ucb", base) not in hashes


def test_hash_ignores_the_class_and_the_order_of_fields() -> None:
    @dataclass(frozen=True)
    class Renamed:
        b: float
        a: int

    @dataclass(frozen=True)
    class Original:
        a: int
        b: float

    assert config_hash("x", Renamed(b=1.5, a=2)) == config_hash("x", Original(a=2, b=1.5))
    assert config_hash("x", Original(2, np.float64(1.5))) == config_hash("x", Original(2, 1.5))


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), np.int64(3), np.zeros(2), {1, 2}, b"ab", {1: 2}, print, 1j, Inner],
)
def test_hash_refuses_what_json_does_not_keep(value: object) -> None:
    @dataclass(frozen=True)
    class Holder:
        thing: Any = field(hash=False)

    with pytest.raises(ValueError, match=r"Holder\.thing"):
        config_hash("x", Holder(value))
    with pytest.raises(ValueError, match=r"Holder\.thing\[0\]"):
        config_hash("x", Holder([value]))


def test_hash_refuses_what_can_change() -> None:
    @dataclass
    class Mutable:
        a: int = 1

    with pytest.raises(TypeError, match="frozen"):
        config_hash("x", Mutable())
    with pytest.raises(TypeError, match="frozen dataclass"):
        config_hash("x", {"a": 1})


MakeToy = Callable[[], Experiment[Any, Any]]


@pytest.mark.parametrize("name", ["", "a-b", "../up", "1st", "naïve", "figures", "report", None])
def test_names_must_be_safe_for_folders(make_toy: MakeToy, name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        replace(make_toy(), name=name)


def test_presets_must_be_the_three(make_toy: MakeToy) -> None:
    toy = make_toy()
    with pytest.raises(ValueError, match="quick, standard, paper, got quick;"):
        replace(toy, presets={"quick": toy.presets["quick"]})
    with pytest.raises(TypeError, match="one type"):
        replace(toy, presets={**toy.presets, "paper": Counted(1, 1)})
    with pytest.raises(ValueError, match="n_seeds in preset 'paper'"):
        replace(toy, presets={**toy.presets, "paper": replace(toy.presets["paper"], n_seeds=0)})
    with pytest.raises(ValueError, match="n_replications"):
        replace(toy, presets=dict.fromkeys(toy.presets, Inner()))


@dataclass(frozen=True)
class Counted:
    n_replications: int
    n_seeds: int


def test_settings_replace_fields_of_a_preset(make_toy: MakeToy) -> None:
    toy = make_toy()
    assert toy.settings("standard", scales=(7.0,)) == replace(
        toy.presets["standard"], scales=(7.0,)
    )
    with pytest.raises(InputError, match="no colour"):
        toy.settings("quick", colour="red")
    with pytest.raises(InputError, match="quick, standard, paper, got 'huge'"):
        toy.settings("huge")


def test_cells_must_be_some_and_different(make_toy: MakeToy) -> None:
    toy = make_toy()
    with pytest.raises(ValueError, match="no config"):
        toy.configs(toy.settings("quick", scales=()))
    with pytest.raises(ValueError, match="twice"):
        toy.configs(toy.settings("quick", scales=(1.0, 2.0, 1.0)))
