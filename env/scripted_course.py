"""What the scripted team knows of a level: its obstacles, and the lane to take through each.

A cell is an index into the level's text, `row * stride + column` with `stride = length + 1` (the
line break). A set of cells is one Python integer with a bit a cell: moving a whole set by a tile is
one shift, and the line breaks, never free, keep it from wrapping round.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

UNREACHABLE = 10_000
"""Cost of a lane that can't be cleared; above any real one."""

SHOT_COST = 2.5
"""Ticks that a lane's block costs when another cat than before has to shoot it."""
REPEAT_COST = 3.0
"""Ticks that it costs when the same cat shoots again: its cooldown."""
ROW_COST = 1.0
"""Ticks for each row that lies between a lane and the next."""


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Adjacent columns that are not free all the way, and the row to go through them."""

    first: int
    """Leftmost column."""
    last: int
    """Rightmost column."""
    row: int
    """Row of the lane."""
    cells: tuple[int, ...]
    """Cells of the lane, from left to right."""


def flood_once(cells: int, stride: int) -> int:
    """The set and all neighbours of its cells."""
    return cells | cells << 1 | cells >> 1 | cells << stride | cells >> stride


def distance_layers(here: int, goal: int, free: int, wanted: int, stride: int) -> list[int]:
    """Sorts the cells around `here` by their way to a goal.

    Args:
        here: index of a cell.
        goal: set of cells to get to; they need not be free.
        free: set of cells that can be walked on.
        wanted: the cells to sort, `here` and neighbours of it.
        stride: as in the module's text.

    Returns:
        Sets of cells, those nearest to the goal first, empty ones left out; no sets where there is
        no way from any of them.
    """
    free |= goal | 1 << here
    seen, fresh = goal, goal
    layers: list[int] = []
    last = False
    while fresh:
        if hit := fresh & wanted:
            layers.append(hit)
        if last:
            break
        last = bool(fresh >> here & 1)
        grown = (seen | seen << 1 | seen >> 1 | seen << stride | seen >> stride) & free
        fresh = grown & ~seen
        seen = grown
    return layers


class Course:
    """A level as the team saw it at its start: what never changes, and the lanes.

    Attributes:
        height, length, stride: of the level's text.
        key, door: their cells.
        obstacles: those between the team and the farther of key and door, from left to right.
        columns_from: set of all cells in column c or right of it, for c in 0..length.
    """

    def __init__(self, text: str, *, spared: Collection[str], key: int, door: int, bullet_speed: int) -> None:
        """Reads a level and chooses the lanes.

        Args:
            text: the level as a game prints it.
            spared: block letters whose owners are not in play any more.
            key, door: their cells; -1 for a key that nobody needs any more.
        """
        self.stride = text.index("\n") + 1
        self.length = self.stride - 1
        self.height = len(text) // self.stride
        self.text = text
        self.key, self.door = key, door
        column = sum(1 << row * self.stride for row in range(self.height))
        everywhere = column * ((1 << self.length) - 1)
        self.columns_from = [
            everywhere & column * (((1 << self.length) - 1) ^ ((1 << c) - 1))
            for c in range(self.length + 1)
        ]
        self._spared = spared
        self._bullet_speed = bullet_speed
        self.obstacles = self._choose_lanes()

    def free_cells(self, text: str) -> int:
        """Cells without wall or block; the door is not among them."""
        solid = sum(1 << cell for cell, tile in enumerate(text) if tile in "#abcdefghDO\n")
        return self.columns_from[0] & ~solid

    def _spans(self) -> list[tuple[int, int]]:
        """First and last column of every obstacle that stands in the way."""
        rows = self.text.splitlines()
        needed = max(self.key % self.stride if self.key >= 0 else 0, self.door % self.stride)
        spans: list[tuple[int, int]] = []
        for column in range(self.length):
            if not any(row[column] in "#abcdefgh" for row in rows):
                continue
            if spans and spans[-1][1] == column - 1:
                spans[-1] = (spans[-1][0], column)
            elif column < needed:
                spans.append((column, column))
        return spans

    def _lane_cost(self, first: int, last: int, row: int) -> float:
        """Ticks to clear a row, roughly; UNREACHABLE where a wall or a spared block is in it."""
        tiles = self.text[row * self.stride + first : row * self.stride + last + 1]
        if "#" in tiles or "D" in tiles or any(tile in tiles for tile in self._spared):
            return UNREACHABLE
        cost, before = 0.0, ""
        for tile in tiles:
            if tile in "abcdefgh":
                cost += REPEAT_COST if tile == before else SHOT_COST
                before = tile
        return cost

    def _opening_cost(
        self, first: int, last: int, row: int, starts: dict[str, tuple[int, int]]
    ) -> float:
        """Ticks to clear a row of the first obstacle and to gather there, from the start seats."""
        if self._lane_cost(first, last, row) >= UNREACHABLE:
            return UNREACHABLE
        ready = {tile: float(abs(row - r)) for tile, (r, _) in starts.items()}
        gathered = [away + 0.0 * (first - c) for away, (_, c) in zip(ready.values(), starts.values())]
        fired, gone = -1.0, 0.0
        tiles = self.text[row * self.stride + first : row * self.stride + last + 1]
        for column, tile in enumerate(tiles, first):
            if tile in "abcdefgh":
                fired = max(fired + 1, ready[tile])
                ready[tile] = fired + REPEAT_COST
                gone = fired + 1
        return max(gone, *gathered) + 0.3 * sum(gathered) + gone

    def _choose_lanes(self) -> tuple[Obstacle, ...]:
        """The cheapest row through each obstacle, the ways between them counted."""
        starts = {
            "abcdefgh"[int(tile)]: divmod(cell, self.stride)
            for cell, tile in enumerate(self.text)
            if tile in "01234567"
        }
        key_row, key_column = divmod(self.key, self.stride) if self.key >= 0 else (0, -1)
        spans = self._spans()
        rows = range(self.height)
        costs = [0.0 for _ in rows]
        came_from: list[list[int]] = []
        for index, (first, last) in enumerate(spans):
            if index:
                before = costs
                origins = [
                    min(rows, key=lambda r, row=row: before[r] + ROW_COST * abs(r - row))
                    for row in rows
                ]
                costs = [
                    before[r] + ROW_COST * abs(r - row)
                    for row, r in zip(rows, origins, strict=True)
                ]
                came_from.append(origins)
                costs = [cost + self._lane_cost(first, last, r) for r, cost in enumerate(costs)]
            else:
                costs = [self._opening_cost(first, last, r, starts) for r in rows]
            if first <= key_column <= last:
                costs = [cost + (r != key_row) * UNREACHABLE for r, cost in enumerate(costs)]
        if not spans:
            return ()
        door_row = self.door // self.stride
        row = min(rows, key=lambda r: costs[r] + ROW_COST * abs(r - door_row))
        lanes = [row]
        for origins in reversed(came_from):
            lanes.append(origins[lanes[-1]])
        return tuple(
            Obstacle(
                first=first,
                last=last,
                row=row,
                cells=tuple(row * self.stride + c for c in range(first, last + 1)),
            )
            for (first, last), row in zip(spans, reversed(lanes), strict=True)
        )
