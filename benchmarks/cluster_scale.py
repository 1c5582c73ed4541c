"""What a cluster costs: trials on small nodes against trials here, and what more trials add.

    python -m benchmarks.cluster_scale speed     # two one-core nodes against two local trials
    python -m benchmarks.cluster_scale growth    # 40 trials: tracking, storage, the driver's memory
    python -m benchmarks.cluster_scale --check   # both; exits with 1 if a bar is missed

The nodes are a lab's (cluster/lab.py) on this machine, tracked by an MLflow server with a password.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cluster_stage import PATIENCE_S, ROOT, Stage, Sweep, staged, wait_until
from benchmarks.measure import Bar, machine, report
from cluster.lab import Options, without_ray
from experiments.history import HISTORY_FILE, read_rows

PAIRS = 3
SPEED_ENV_STEPS = 400_000
SPEED_BAR = 0.9
"""Env steps a second on two one-core nodes, as a share of two local trials'."""
NUM_GROWN = 40
GROWTH_BAR = 1.25
"""What a trial adds in the second half, over what one adds in the first, at most: no faster than
linearly, with room for what comes in pages and blocks."""
FLOORS_KB = {"tracking": 10.0, "storage": 10.0, "driver": 50.0}
"""Slopes below these count as these, kB a trial."""
FIRST = 5
"""Trials that have ended when the first half begins."""
MIN_POINTS = 6
"""Of each half, to have a slope."""
GROWTH_PATIENCE_S = 1200.0
"""How long the forty trials may take, seconds."""
SPEED_FLAGS = {
    "evaluation.every-env-steps": "1000000",
    "evaluation.num-final-levels": "16",
    "evaluation.replays": "false",
    "run.env-steps": str(SPEED_ENV_STEPS),
    "run.report-env-steps": "20000",
    "run.checkpoint-env-steps": "100000",
    "sweep.space": "rewards.team_share=0.3,0.6",
    "sweep.search": "grid",
}


def rate(study: Path) -> float:
    """Env steps a second of a study's trials together, while all of them train, by the clock of the
    driver, which writes down when it hears of them."""
    trials = [
        [(row["heard_s"], row["env_steps"]) for row in read_rows(one.parent)]
        for one in study.glob(f"*/*/{HISTORY_FILE}")
    ]
    begin, end = max(one[0][0] for one in trials), min(one[-1][0] for one in trials)
    total = 0.0
    for one in trials:
        times, steps = zip(*one, strict=True)
        total += np.interp(end, times, steps) - np.interp(begin, times, steps)
    return total / (end - begin)


def speed() -> Bar:
    """Pairs of two local trials, on a machine without a cluster, and two on one-core nodes, in
    turns; wall time."""
    ratios = []
    flags = [text for name, value in SPEED_FLAGS.items() for text in (f"--{name}", value)]
    for pair in range(PAIRS):
        sides = {"here": lambda: _local(flags), "there": lambda: _remote(flags)}
        found = {name: sides[name]() for name in sorted(sides, reverse=bool(pair % 2))}
        ratios.append(found["there"] / found["here"])
        print(
            f"pair {pair + 1}: {found['here']:,.0f} env steps a second here, "
            f"{found['there']:,.0f} on two one-core nodes, {ratios[-1]:.2f}",
            flush=True,
        )
    return Bar(
        name="two one-core nodes over two local trials, env steps a second",
        value=statistics.median(ratios),
        bar=SPEED_BAR,
    )


def _local(flags: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = ["--run.storage", folder, "--run.tracking-uri", f"sqlite:///{folder}/mlflow.db"]
        done = subprocess.run(
            [sys.executable, "clowder.py", "sweep", "meadow", *flags, *words],
            cwd=ROOT, env=without_ray(os.environ) | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"the local sweep failed: {done.stdout[-2000:]}")
        return rate(Path(folder) / "meadow")


def _remote(flags: list[str]) -> float:
    with staged(Options(workers=2, cpus=1)) as stage:
        sweep = Sweep(stage, "speed", *flags, recipe="meadow")
        if status := sweep.end(sweep.submit()):
            sys.exit(f"the sweep on nodes ended with {status}: {' / '.join(sweep.said()[-8:])}")
        return rate(sweep.folder)


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a study has come to when so many of its trials have ended."""

    num_trials: int
    tracking: float
    """Bytes of MLflow's database and artifacts."""
    storage: float
    """Bytes of the study's folder."""
    driver: float
    """Bytes of the driver's memory."""
    driver_cpu_s: float
    """CPU time of the driver so far, seconds."""
    server_cpu_s: float
    """CPU time of MLflow's server so far, seconds."""


def growth() -> list[Bar]:
    """Forty trials of the recipe `smoke`, one size for each that ends."""
    flags = (
        "--sweep.space", "rewards.team_share=0,0.3,0.6,1", "--sweep.num-seeds", str(NUM_GROWN // 4),
        "--run.env-steps", "1024", "--run.checkpoint-env-steps", "512",
        "--evaluation.every-env-steps", "512", "--evaluation.replays", "true",
    )  # fmt: skip
    sizes: list[Size] = []
    with staged(Options(workers=2, cpus=1)) as stage:
        sweep = Sweep(stage, "growth", *flags)
        client = sweep.submit()

        def has_ended() -> bool:
            """Notes the sizes each time that a trial has ended."""
            ended = sum(one[-1] >= 1024 for one in sweep.rows().values() if one)
            if ended > (sizes[-1].num_trials if sizes else 0) and sweep.driver_pids():
                with contextlib.suppress(OSError):  # a process that ended meanwhile
                    sizes.append(_size(stage, sweep, ended))
            return client.poll() is not None

        wait_until(has_ended, "forty trials", sweep.output, patience_s=GROWTH_PATIENCE_S)
        if client.returncode:
            sys.exit(f"the sweep ended with {client.returncode}: {' / '.join(sweep.said()[-8:])}")
    return judge_growth(sizes)


def judge_growth(sizes: Sequence[Size]) -> list[Bar]:
    """What a trial adds in the second half of the trials against the first.

    The first four pay for what is made once, and belong to neither. What stays below its floor
    counts as the floor: a slope near nothing has no ratio.
    """
    begin = next(one for one in sizes if one.num_trials >= FIRST)
    end = sizes[-1]
    count = end.num_trials - begin.num_trials
    for name, seconds in (
        ("the driver's", end.driver_cpu_s - begin.driver_cpu_s),
        ("MLflow's server's", end.server_cpu_s - begin.server_cpu_s),
    ):
        print(f"a trial takes {seconds / count:.2f} s of {name} CPU time, all in")
    bars = []
    for name, floor_kb in FLOORS_KB.items():
        x = np.array([one.num_trials for one in sizes], float)
        y = np.array([getattr(one, name) for one in sizes]) / 1e3
        halves = (x >= FIRST) & (x <= NUM_GROWN / 2), x > NUM_GROWN / 2
        if min(part.sum() for part in halves) < MIN_POINTS:
            sys.exit(f"only {len(x)} of {NUM_GROWN} trials were caught at their end; repeat it.")
        first, second = (float(np.polyfit(x[part], y[part], 1)[0]) for part in halves)
        print(
            f"{name}: {y[-1]:,.0f} kB after {x[-1]:.0f} trials; a trial adds {first:,.0f} kB in "
            f"the first half, {second:,.0f} kB in the second"
        )
        bars.append(
            Bar(
                name=f"{name}: a trial of the second half over one of the first",
                value=max(second, floor_kb) / max(first, floor_kb),
                bar=GROWTH_BAR,
                at_most=True,
            )
        )
    return bars


def _size(stage: Stage, sweep: Sweep, ended: int) -> Size:
    pages = sum(
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in sweep.driver_pids()
    )
    server = stage.server.folder
    return Size(
        num_trials=ended,
        tracking=_bytes_in(server.glob("mlflow.db*"))
        + _bytes_in((server / "artifacts").rglob("*")),
        storage=_bytes_in(sweep.folder.rglob("*")),
        driver=pages * os.sysconf("SC_PAGE_SIZE"),
        driver_cpu_s=_cpu_s(sweep.driver_pids()),
        server_cpu_s=_cpu_s(stage.server.pids()),
    )


def _cpu_s(pids: Sequence[int]) -> float:
    """CPU time of processes, user's and system's; seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _bytes_in(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # a checkpoint that has been replaced meanwhile
            continue
    return total


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="What does a cluster cost?")
    parser.add_argument("what", nargs="?", choices=("speed", "growth"))
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and everything is taken down
    print(machine())
    bars = [speed()] if given.what in (None, "speed") else []
    bars += growth() if given.what in (None, "growth") else []
    return 1 if report(bars) and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
