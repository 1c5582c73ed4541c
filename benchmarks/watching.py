"""What watching costs: pages, videos, and what they take from training.

    python -m benchmarks.watching [--pairs 10] [--check]

One game of 500 ticks as a page and as a video, each the best of three; then pairs of
`clowder train meadow`, tracked in MLflow, with and without replays, in turns the one and the other
first: CPU time an env step of trial and driver together, and the time for which the trial stood
still to keep replays. Ten pairs take half an hour. With `--check` it exits with 1 if a bar is
missed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import Bar, machine, report, train_tracked
from env.batch import Level
from env.film import write_video
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.player import write_page
from env.replay import Replay, record

NUM_TICKS = 500
PAGE_BAR = 300.0
"""kB of a page."""
VIDEO_BAR = 2.0
"""Seconds for a video."""
COST_BAR = 0.02
"""Share of training's CPU time, and of its wall time."""


def long_game() -> Replay:
    """Four cats that wander, shoot and think for 500 ticks."""
    config = PicoParkConfig(
        preset="gauntlet", on_death="continue", time_limit=NUM_TICKS, scroll_period=1000
    )
    level, rng = Level(seed=1), np.random.default_rng(0)
    sim = PicoPark(1, config, seed=0)
    sim.reset(levels=[level])
    actions = []
    while not actions or not (sim.terminated[0] or sim.truncated[0]):
        actions.append(rng.choice([0, 1, 2, 3, 5], 4, p=[0.2, 0.2, 0.2, 0.2, 0.2]))
        sim.step(actions[-1][None])
    ticks = len(actions)
    return record(
        "pico_park",
        config,
        PicoParkRewards(),
        level,
        np.array(actions),
        probabilities=rng.dirichlet(np.ones(6), (ticks, 4)),
        values=rng.normal(size=(ticks, 4)),
    )


def best_of(make: Callable[[], object], count: int = 3) -> float:
    """Seconds of the quickest."""
    found = []
    for _ in range(count):
        started = time.perf_counter()
        make()
        found.append(time.perf_counter() - started)
    return min(found)


def train(folder: Path, *, replays: bool) -> tuple[float, float]:
    """CPU seconds a million env steps, and the share of the trial's time outside of training."""
    before = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):  # the lines that tell how far it has come
        trial = train_tracked("meadow", folder, {"evaluation.replays": replays})
    driver_s = time.process_time() - before
    rows = trial.history
    trial_s = sum(row["time_this_iter_s"] * row["time/cpu_share"] for row in rows)
    evaluating_s = sum(row["time_this_iter_s"] * row["time/evaluation_share"] for row in rows)
    whole_s = sum(row["time_this_iter_s"] for row in rows)
    return (trial_s + driver_s) / rows[-1]["env_steps"] * 1e6, evaluating_s / whole_s


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="What does watching cost?")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        replay = long_game()
        size = write_page(replay, folder / "a.html").stat().st_size / 1000
        page_s = best_of(lambda: write_page(replay, folder / "a.html"))
        video_s = best_of(lambda: write_video(replay, folder / "a.mp4"))
        print(f"{replay.num_ticks} ticks: page {size:.0f} kB in {page_s:.2f} s", end="")
        print(f", mp4 in {video_s:.2f} s")
        train(folder, replays=True)  # what is made once is made before
        ratios, blocked = [], []
        for pair in range(given.pairs):
            order = (True, False) if pair % 2 else (False, True)
            found = {replays: train(folder, replays=replays) for replays in order}
            ratios.append(found[True][0] / found[False][0] - 1)
            blocked.append(found[True][1] - found[False][1])
            print(
                f"  pair {pair + 1}: CPU {found[True][0]:.1f} with, {found[False][0]:.1f} without "
                f"(s a million env steps); standing still {blocked[-1]:+.2%}",
                flush=True,
            )
    bars = [
        Bar(name="page of 500 ticks, kB", value=size, bar=PAGE_BAR, at_most=True),
        Bar(name="mp4 of 500 ticks, s", value=video_s, bar=VIDEO_BAR, at_most=True),
    ]
    for name, found_in_pairs in (("CPU time", ratios), ("standing still", blocked)):
        if found_in_pairs:
            median = statistics.median(found_in_pairs)
            bars.append(Bar(name=name, value=median, bar=COST_BAR, at_most=True))
    return 1 if report(bars) and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
