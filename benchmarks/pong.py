"""How fast the Pong simulator is: what observations, frames and scripted opponents cost.

    python -m benchmarks.pong [--check] [--pairs 15]

CPU time of this process on one core, medians over pairs of measurements that take turns: 256 games
of `duel`, random play, observations written for both seats. `--check` exits with 1 if a bar is
missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

import numpy as np

from benchmarks.measure import Bar, machine, paired, ratio, report
from env import Pong, PongConfig
from env.conformance import random_actions

NUM_GAMES = 256
NUM_DRAWN = 61
"""Steps' worth of random actions that are drawn beforehand and played again and again."""
COORDINATES_BAR, PIXELS_BAR = 20.0, 1.0
"""Million agent-steps a second."""


class Bench:
    """Games with random actions at hand."""

    def __init__(self, *, opponent: str = "", **config: Any) -> None:
        self.sim = Pong(NUM_GAMES, PongConfig(**config), seed=0)
        rng = np.random.default_rng(0)
        self.actions = [random_actions(self.sim, rng) for _ in range(NUM_DRAWN)]
        self.by: Any = ("nobody", opponent) if opponent else None
        self.sim.reset()

    def run(self, num_steps: int) -> None:
        """Steps, and collects the records now and then as a trainer would."""
        for i in range(num_steps):
            actions = self.actions[i % NUM_DRAWN]
            self.sim.step(self.sim.script(self.by, actions) if self.by else actions)
        self.sim.episodes()


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure the Pong simulator.")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    parser.add_argument("--pairs", type=int, default=15, help="measurements of each kind")
    arguments = parser.parse_args()
    kinds = {
        "coordinates": (Bench(), 2000),
        "coordinates, 8 frames": (Bench(frames=8), 1000),
        "coordinates, tracker": (Bench(opponent="tracker"), 2000),
        "coordinates, predictor": (Bench(opponent="predictor"), 2000),
        "pixels": (Bench(observation="pixels"), 100),
        "pixels, 4 frames": (Bench(observation="pixels", frames=4), 25),
    }
    print(machine())
    found = paired(
        {name: (one.run, steps) for name, (one, steps) in kinds.items()}, arguments.pairs
    )
    speeds = {}
    for name, times in found.items():
        speeds[name] = 2 * NUM_GAMES / statistics.median(times) / 1e6
        share = ratio(found["coordinates"], times)
        print(f"{name:24s} {speeds[name]:6.2f} M agent-steps/s, {share:.2f} of coordinates")
    missed = report(
        [
            Bar(
                name="M agent-steps/s, coordinates",
                value=speeds["coordinates"],
                bar=COORDINATES_BAR,
            ),
            Bar(
                name="M agent-steps/s, pixels of one frame", value=speeds["pixels"], bar=PIXELS_BAR
            ),
        ]
    )
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
