"""The ground under the scripted team: sets of cells, lanes through a level, moves without jams.

A cell is an index into the level's text, `row * stride + column` with `stride = length + 1` (the
line break). A set of cells is one Python integer with a bit a cell: moving a whole set by a tile is
one shift, and the line breaks, never free, keep it from wrapping round.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

BLOCKS = "abcdefgh"
UNREACHABLE = 10_000.0
"""Cost of a lane that can't be cleared, ticks; above any real one."""
SWITCH_TICKS = 2.5
"""Ticks for a block of a lane that another cat than for the block before has to shoot."""
REPEAT_TICKS = 3.0
"""Ticks for a block that the same cat has to shoot: its cooldown."""


def flood_once(cells: int, stride: int) -> int:
    """The set and all neighbours of its cells."""
    return cells | cells << 1 | cells >> 1 | cells << stride | cells >> stride


def distance_layers(here: int, goal: int, free: int, wanted: int, stride: int) -> list[int]:
    """Sorts the cells around `here` by their way to a goal.

    Args:
        here: a cell.
        goal: set of cells to get to; they need not be free.
        free: set of cells that can be walked on.
        wanted: the cells to sort: `here` and neighbours of it.
        stride: as in the module's text.

    Returns:
        Sets of cells, those nearest to the goal first, empty ones left out; none where there is no
        way from any of them.
    """
    free |= goal | 1 << here
    seen = fresh = goal
    layers: list[int] = []
    last = False
    while fresh:
        if hit := fresh & wanted:
            layers.append(hit)
        if last:  # a neighbour is at most one farther than `here`
            break
        last = bool(fresh >> here & 1)
        grown = flood_once(seen, stride) & free
        fresh = grown & ~seen
        seen = grown
    return layers


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


class Course:
    """A level at its start, and the lanes.

    Attributes:
        text: the level as the game prints it.
        stride, length, height: of the text.
        key, door: cells; a key of -1 lies nowhere.
        obstacles: those before the farther of key and door, from left to right.
        columns_from: set of all cells in column c or right of it, for c in 0..length.
    """

    def __init__(self, text: str) -> None:
        """Reads a level and chooses the lanes."""
        self.text = text
        self.stride = text.index("\n") + 1
        self.length = self.stride - 1
        self.height = len(text) // self.stride
        self.key, self.door = text.find("K"), max(text.find("D"), text.find("O"))
        column = sum(1 << row * self.stride for row in range(self.height))
        width = (1 << self.length) - 1
        self.columns_from = [column * (width & ~((1 << c) - 1)) for c in range(self.length + 1)]
        self.obstacles = self._choose_lanes()

    def free_cells(self, text: str) -> int:
        """Cells of the level, as it is now, without wall, block or door."""
        solid = sum(1 << cell for cell, tile in enumerate(text) if tile in "#\n" + BLOCKS)
        return self.columns_from[0] & ~solid & ~(1 << self.door)

    def _spans(self) -> list[tuple[int, int]]:
        """First and last column of every obstacle that stands in the way."""
        rows = self.text.splitlines()
        farther = max(self.key % self.stride if self.key >= 0 else 0, self.door % self.stride)
        spans: list[tuple[int, int]] = []
        for column in range(self.length):
            if not any(row[column] in "#" + BLOCKS for row in rows):
                continue
            if spans and spans[-1][1] == column - 1:
                spans[-1] = (spans[-1][0], column)
            elif column < farther:
                spans.append((column, column))
        return spans

    def _lane(self, span: tuple[int, int], row: int) -> str:
        return self.text[row * self.stride + span[0] : row * self.stride + span[1] + 1]

    def _lane_ticks(self, span: tuple[int, int], row: int) -> float:
        """Ticks to clear a row, roughly; UNREACHABLE where it is walled or misses a key inside."""
        tiles = self._lane(span, row)
        key_row, key_column = divmod(self.key, self.stride) if self.key >= 0 else (0, -1)
        misses_key = span[0] <= key_column <= span[1] and row != key_row
        if "#" in tiles or "D" in tiles or misses_key:
            return UNREACHABLE
        ticks, before = 0.0, ""
        for tile in tiles:
            if tile in BLOCKS:
                ticks += REPEAT_TICKS if tile == before else SWITCH_TICKS
                before = tile
        return ticks

    def _opening_ticks(self, span: tuple[int, int], row: int) -> float:
        """The same for the first obstacle, where the seats that the cats start from decide."""
        if self._lane_ticks(span, row) >= UNREACHABLE:
            return UNREACHABLE
        ready = {
            BLOCKS[int(tile)]: float(abs(row - cell // self.stride))
            for cell, tile in enumerate(self.text)
            if tile in "01234567"
        }
        ways = list(ready.values())
        fired = cleared = 0.0
        for tile in self._lane(span, row):
            if tile in BLOCKS:
                if tile not in ready:  # its owner is not in play any more
                    return UNREACHABLE
                fired = max(fired + 1, ready[tile])
                ready[tile] = fired + REPEAT_TICKS
                cleared = fired + 1
        # The last to arrive holds all up, yet a short way for the others keeps the crowd small.
        return max(cleared, *ways) + cleared + 0.3 * sum(ways)

    def _choose_lanes(self) -> tuple[Obstacle, ...]:
        """The cheapest row through each obstacle, the rows between one and the next counted."""
        spans = self._spans()
        if not spans:
            return ()
        rows = range(self.height)
        costs = [self._opening_ticks(spans[0], row) for row in rows]
        came_from: list[list[int]] = []
        for span in spans[1:]:
            ways = [[costs[before] + abs(before - row) for before in rows] for row in rows]
            came_from.append([min(rows, key=way.__getitem__) for way in ways])
            costs = [min(way) + self._lane_ticks(span, row) for row, way in enumerate(ways)]
        door_row = self.door // self.stride
        lanes = [min(rows, key=lambda row: costs[row] + abs(row - door_row))]
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


@dataclass(kw_only=True)
class Traffic:
    """One tick's moves. Who ranks higher decides first and pushes whoever stands in the way.

    This is priority inheritance with backtracking, as in multi-agent path finding (PIBT): a cat
    that stands where another wants to go decides next, and if it can't leave, the other chooses
    again.
    """

    stride: int
    cells: dict[int, int]
    """Cell of each cat in play."""
    goals: dict[int, int]
    """Set of cells that each wants to get to."""
    free: int
    """Set of cells that ways may lead over."""
    safe: int
    """Set of cells that can be entered in this tick and survived."""
    fatal: int
    """Set of cells in which whoever stays will die."""
    door: int
    """The door as a set: cats whose goal it is may enter it, several in a tick."""
    plan: dict[int, int] = field(default_factory=dict)
    """Cell that each is to be in after the tick; no two the same, but for the door."""

    def decide_all(self, ranks: Sequence[int], staying: Container[int]) -> dict[int, int]:
        """Plans everyone's move.

        Args:
            ranks: the seats in play, who gives way last first.
            staying: seats that are not to move.

        Returns:
            The plan.
        """
        self.standing = {cell: seat for seat, cell in self.cells.items()}
        self.occupied = sum(1 << cell for cell in self.standing)
        self.reserved = 0
        for seat in ranks:
            if seat in staying:
                self._reserve(seat, self.cells[seat])
        for seat in ranks:
            if seat not in self.plan:
                self._decide(seat)
        return self.plan

    def _reserve(self, seat: int, cell: int) -> None:
        self.plan[seat] = cell
        self.reserved |= 1 << cell & ~self.door

    def _decide(self, seat: int) -> bool:
        """Reserves a cell for the seat; False if there is none, and it stays where it is."""
        here = self.cells[seat]
        for cell in self._candidates(seat, here):
            if self.reserved >> cell & 1:
                continue
            other = self.standing.get(cell, seat)
            if other != seat and self.plan.get(other) == here:
                continue  # two can't swap places
            self._reserve(seat, cell)
            if other == seat or other in self.plan or self._decide(other):
                return True
        self._reserve(seat, here)
        return False

    def _candidates(self, seat: int, here: int) -> list[int]:
        """Cells to be in next, those nearest to the goal first, of these the empty ones."""
        goal, stride = self.goals[seat], self.stride
        around = flood_once(1 << here, stride) & (self.safe | goal & self.door)
        around = around & ~(1 << here) | 1 << here & ~self.fatal
        layers = distance_layers(here, goal, self.free & ~self.reserved, around, stride)
        if not layers:
            layers = distance_layers(here, goal, self.free, around, stride) or [around]
        found: list[int] = []
        for layer in layers:
            for empty in (True, False):
                for cell in (here, here + 1, here - stride, here + stride, here - 1):
                    is_empty = cell == here or cell < 0 or not self.occupied >> cell & 1
                    if cell >= 0 and layer >> cell & 1 and is_empty == empty:
                        found.append(cell)
        return found
