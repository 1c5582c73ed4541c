"""The rungs of Pong's ladder against each other: their ratings, which hold the scale of all others.

    python -m benchmarks.ladder [--games 500] [--check]

Every pair plays so many games of `duel` to 21, sides alternated, on held-out serves; `random` is 0.
`--check` exits with 1 if what `experiments/duels.py` has differs from what is measured.
"""

from __future__ import annotations

import argparse
import itertools
import sys

from env.pong import PongConfig, opponents
from experiments.duels import RUNGS, Player, duel
from experiments.ratings import Results, cycles, rate

FIRST_SEED = 2_000_000
"""Of the held-out serves: others than those that policies are judged by."""
CLOSE = 30.0
"""How far measured ratings may lie from those that are written down, Elo's points."""


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="Rate the scripted opponents.")
    parser.add_argument("--games", type=int, default=500, help="of each pair")
    parser.add_argument("--check", action="store_true", help="exit with 1 if they have changed")
    given = parser.parse_args()
    names = opponents()[1:]
    results = Results.empty(names)
    for one, other in itertools.combinations(names, 2):
        found = duel(
            Player(name=one), Player(name=other), PongConfig(), num_games=given.games,
            first_seed=FIRST_SEED,
        )  # fmt: skip
        results.add(one, other, wins=found.wins, losses=found.losses, draws=found.draws)
        print(f"{one:>14} {found.wins:4d} : {found.losses:<4d} {other}, {found.draws} drawn")
    ratings = rate(results, {"random": 0.0})
    for name in names:
        one = ratings[name]
        print(f"{name:>14} {one.value:6.0f}   {one.low:.0f} to {one.high:.0f}   {RUNGS[name]:.0f}")
    for ring in cycles(results):
        print(f"a ring: {' beats '.join((*ring, ring[0]))}")
    changed = any(abs(ratings[name].value - RUNGS[name]) > CLOSE for name in names)
    return 1 if given.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
