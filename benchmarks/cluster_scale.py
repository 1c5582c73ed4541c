"""What a cluster costs: trials on small nodes against trials here, and what more trials add.

    python -m benchmarks.cluster_scale speed     # two one-core nodes against two local trials
    python -m benchmarks.cluster_scale growth    # 40 trials: tracking, storage, the driver's memory
    python -m benchmarks.cluster_scale --check   # both; exits with 1 if a bar is missed

The nodes are a lab's (cluster/lab.py) on this machine, tracked by an MLflow server with a password.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cluster_stage import PATIENCE_S, ROOT, Stage, Sweep, staged
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
    """Env steps a second of a study's trials together, while all of them train."""
    trials = [
        [(row["timestamp_s"], row["env_steps"]) for row in _timed(one.parent)]
        for one in study.glob(f"*/*/{HISTORY_FILE}")
    ]
    begin, end = max(one[0][0] for one in trials), min(one[-1][0] for one in trials)
    total = 0.0
    for one in trials:
        times, steps = zip(*one, strict=True)
        total += np.interp(end, times, steps) - np.interp(begin, times, steps)
    return total / (end - begin)


def _timed(folder: Path) -> list[dict[str, float]]:
    """Reports of a trial with the time since its start in place of the clock's whole seconds."""
    rows = read_rows(folder)
    # Tune's `timestamp` has whole seconds; `time_total_s` is exact, but counts from the start.
    began = rows[0]["timestamp"] - rows[0]["time_total_s"]
    return [
        {"timestamp_s": began + row["time_total_s"], "env_steps": row["env_steps"]} for row in rows
    ]


def speed() -> Bar:
    """Interleaved pairs of two local trials and two on one-core nodes; wall time."""
    ratios = []
    flags = [text for name, value in SPEED_FLAGS.items() for text in (f"--{name}", value)]
    with staged(Options(workers=2, cpus=1)) as stage:
        for pair in range(PAIRS):
            here, there = _local(flags), _remote(stage, f"speed{pair}", flags)
            ratios.append(there / here)
            print(
                f"pair {pair + 1}: {here:,.0f} env steps a second here, {there:,.0f} on two "
                f"one-core nodes, {ratios[-1]:.2f}",
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


def _remote(stage: Stage, study: str, flags: list[str]) -> float:
    sweep = Sweep(stage, study, *flags, recipe="meadow")
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
    num_reports: int
    """Of all trials together."""
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
        while client.poll() is None:
            ended = sum(one[-1] >= 1024 for one in sweep.rows().values() if one)
            if ended > (sizes[-1].num_trials if sizes else 0) and sweep.driver_pids():
                sizes.append(_size(stage, sweep, ended))
            time.sleep(0.5)
        if client.returncode:
            sys.exit(f"the sweep ended with {client.returncode}: {' / '.join(sweep.said()[-8:])}")
    begin, end = sizes[0], sizes[-1]
    num_reports = end.num_reports - begin.num_reports
    driver_ms = 1e3 * (end.driver_cpu_s - begin.driver_cpu_s) / num_reports
    server_ms = 1e3 * (end.server_cpu_s - begin.server_cpu_s) / num_reports
    print(
        f"a report takes {driver_ms:.0f} ms of the driver's CPU time and {server_ms:.0f} ms of "
        f"MLflow's; {num_reports / (end.num_trials - begin.num_trials):.0f} reports a trial"
    )
    bars = []
    for name in ("tracking", "storage", "driver"):
        x = np.array([one.num_trials for one in sizes], float)
        y = np.array([getattr(one, name) for one in sizes]) / 1e3
        # The first trials pay for what is made once; both halves begin after them.
        first, second = (x > 4) & (x <= NUM_GROWN / 2), x > NUM_GROWN / 2
        slopes = [float(np.polyfit(x[part], y[part], 1)[0]) for part in (first, second)]
        print(
            f"{name}: {y[-1]:,.0f} kB after {x[-1]:.0f} trials; a trial adds {slopes[0]:,.0f} kB "
            f"in the first half, {slopes[1]:,.0f} kB in the second"
        )
        bars.append(
            Bar(
                name=f"{name}: a trial of the second half over one of the first",
                value=slopes[1] / slopes[0],
                bar=GROWTH_BAR,
                at_most=True,
            )
        )
    return bars


def _size(stage: Stage, sweep: Sweep, ended: int) -> Size:
    pages = sum(
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in sweep.driver_pids()
    )
    return Size(
        num_trials=ended,
        tracking=_bytes_in(stage.server.folder),
        storage=_bytes_in(sweep.folder),
        driver=pages * os.sysconf("SC_PAGE_SIZE"),
        num_reports=sum(len(one) for one in sweep.rows().values()),
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


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
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
    print(machine())
    bars = [speed()] if given.what in (None, "speed") else []
    bars += growth() if given.what in (None, "growth") else []
    return 1 if report(bars) and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
