"""How often the scripted team wins held-out levels, preset by preset, and what it dies of.

    python benchmarks/scripted_team.py [--levels 500] [--agents 4] [--presets gates tunnels]

With four cats, exits with 1 if a win rate misses its bar.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from env.pico_park import PicoPark, PicoParkConfig, presets
from env.scripted import ScriptedTeam

BARS = {"meadow": 0.97, "gates": 0.97, "curtains": 0.97, "tunnels": 0.90, "gauntlet": 0.80}
"""Least win rates over 500 held-out levels with four cats."""
BAR_AGENTS = 4


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one episode on each level."""

    causes: Counter[str]
    """How many episodes ended so, `victory` among them."""
    mean_ticks: float
    """Mean length of an episode."""
    seconds: float
    """Wall-clock time of all of it, on one core."""

    @property
    def num_levels(self) -> int:
        return sum(self.causes.values())

    @property
    def win_rate(self) -> float:
        return self.causes["victory"] / self.num_levels


def wilson(wins: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a rate, by Wilson's score."""
    rate = wins / trials
    centre = rate + z * z / (2 * trials)
    spread = z * sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return (centre - spread) / scale, (centre + spread) / scale


def play(preset: str, num_levels: int, num_agents: int = 4, first_seed: int = 0) -> Result:
    """One episode on each of the held-out levels `first_seed`, `first_seed + 1`, ..."""
    config = PicoParkConfig(preset=preset, num_agents=num_agents)
    sim = PicoPark(num_levels, config)
    sim.reset(level_seeds=range(first_seed, first_seed + num_levels), held_out=True)
    team = ScriptedTeam(num_agents, config)
    playing = np.ones(num_levels, np.bool_)
    started = time.perf_counter()
    while playing.any():
        sim.step(team.actions(sim, playing))
        playing &= ~sim.terminated
    # A game that has ended plays on without its team; only its first episode counts.
    first = {int(episode["game"]): episode for episode in reversed(sim.episodes())}
    return Result(
        causes=Counter(sim.cause_names[episode["cause"]] for episode in first.values()),
        mean_ticks=float(np.mean([episode["length"] for episode in first.values()])),
        seconds=time.perf_counter() - started,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if a bar is missed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, default=500, help="held-out levels a preset")
    parser.add_argument("--agents", type=int, default=BAR_AGENTS, help="cats in the team, 2 to 8")
    parser.add_argument("--first-seed", type=int, default=0, help="level seed to start from")
    parser.add_argument("--presets", nargs="+", default=list(presets()), choices=presets())
    options = parser.parse_args(arguments)
    if options.levels < 1:
        parser.error(f"--levels is {options.levels}; it must be at least 1.")
    print("| preset | wins | win rate | 95 % interval | mean ticks | losses | seconds |")
    print("|---|---|---|---|---|---|---|")
    missed: list[str] = []
    for preset in options.presets:
        result = play(preset, options.levels, options.agents, options.first_seed)
        low, high = wilson(result.causes["victory"], result.num_levels)
        losses = [f"{c} {n}" for c, n in result.causes.most_common() if c != "victory"]
        print(
            f"| {preset} | {result.causes['victory']}/{result.num_levels} "
            f"| {result.win_rate:.3f} | {low:.3f}-{high:.3f} | {result.mean_ticks:.0f} "
            f"| {', '.join(losses) or '-'} | {result.seconds:.1f} |",
            flush=True,
        )
        if options.agents == BAR_AGENTS and result.win_rate < BARS.get(preset, 0.0):
            missed.append(f"{preset} wins {result.win_rate:.3f}; its bar is {BARS[preset]}.")
    for sentence in missed:
        print(sentence, file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
