"""The scripted team of Pico Park: a baseline that sees the whole level and really wins.

Nothing in it is trained, and it draws nothing at random. It reads every game's text, chooses one
row, the *lane*, through each obstacle (`env/scripted_ground.py`) and clears the lanes from left to
right. The owner of a lane's next block fires from a free cell of that row, the others wait around
it but never in its line, and nobody enters an obstacle before a bullet is under way to each block
that is left in its lane. One cat fetches the key and goes first at the door.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from env.pico_park import PicoPark, PicoParkConfig
from env.scripted_ground import BLOCKS, Course, Obstacle, Traffic, flood_once

UP, DOWN, LEFT, RIGHT, SHOOT, IDLE = range(6)

URGENT_TICKS = 3
"""In the last ticks before the screen moves on, who stands at its edge goes before all others."""
WAY_WEIGHT = 0.6
"""How much a tile of its own way counts for a cat that looks for a place to wait, against a tile
between that place and the lane. Below 1, or nobody would move up."""
NEARBY = sorted(
    ((row, column) for row in range(-9, 10) for column in range(-6, 1) if abs(row) - column <= 9),
    key=lambda offset: (abs(offset[0]) - offset[1], offset),
)
"""Offsets of the cells where cats wait for a lane to open, the nearest to its entry first."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the team must know of a game's config."""

    screen_width: int
    """Columns."""
    bullet_speed: int
    """Tiles a tick."""
    bullets_per_agent: int
    """Bullets that a cat may have in the air; 0: no limit."""


@dataclass(kw_only=True)
class View:
    """A game before a tick."""

    text: str
    """The level as the game prints it."""
    tick: int
    """The tick that is about to be played, from 1."""
    left: int
    """Left edge of the screen, column."""
    scroll_period: int
    """Ticks until the screen moves on by a column."""
    cells: dict[int, int]
    """Cell of each cat in play; kept up to date while the cats act."""
    cooldowns: list[int]
    """Ticks until each seat may shoot."""
    holder: int
    """Who has the key, or -1."""
    door_open: bool


class Captain:
    """Leads the cats of one game through one level."""

    def __init__(self, num_agents: int, rules: Rules, text: str) -> None:
        """Plans a level from its text."""
        self.num_agents, self.rules = num_agents, rules
        self.course = Course(text)
        self.stride = self.course.stride
        self._frontier = 0  # the first obstacle with a block left in its lane
        self._walkable = self.course.free_cells(text)
        self._fetcher = -1  # who is to take the key
        # Blocks that a bullet is under way to, and the tick before which they must be gone.
        self._claims: dict[int, int] = {}
        # For each seat the ticks before which its bullets must be gone.
        self._airborne: dict[int, list[int]] = {}

    def lead(self, view: View) -> list[int]:
        """An action for each seat."""
        self.view = view
        self._look()
        self._mark_cells()
        goals, ranks = self._choose_goals()
        traffic = Traffic(
            stride=self.stride,
            cells=dict(view.cells),
            goals=goals,
            free=self.free,
            safe=self.enterable & ~self.danger,
            fatal=self.danger | self.crushing,
            door=1 << self.course.door,
        )
        plan = traffic.decide_all(ranks, {seat for seat in ranks if self._may_fire(seat)})
        actions = [IDLE] * self.num_agents
        first = (view.tick - 1) % self.num_agents
        for seat in (*range(first, self.num_agents), *range(first)):
            if seat in view.cells:
                actions[seat] = self._act(seat, plan[seat])
        return actions

    # -- seeing

    def _look(self) -> None:
        """Finds the lane to clear next and the blocks in it that nobody has shot at yet."""
        text, obstacles = self.view.text, self.course.obstacles
        self._claims = {
            cell: tick
            for cell, tick in self._claims.items()
            if tick > self.view.tick and text[cell] in BLOCKS
        }
        before, last_column = self._frontier, min(c % self.stride for c in self.view.cells.values())
        while self._frontier < len(obstacles) and (
            obstacles[self._frontier].last < last_column
            or not any(text[cell] in BLOCKS for cell in obstacles[self._frontier].cells)
        ):
            self._frontier += 1
        if self._frontier != before:
            self._walkable = self.course.free_cells(text)
        self.lane: Obstacle | None = None
        self.targets: list[int] = []
        self.chamber = obstacles[self._frontier - 1].last + 1 if self._frontier else 0
        self.opening = 0  # lanes whose last bullets are under way, as a set
        for obstacle in obstacles[self._frontier :]:
            blocks = (cell for cell in obstacle.cells if text[cell] in BLOCKS)
            self.targets = [cell for cell in blocks if cell not in self._claims]
            if self.targets:
                self.lane = obstacle
                break
            self.chamber = obstacle.last + 1
            self.opening |= sum(1 << cell for cell in obstacle.cells)

    def _mark_cells(self) -> None:
        """Sets of cells: where ways may lead, where one may wait, what can be entered, what kills.

        Blocks that are as good as gone are free to plan ways over, so that all follow the bullets.
        """
        view, course, screen = self.view, self.course, self.rules.screen_width
        edge = course.columns_from[view.left]
        moves_on = view.left + screen < course.length
        leftmost = edge & ~course.columns_from[view.left + 1] if moves_on else 0
        self.crushing = leftmost if view.tick % view.scroll_period == 0 else 0
        self.free = (self._walkable | self.opening) & edge
        if self.lane:
            self.free &= ~course.columns_from[self.lane.first]
        self.restful = self.free & ~leftmost
        right = min(view.left + screen, course.length)
        claimed = sum(1 << cell for cell in self._claims)
        self.enterable = self.free & ~course.columns_from[right] & ~self.crushing & ~claimed
        self.occupied = sum(1 << cell for cell in view.cells.values())
        self.danger = 0
        cell = view.text.find("-")
        while cell >= 0:
            self._mark_flight(cell)
            cell = view.text.find("-", cell + 1)

    def _mark_flight(self, cell: int) -> None:
        """Adds the way of a bullet to the danger, up to the tile that is sure to stop it."""
        text = self.view.text
        while text[cell] not in "#\n" and (text[cell] not in BLOCKS or cell in self._claims):
            self.danger |= 1 << cell
            cell += 1

    # -- where everyone goes

    def _choose_goals(self) -> tuple[dict[int, int], list[int]]:
        """Cells for each seat to go to, and the seats by rank: who gives way last comes first."""
        view, course = self.view, self.course
        goals: dict[int, int] = {}
        queue = list(dict.fromkeys(BLOCKS.index(view.text[cell]) for cell in self.targets))
        self._name_fetcher(queue)
        if self._fetcher >= 0:
            goals[self._fetcher] = 1 << course.key
        if self.lane:
            post, taken = self.lane.cells[0] - 1, 0
            if queue[0] in view.cells and queue[0] not in goals:
                firing = self._firing_cell(queue[0])
                goals[queue[0]] = 1 << firing
                taken = (1 << self.targets[0]) - (1 << firing)  # the line of fire
        else:
            post, taken = course.door, flood_once(1 << course.door, self.stride)
            if view.door_open:
                goals = dict.fromkeys(view.cells, 1 << course.door)
            elif view.holder >= 0:
                goals[view.holder] = 1 << course.door
        line = taken

        def rank(seat: int) -> tuple[bool, int, int]:
            """Out of the line first, then whose turn comes next, then who is ahead."""
            turn = queue.index(seat) if seat in queue else len(queue)
            return not line >> view.cells[seat] & 1, turn, -(view.cells[seat] % self.stride)

        leaders = [] if view.door_open else list(goals)
        ranks = leaders + sorted((seat for seat in view.cells if seat not in leaders), key=rank)
        for seat in ranks:
            if seat not in goals:
                goals[seat] = self._waiting_cell(view.cells[seat], post, taken)
                taken |= goals[seat]
        urgent = [seat for seat in ranks if self._is_urgent(seat)]
        if self.restful:
            goals |= dict.fromkeys(urgent, self.restful)
        return goals, urgent + [seat for seat in ranks if seat not in urgent]

    def _is_urgent(self, seat: int) -> bool:
        """Whether the screen's edge will crush the cat soon where it stands."""
        ticks_left = -self.view.tick % self.view.scroll_period
        moves_on = self.view.left + self.rules.screen_width < self.course.length
        at_edge = self.view.cells[seat] % self.stride == self.view.left
        return moves_on and at_edge and ticks_left < URGENT_TICKS

    def _name_fetcher(self, queue: Sequence[int]) -> None:
        """Chooses who takes the key once it can be reached, and keeps to it."""
        key = self.course.key
        lies_there = key >= 0 and self.view.holder < 0 and not self.view.door_open
        if not lies_there or (self.lane and key % self.stride >= self.lane.first):
            self._fetcher = -1
        elif self._fetcher not in self.view.cells:
            # Rather not one of those who shoot next.
            turns = dict(zip(queue[:2], (8, 5), strict=False))
            self._fetcher = min(
                self.view.cells,
                key=lambda seat: self._way(self.view.cells[seat], key) + turns.get(seat, 0),
            )

    def _way(self, here: int, there: int) -> int:
        """Manhattan distance, tiles."""
        (row, column), (to_row, to_column) = divmod(here, self.stride), divmod(there, self.stride)
        return abs(row - to_row) + abs(column - to_column)

    def _firing_cell(self, seat: int) -> int:
        """Where, right before the lane, the owner of its next block gets its shot off soonest."""
        assert self.lane is not None
        here, target = self.view.cells[seat], self.targets[0]
        best = cell = self.lane.cells[0] - 1
        best_ticks, in_line = float("inf"), 0
        while cell >= 0 and self.restful >> cell & 1 and cell % self.stride >= self.chamber:
            stands_there = cell != here and self.occupied >> cell & 1
            ticks = float(max(self._way(here, cell), self.view.cooldowns[seat]))
            ticks += (target - cell) / self.rules.bullet_speed + 1.5 * in_line + 2 * stands_there
            if ticks < best_ticks:
                best, best_ticks = cell, ticks
            in_line += stands_there
            cell -= 1
        return best

    def _waiting_cell(self, here: int, post: int, taken: int) -> int:
        """A cell near the post that is not too far away and not taken, as a set."""
        row, column = divmod(here, self.stride)
        post_row, post_column = divmod(post, self.stride)
        best, best_cost = 1 << here, float("inf")
        for rows, columns in NEARBY:
            near = abs(rows) - columns
            if near >= best_cost:
                break
            cell = post + rows * self.stride + columns
            if cell < 0 or not (self.restful & ~taken) >> cell & 1:
                continue
            way = abs(post_row + rows - row) + abs(post_column + columns - column)
            if near + WAY_WEIGHT * way < best_cost:
                best, best_cost = 1 << cell, near + WAY_WEIGHT * way
        return best

    # -- acting

    def _may_fire(self, seat: int) -> bool:
        """Whether a shot now is sure to end in the lane's next block."""
        view, here = self.view, self.view.cells[seat]
        if not self.targets or view.cooldowns[seat]:
            return False
        target = self.targets[0]
        if view.text[target] != BLOCKS[seat] or not here < target:
            return False
        if here // self.stride != target // self.stride or here % self.stride < self.chamber:
            return False
        if target % self.stride >= view.left + self.rules.screen_width or self.danger >> here & 1:
            return False
        under_way = sum(tick > view.tick for tick in self._airborne.get(seat, ()))
        if 0 < self.rules.bullets_per_agent <= under_way:
            return False
        between = range(here + 1, target)
        return not any(
            self.occupied >> cell & 1
            or view.text[cell] == "#"
            or (view.text[cell] in BLOCKS and cell not in self._claims)
            for cell in between
        )

    def _act(self, seat: int, goes_to: int) -> int:
        """The seat's action, now that those before it have acted."""
        here, tick = self.view.cells[seat], self.view.tick
        if self._may_fire(seat):
            target = self.targets.pop(0)
            # The bullet is checked one tile away at once, then flies in this very tick.
            flight = max(0, -(-(target - here - 1) // self.rules.bullet_speed) - 1)
            self._claims[target] = tick + flight + 1
            under_way = [end for end in self._airborne.get(seat, ()) if end > tick]
            self._airborne[seat] = [*under_way, tick + flight + 1]
            if target - here > 1:
                self._mark_flight(here + 1)
            return SHOOT
        if goes_to == here or (self.danger | self.occupied) >> goes_to & 1:
            return IDLE
        self.occupied ^= 1 << here
        if goes_to != self.course.door:
            self.occupied |= 1 << goes_to
        self.view.cells[seat] = goes_to
        return {-self.stride: UP, self.stride: DOWN, -1: LEFT, 1: RIGHT}[goes_to - here]


class ScriptedTeam:
    """Plays all seats of every game of a simulator.

    >>> sim = PicoPark(num_envs=8, config=PicoParkConfig(preset="gates"), seed=1)
    >>> sim.reset()
    >>> team = ScriptedTeam(4, sim.config)
    >>> for _ in range(100):
    ...     sim.step(team.actions(sim))
    """

    def __init__(self, num_agents: int, config: PicoParkConfig | None = None) -> None:
        """Makes a team.

        Args:
            num_agents: cats in the team.
            config: that of the games; `PicoParkConfig(num_agents=num_agents)` by default.
        """
        self.num_agents = num_agents
        self.config = config or PicoParkConfig(num_agents=num_agents)
        native = self.config.to_native()
        self._default = native.difficulty
        self._rules = [
            Rules(
                screen_width=self.config.screen_width,
                bullet_speed=native.difficulties[i].bullet_speed,
                bullets_per_agent=native.difficulties[i].bullets_per_agent,
            )
            for i in range(native.num_difficulties)
        ]
        self.reset()

    def reset(self) -> None:
        """Forgets all games; call it after a `reset` or `restore` of the simulator in mid-level."""
        self._captains: dict[int, Captain] = {}
        self._ticks: dict[int, int] = {}

    def actions(
        self, sim: PicoPark, playing: Sequence[bool] | NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        """What every cat does next. Call it once before every step.

        Args:
            sim: games that have been reset.
            playing: (num_envs,) the games to play; in the others all cats idle. None: all.

        Returns:
            int32 (num_envs, num_agents).
        """
        for i in np.flatnonzero(sim.terminated | sim.truncated).tolist():
            self._captains.pop(i, None)
        actions = np.full((sim.num_envs, self.num_agents), IDLE, np.int32)
        state, alive = sim.global_state, sim.alive
        periods = np.rint(1 / np.maximum(state[:, :, 3].max(1), 1e-6)).astype(int)
        games = zip(
            range(sim.num_envs),
            periods.tolist(),
            np.rint(state[:, :, 2].max(1) * periods).astype(int).tolist(),
            np.rint(state[:, :, 0] * self.config.screen_width).astype(int).tolist(),
            np.rint(state[:, :, 9] * self.config.shot_cooldown).astype(int).tolist(),
            np.where(state[:, :, 4].any(1), state[:, :, 4].argmax(1), -1).tolist(),
            (state[:, :, 6].max(1) > 0).tolist(),
            alive.tolist(),
            strict=True,
        )
        for i, period, phase, offsets, cooldowns, holder, door_open, in_play in games:
            if (playing is not None and not playing[i]) or not any(in_play):
                self._captains.pop(i, None)
                continue
            text = sim.text(i)
            cells = {s: text.index(str(s)) for s in range(self.num_agents) if in_play[s]}
            seat, cell = next(iter(cells.items()))
            left = cell % (text.index("\n") + 1) - offsets[seat]
            tick = self._ticks.get(i, 0) + 1
            if i not in self._captains or (tick - 1) % period != phase:
                level = sim.level(i)
                number = self._default if level.difficulty is None else int(level.difficulty)
                self._captains[i] = Captain(self.num_agents, self._rules[number], text)
                tick = left * period + phase + 1  # exact as long as the screen moves
            self._ticks[i] = tick
            view = View(
                text=text,
                tick=tick,
                left=left,
                scroll_period=period,
                cells=cells,
                cooldowns=cooldowns,
                holder=holder,
                door_open=door_open,
            )
            actions[i] = self._captains[i].lead(view)
        return actions
