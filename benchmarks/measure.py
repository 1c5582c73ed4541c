"""What the benchmarks share: alternatives that take turns, ratios of their pairs, bars."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.study import TrialResult


def paired(
    runs: Mapping[Any, tuple[Callable[[int], Any], int]],
    num_pairs: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[Any, list[float]]:
    """Seconds a step of several (function, steps), taking turns, so that a busy machine slows all.

    Args:
        runs: by name, a function that does so many steps, and how many.
        num_pairs: measurements of each.
        clock: CPU time of this process, or `time.perf_counter` where processes are compared.
    """
    for run, steps in runs.values():
        run(max(1, steps // 4))
    found: dict[Any, list[float]] = {name: [] for name in runs}
    for _ in range(num_pairs):
        for name, (run, steps) in runs.items():
            start = clock()
            run(steps)
            found[name].append((clock() - start) / steps)
    return found


def ratio(over: list[float], under: list[float]) -> float:
    """Median of the pairs' ratios."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def machine() -> str:
    """A line that says where and when this was measured."""
    load = os.getloadavg()[0]
    return f"{_processor()}, {os.cpu_count()} cores, load {load:.1f} when this began"


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a benchmark found, and what it is held to."""

    name: str
    value: float
    bar: float
    at_most: bool = False
    """Whether less is better."""

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar


def report(bars: list[Bar]) -> int:
    """Prints each bar; returns how many are missed."""
    if bars:
        print("\nbars")
    for one in bars:
        relation = "<=" if one.at_most else ">="
        verdict = "met   " if one.holds else "MISSED"
        print(f"  {verdict} {one.name}: {one.value:.2f} ({relation} {one.bar})")
    return sum(not one.holds for one in bars)


def train_tracked(name: str, folder: Path, values: dict[str, Any]) -> TrialResult:
    """Trains a recipe with other values as `clowder train` does, tracked in an MLflow store in
    `folder`, and waits until that has everything; a failure ends the benchmark."""
    from experiments import recipe as recipes
    from experiments import runner
    from experiments.recipes import find_recipe

    places = {
        "run.storage": str(folder),
        "run.tracking_uri": f"sqlite:///{folder.resolve()}/mlflow.db",
    }
    recipe = recipes.replace(find_recipe(name), values | places)
    result = runner.run(
        recipe, is_sweep=False, resume="never", command="", announce=lambda line: None
    )
    result.tracker.close()
    trial = result.trials[0]
    if trial.error:
        sys.exit(f"training failed: {trial.error}")
    return trial
