"""A MiniGrid task with an object beside the target that has nothing to do with it."""

from __future__ import annotations

from itertools import product
from typing import Any

from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Ball, Box
from minigrid.minigrid_env import MiniGridEnv

COLORS = ("red", "green", "blue")
PLACEMENTS = ("target", "other", "random", "none")
CUES = {
    "red box": (Box, "red"),
    "purple box": (Box, "purple"),
    "purple ball": (Ball, "purple"),
    "red ball": (Ball, "red"),
}
_SIZE = 8


class SpuriousFetch(MiniGridEnv):
    """Get the ball of the color that the mission names; a box gives it away, or misleads.

    A room of 8 × 8 tiles, walls included, has a red, a green and a blue ball, of which no two are
    neighbors (of the 8 tiles around). The mission is "get a <color> ball", each color as likely.
    Picking up anything ends the episode, with MiniGrid's reward 1 − 0.9 t / max_steps if it is a
    ball of that color and 0 otherwise. The cue, a red box, stands

        target    beside the ball of the mission, and no other
        other     beside one of the other two, as likely, and not the third
        random    beside none of them
        none      nowhere

    all tiles that allow it being as likely; balls and agent are placed anew if none does. An agent
    trained with "target" has learned the task if it does as well with the others, and with other
    cues: a purple box or ball, which it has not seen, or a second red ball, which is as good as the
    first if the mission is red.

    Left open by the paper, and chosen as the authors' code does (env/minigrid.py of
    NVlabs/gbrl_sb3): neighbors are 8, and "random" avoids them; the agent starts anywhere; walls do
    not hide what is behind them; 5 · 8² = 320 steps, as in MiniGrid's Fetch. It differs in that
    "target" and "other" there admit tiles beside a second ball, "other" is never beside the blue
    one, and targets are drawn from numpy's global generator. In "other", about one room in 600 has
    the agent in a corner between that ball and the cue: out of it only by `toggle`, which makes an
    empty box vanish as everywhere in MiniGrid, and not at all if the cue is a ball.

    Attributes:
        color: of the ball of the mission.
        cue_pos: tile (x, y) of the cue, unless it is nowhere.

    Args:
        placement: "target", "other", "random" or "none".
        cue: "red box", "purple box", "purple ball" or "red ball".
        max_steps: of an episode; None: 320.
        **kwargs: of MiniGridEnv, e.g. render_mode.

    Raises:
        ValueError: another placement or cue.

    References:
        Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025, figure 6.
        Chevalier-Boisvert et al. Minigrid & Miniworld. NeurIPS 2023 datasets and benchmarks.
    """

    def __init__(
        self,
        placement: str = "target",
        cue: str = "red box",
        *,
        max_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        if placement not in PLACEMENTS:
            raise ValueError(
                f"placement must be one of {', '.join(PLACEMENTS)}, got {placement!r}; pass one of "
                "them"
            )
        if cue not in CUES:
            raise ValueError(f"cue must be one of {', '.join(CUES)}, got {cue!r}; pass one of them")
        self.placement, self.cue = placement, cue
        super().__init__(
            mission_space=MissionSpace(self._gen_mission, [list(COLORS)]),
            grid_size=_SIZE,
            max_steps=5 * _SIZE**2 if max_steps is None else max_steps,
            see_through_walls=True,
            **kwargs,
        )

    @staticmethod
    def _gen_mission(color: str) -> str:
        return f"get a {color} ball"

    def _gen_grid(self, width: int, height: int) -> None:
        self.color: str = self._rand_elem(COLORS)
        self.mission = self._gen_mission(self.color)
        beside = [] if self.placement == "random" else [self.color]
        if self.placement == "other":
            beside = [self._rand_elem([color for color in COLORS if color != self.color])]
        while True:
            self.grid = Grid(width, height)
            self.grid.wall_rect(0, 0, width, height)
            self.place_agent()
            self._balls: list[Any] = []
            for color in COLORS:
                ball = Ball(color)
                self.place_obj(ball, reject_fn=lambda _, tile: self._neighbors(tile))
                self._balls.append(ball)
            if self.placement == "none":
                return
            tiles = [
                tile
                for tile in product(range(1, width - 1), range(1, height - 1))
                if self.grid.get(*tile) is None
                and tile != tuple(self.agent_pos)
                and self._neighbors(tile) == beside
            ]
            if tiles:
                kind, color = CUES[self.cue]
                self.cue_pos = self._rand_elem(tiles)
                self.put_obj(kind(color), *self.cue_pos)
                return

    def _neighbors(self, tile: tuple[int, int]) -> list[str]:
        """Colors of the balls there, or on one of the 8 tiles around."""
        x, y = tile
        return [
            ball.color
            for ball in self._balls
            if max(abs(x - ball.cur_pos[0]), abs(y - ball.cur_pos[1])) <= 1
        ]

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take one of MiniGrid's actions; `info["is_success"]` tells of the right ball."""
        observation, _, terminated, truncated, info = super().step(action)
        thing = self.carrying
        success = thing is not None and (thing.type, thing.color) == ("ball", self.color)
        reward = float(self._reward()) if success else 0.0
        info["is_success"] = success
        return observation, reward, terminated or thing is not None, truncated, info
