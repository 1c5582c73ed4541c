"""What a trial needs beside training: memory over time, tracking, evaluation.

    python -m benchmarks.overhead [--minutes 30] [--recipe meadow] [--storage DIR] [--check]

Trains one trial as `clowder train` does, tracked in MLflow, and reports: the trial's memory and how
it grew after the first tenth; CPU time of the tracking thread and of the tracking callback against
all CPU time of trial and driver; the share of its time that the trial spent on evaluation. With
`--check` it exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Bar, machine, report, train_tracked
from experiments.recipes import find_recipe
from experiments.tracking import MLflowCallback

STEPS_PER_MINUTE = 600_000
"""Env steps that a minute of this benchmark stands for, about what two cores make."""
MEMORY_BAR = 1_500.0
"""MiB of a trial."""
GROWTH_BAR = 0.03
"""Growth of its memory from the first tenth to the end."""
TRACKING_BAR = 0.03
"""CPU time of tracking as a share of all."""

THREAD = "clowder-tracking"


class Meter:
    """CPU seconds of the tracking callback's hooks and of the tracking thread, in this process."""

    def __init__(self) -> None:
        self.callback_s = 0.0
        self.thread_s = 0.0
        for name in ("on_trial_start", "on_trial_result", "on_trial_complete", "setup"):
            setattr(MLflowCallback, name, self._timed(getattr(MLflowCallback, name)))
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _timed(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(hook)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return hook(*args, **kwargs)
            finally:
                self.callback_s += time.thread_time() - start

        return timed

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            seconds = [_thread_cpu_s(t) for t in threading.enumerate() if t.name == THREAD]
            self.thread_s = max(self.thread_s, *seconds, 0.0)

    def stop(self) -> float:
        """Seconds of both."""
        self._stopped.set()
        return self.callback_s + self.thread_s


def _thread_cpu_s(thread: threading.Thread) -> float:
    """CPU seconds of another thread of this process."""
    try:
        fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2]
    except OSError:
        return 0.0
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure what a trial needs beside training.")
    parser.add_argument("--minutes", type=float, default=30, help="length of the run, about")
    parser.add_argument("--recipe", default="meadow")
    parser.add_argument("--storage", help="folder to keep the run in; default: it is thrown away")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    arguments = parser.parse_args()
    print(machine())
    meter = Meter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(arguments.storage or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        env_steps = int(arguments.minutes * STEPS_PER_MINUTE)
        trial = train_tracked(arguments.recipe, folder, {"run.env_steps": env_steps})
    tracking_s = meter.stop()
    recipe = find_recipe(arguments.recipe)
    rows = trial.history
    seconds = np.array([row["time_this_iter_s"] for row in rows])
    cpu_s = float(seconds @ [row["time/cpu_share"] for row in rows])
    evaluating = float(seconds @ [row["time/evaluation_share"] for row in rows] / seconds.sum())
    memory = np.array([row["time/resident_mib"] for row in rows])
    early, late = (
        float(np.median(part)) for part in (memory[len(memory) // 10 :][:20], memory[-20:])
    )
    everything_s = cpu_s + time.process_time()
    print(
        f"{recipe.name}: {rows[-1]['env_steps']:,} env steps in {seconds.sum() / 60:.1f} min\n"
        f"  memory      {memory.max():,.0f} MiB at most; {early:,.0f} after a tenth of the run, "
        f"{late:,.0f} at its end\n"
        f"  tracking    {tracking_s:.1f} s of {everything_s:.0f} s of CPU time, "
        f"driver {time.process_time():.0f} s in all\n"
        f"  evaluation  {evaluating:.1%} of the trial's time, every "
        f"{recipe.evaluation.every_env_steps:,} env steps {recipe.evaluation.num_levels} levels"
    )
    bars = [
        Bar(name="memory, MiB", value=float(memory.max()), bar=MEMORY_BAR, at_most=True),
        Bar(name="growth of memory", value=late / early - 1, bar=GROWTH_BAR, at_most=True),
        Bar(name="tracking", value=tracking_s / everything_s, bar=TRACKING_BAR, at_most=True),
    ]
    return 1 if report(bars) and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
