"""A trial's reports on disk: a line of JSON each, appended to its folder and never rewritten.

Tune's own logger writes to a copy, which is uploaded over the stored file now and then and, after a
failure or an exchange, replaced by whatever part of it was stored at that moment: reports get lost.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ray.tune import Callback

from experiments.metrics import number

HISTORY_FILE = "history.jsonl"
"""Inside a trial's folder."""


class History(Callback):
    """Appends every report's numbers and sentences as Tune hears them."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Writes one line, whole or, if a crash comes between, cut short at the end of the file."""
        row = {name: _plain(value) for name, value in result.items() if name != "config"}
        row = {name: value for name, value in row.items() if value is not None}
        row["heard_s"] = time.time()  # Tune's own stamps leave out what is between two reports
        append_row(Path(trial.storage.trial_fs_path), row)


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """Adds a report to a trial's folder.

    Raises:
        OSError: it can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / HISTORY_FILE).open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
            is_cut = file.read(1) != b"\n"  # by a crash: the next line begins a new one
            file.write(b"\n" * is_cut)
        file.write(json.dumps(row).encode() + b"\n")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All reports of a trial in the order in which they came; resumed trials repeat steps.

    Lines that a crash has cut short or that are damaged are skipped.
    """
    try:
        lines = (folder / HISTORY_FILE).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and number(row.get("env_steps")) is not None:
            rows.append(row)
    return rows


def read_history(folder: Path) -> tuple[dict[str, Any], ...]:
    """A trial's reports in the order of env steps, of each step the last that came."""
    by_step = {int(row["env_steps"]): row for row in read_rows(folder)}
    return tuple(by_step[step] for step in sorted(by_step))


def _plain(value: Any) -> Any:
    """A number, text or truth value as JSON has it; None for anything else."""
    if hasattr(value, "item"):  # numpy's
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else None
