"""Where does a team lose? Lost levels by what their first obstacle asks for.

    python -m benchmarks.losses RUN [--preset gauntlet] [--levels 2000]

RUN is whatever `clowder evaluate` takes, `scripted` too. Held-out levels, sampled play. A game is
lost at the first obstacle if it ends before the screen has passed it; where the screen stops before
that, as on meadow, nothing can be said.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import machine
from env.pico_park import WALL_TILE, Frame, PicoPark, PicoParkConfig
from experiments.evaluate import play_levels
from experiments.shipped import FIRST_LEVEL
from experiments.statistics import wilson
from experiments.teams import find_team

ABOVE, BELOW = 7, 6
"""Rows that a cat sees above and below itself."""
IS_OBSTACLE = 8
"""Tiles of a column, from which on it is no free one."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What the first obstacle of a level asks for; zeros if the level has none."""

    column: int
    """Where it begins."""
    depth: int
    """Columns."""
    switches: int
    """How often blocks change colour along the row where they do so least: another cat must come
    forward."""
    blind: int
    """Cats that see no way through from where they start."""


def opening_of(frame: Frame) -> Opening:
    """Reads a level at its start."""
    full = (frame.tiles > 0).sum(axis=0) >= IS_OBSTACLE
    if not full.any():
        return Opening(column=0, depth=0, switches=0, blind=0)
    first = int(full.argmax())
    last = first + int(np.append(full[first:], False).argmin())
    rows = frame.tiles[:, first:last]
    ways = np.flatnonzero((rows != WALL_TILE).all(axis=1))
    lines = [row[row > 0] for row in rows[ways]]
    seen = [(ways >= cat.row - ABOVE) & (ways <= cat.row + BELOW) for cat in frame.cats]
    return Opening(
        column=first,
        depth=last - first,
        switches=min(int((np.diff(line.astype(int)) != 0).sum()) for line in lines),
        blind=sum(not any(one) for one in seen),
    )


def openings(config: PicoParkConfig, seeds: range) -> list[Opening]:
    """Of each held-out level."""
    sim = PicoPark(len(seeds), config, seed=0)
    sim.reset(level_seeds=seeds, held_out=True)
    return [opening_of(sim.frame(i)) for i in range(len(seeds))]


def _row(name: str, lost: NDArray[np.bool_]) -> str:
    low, high = wilson(int(lost.sum()), len(lost))
    return f"  {name:<28} {len(lost):>5} levels   {lost.mean():.3f} ({low:.3f}-{high:.3f})"


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="Where does a team lose?")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--preset", default="gauntlet")
    parser.add_argument("--levels", type=int, default=2000)
    given = parser.parse_args()
    print(machine())
    team = find_team(given.run)
    config = team.config.at(given.preset)
    seeds = range(FIRST_LEVEL, FIRST_LEVEL + given.levels)
    found = openings(config, seeds)
    games = play_levels(team.make_actor(seed=0), config, seeds)
    rules = config.to_native()
    difficulty = rules.difficulties[rules.difficulty]
    behind = np.array([one.column + one.depth for one in found])
    reached = behind <= difficulty.length - rules.screen_width
    passed = np.where(reached, behind * difficulty.scroll_period, 0)
    lost = ~games.wins
    early = lost & (games.records["length"] <= passed)
    print(f"\n{given.run}, {given.preset}: lost, and lost at the first obstacle")
    print(_row("all", lost))
    print(_row("at the first obstacle", early))
    if not reached.all():
        print(f"  on {(~reached).sum()} levels the screen never passes it; there no loss counts")
    for field, what in (
        ("blind", "cats that see no way through"),
        ("switches", "changes of colour in it"),
        ("depth", "columns deep"),
        ("column", "begins at column"),
    ):
        values = np.array([getattr(one, field) for one in found])
        print(f"at the first obstacle, by {what}")
        for value in np.unique(values):
            print(_row(str(value), early[values == value]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
