"""What came of runs that faults struck: one table for one machine and for clusters."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ENV_STEPS = 16_384
CHECKPOINT_ENV_STEPS = 2_048
STRIKE_AT = 7_000
"""Env steps after which a fault strikes: in the middle, between two checkpoints."""
SETTINGS = {
    "evaluation.num-levels": 16,
    "evaluation.num-final-levels": 16,
    "evaluation.every-env-steps": 1_000_000,
    "run.env-steps": ENV_STEPS,
    "run.report-env-steps": 1,
    "run.checkpoint-env-steps": CHECKPOINT_ENV_STEPS,
}
"""Overrides of the recipe `smoke`: report often, evaluate at the end only."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run that a fault struck."""

    fault: str
    bar: str
    """What is promised."""
    holds: bool
    env_steps: int = 0
    """Of the last report; the least of all trials."""
    lost_env_steps: int = 0
    """Sampled twice, since the trial went back to a checkpoint; the most of any trial."""
    recovery_s: float = 0.0
    """From the fault to the next report, or to the end of a run that fails; seconds."""
    told: str = ""
    """Last words to the user about it, or what is wrong."""


def lost_steps(rows: list[int]) -> int:
    """Env steps that were sampled twice: from each report that goes back to the one before it.

    Args:
        rows: env steps of a trial's reports in the order in which they were written.
    """
    batch = rows[0]
    return sum(
        before - (after - batch) for before, after in itertools.pairwise(rows) if after <= before
    )


def kill(pid: int) -> None:
    """Kills a process that may be gone already."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def cut_short(checkpoint: Path) -> None:
    """Leaves half of every file, as a crash in the middle of writing would."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def said(output: Path, folder: Path) -> list[str]:
    """Lines of an output, without the folder, which is nowhere when they are read."""
    text = output.read_text(errors="replace") if output.exists() else ""
    return [one.strip().replace(str(folder), "...") for one in text.splitlines()]


def last_with(words: str | Sequence[str], lines: Sequence[str]) -> str:
    """The last line with that word, or any of those; empty if there is none."""
    wanted = (words,) if isinstance(words, str) else words
    return next((one for one in reversed(lines) if any(word in one for word in wanted)), "")


def show(outcomes: Iterable[Outcome]) -> bool:
    """Prints the table; returns whether all hold."""
    table = Table(title=f"of {ENV_STEPS:,} env steps, a checkpoint every {CHECKPOINT_ENV_STEPS:,}")
    for column in ("fault", "bar", "holds", "env steps", "lost", "seconds", "told"):
        table.add_column(column)
    all_hold = True
    for one in outcomes:
        all_hold = all_hold and one.holds
        table.add_row(
            one.fault,
            one.bar,
            "yes" if one.holds else "NO",
            f"{one.env_steps:,}",
            f"{one.lost_env_steps:,}",
            f"{one.recovery_s:.1f}",
            one.told,
        )
    Console(width=160).print(table)
    return all_hold
