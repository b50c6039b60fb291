"""Linear equations to be solved for one variable, an operation on both sides at a time.

    variant     equation                             solved when
    one         a x + b = c                          a = 1, b = 0
    two         a x + b y + c = d + x′ x             a = c = 0, b = 1
    balanced    a x + b + y′ y = c y + d + x′ x      a = b = c = 0, y′ = 1

An action (o, i, s) has k = i + 1 and σ = 2 s − 1. Its operation o

    0    adds σ k to both sides              (to b and c; c and d; b and d)
    1    divides both sides by σ k
    2    multiplies both sides by σ k
    3    adds σ k x to both sides            (to a and x′)           not in "one"
    4    adds σ k y to both sides            (to y′ and c)           in "balanced" only

At first a, b, c and d are digits 1 to 9 with signs, independent and uniform, and x′ = y′ = 0. In
"two" and "balanced" each entry that must become 0 pays 0.1 when it first does. A solution by action
t = 0, ..., 49 pays 1 − 0.9 t/50 less what those entries pay, so that an episode that solves the
equation returns 1 − 0.9 t/50, and one that does not 0.3 at most. Time is not observed.

The optimum: an entry becomes 0 by an addition only, and each addition is to one of them, so that
there must be as many additions; each is of one digit, which one action adds. Divisions and
multiplications alone change a in "one", b in "two" and y′ − c in "balanced", which must become 1:
one more action, unless they are 1 at first, with probability 1/18. Hence the numbers of actions
and the mean of the best return:

    one    1 or 2, .983         two    2 or 3, .965         balanced    3 or 4, .947

Reference:
    Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025, and
    env/equation.py of NVlabs/gbrl_sb3.
Differs from the latter:
    - entries are exact: integers over one denominator, rounded to float32 when observed. There,
      floats are compared, and roundings can miss a solution: 1 divided by 3 and 5 and multiplied
      by both is 1.0000001 in float32. Exactly, no operation makes a of "one" or b of "two" 0, which
      is to end the episode: it does once float32 has it 0, after 48 divisions by 9 at least.
    - "two" pays for an entry also if the same action solves the equation; there it does not, and
      from b = 1 more actions than needed are the best.
    - an entry too large for float32 ends the episode too, but is observed as the largest one.
    - the 50th action truncates, but not if it also terminates.
    - the generator is that of gymnasium, not the global one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from ...core import checks

LIMIT = 50  # actions of an episode
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class _Equation:
    entries: str  # as observed
    sums: dict[int, str]  # what an operation adds to: first the entry that must become 0
    one: str  # the entry that must become 1
    bonus: float  # for each that becomes 0


_EQUATIONS = {
    "one": _Equation("abc", {0: "bc"}, "a", 0.0),
    "two": _Equation("abcdx", {0: "cd", 3: "ax"}, "b", 0.1),
    "balanced": _Equation("abycdx", {0: "bd", 3: "ax", 4: "cy"}, "y", 0.1),
}


class LinearEquation(gymnasium.Env[npt.NDArray[np.float32], npt.NDArray[np.int64]]):
    """A linear equation to be solved for x ("one") or y ("two", "balanced").

    Observed are the entries (a, b, c), (a, b, c, d, x′) or (a, b, y′, c, d, x′), float32 and
    finite. Actions are of MultiDiscrete [3, 9, 2], [4, 9, 2] or [5, 9, 2]. `info["is_success"]`
    tells whether the equation is solved.

    Args:
        variant: "one", "two" or "balanced".

    Attributes:
        mean_optimal_return: mean over first equations of `optimal_return()`.

    Raises:
        ValueError: another variant.
    """

    def __init__(self, variant: str = "one") -> None:
        if variant not in _EQUATIONS:
            raise ValueError(
                f"variant must be one of {', '.join(_EQUATIONS)}, got {variant!r}; pass one of them"
            )
        self.variant = variant
        self._equation = equation = _EQUATIONS[variant]
        place = equation.entries.index
        self._drawn = [place(entry) for entry in equation.entries if entry in "abcd"]
        self._sums = {o: [place(entry) for entry in both] for o, both in equation.sums.items()}
        self._zeros = [first for first, _ in self._sums.values()]
        self._one = place(equation.one)
        self.action_space = spaces.MultiDiscrete([2 + len(self._sums), 9, 2])
        self.observation_space = spaces.Box(-np.inf, np.inf, (len(equation.entries),), np.float32)
        self.mean_optimal_return = 1 - 0.9 * (len(self._zeros) - 1 / 18) / LIMIT
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Draw an equation.

        Args:
            seed: of the generator; None: it goes on.
            options: may have "start", the numbers a, b, c (and d) to take instead.

        Raises:
            TypeError: numbers that are not integers.
            ValueError: numbers of another length, or not in ±1, ..., ±9.
        """
        super().reset(seed=seed)
        n = len(self._drawn)
        if options is not None and "start" in options:
            start = [checks.integer(number, "options['start']") for number in options["start"]]
            if len(start) != n or not all(1 <= abs(number) <= 9 for number in start):
                raise ValueError(
                    f"options['start'] must be {n} digits 1 to 9 with signs, got "
                    f"{options['start']!r}; pass the numbers {', '.join('abcd'[:n])}"
                )
        else:
            signs = 2 * self.np_random.integers(2, size=n) - 1
            start = (signs * self.np_random.integers(1, 10, size=n)).tolist()
        self._start = dict(zip("abcd", start, strict=False))
        self._numerators = [self._start.get(entry, 0) for entry in self._equation.entries]
        self._denominator = 1
        self._unpaid = set(self._zeros)
        self._steps, self._running = 0, True
        return self._observed()[0], {}

    def step(
        self, action: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Operate on both sides.

        Raises:
            ValueError: not an action.
            gymnasium.error.ResetNeeded: the episode is over.
        """
        if not self._running:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset")
        if not self.action_space.contains(action):
            raise ValueError(f"action must be in {self.action_space}, got {action!r}; sample one")
        operation, digit, positive = (int(number) for number in action)
        number = digit + 1 if positive else -digit - 1
        if operation == 1:
            self._denominator *= abs(number)
            if not positive:
                self._numerators = [-entry for entry in self._numerators]
        elif operation == 2:
            self._numerators = [number * entry for entry in self._numerators]
        else:
            for place in self._sums[operation]:
                self._numerators[place] += number * self._denominator

        zero = {place for place in self._zeros if self._numerators[place] == 0}
        bonus = self._equation.bonus
        reward = bonus * len(zero & self._unpaid)
        self._unpaid -= zero
        solved = len(zero) == len(self._zeros) and self._numerators[self._one] == self._denominator
        if solved:
            reward += 1 - 0.9 * self._steps / LIMIT - bonus * len(zero)
        self._steps += 1
        observation, lost = self._observed()
        terminated = solved or lost
        truncated = self._steps == LIMIT and not terminated
        self._running = not (terminated or truncated)
        return observation, reward, terminated, truncated, {"is_success": solved}

    def _observed(self) -> tuple[npt.NDArray[np.float32], bool]:
        """The entries in float32, and whether it is too narrow for them to go on."""
        entries = [numerator / self._denominator for numerator in self._numerators]  # float64
        lost = max(map(abs, entries)) > _LARGEST
        if lost:
            entries = [min(max(entry, -_LARGEST), _LARGEST) for entry in entries]
        observation = np.array(entries, np.float32)
        if self._one in self._drawn and observation[self._one] == 0:
            lost = True
        return observation, lost

    @property
    def state(self) -> tuple[Fraction, ...]:
        """The entries, exactly."""
        return tuple(Fraction(entry, self._denominator) for entry in self._numerators)

    def solution(self) -> npt.NDArray[np.int64]:
        """A shortest solution of the equation as it was at first: its actions, (T, 3)."""
        start = self._start
        zeros = [(o, -start[both[0]]) for o, both in self._equation.sums.items()]
        divisor = start.get(self._equation.one, -start["c"])  # once c y is subtracted, y′ = −c
        actions = zeros + [(1, divisor)] * (divisor != 1)
        return np.array([(o, abs(number) - 1, number > 0) for o, number in actions], np.int64)

    def shortest(self) -> int:
        """The least number of actions that solve the equation as it was at first."""
        return len(self.solution())

    def optimal_return(self) -> float:
        """The greatest return that the equation allowed at first, undiscounted."""
        return 1 - 0.9 * (self.shortest() - 1) / LIMIT
