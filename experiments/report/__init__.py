"""Reports: what a study found, as one page, with its figures and tables as files beside it.

from experiments.report import make_report
from experiments.study import load_study

make_report(load_study("results/reward_sweep"))
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env.files import in_one_piece
from experiments.study import Study

FOLDER = "report"
"""Of an experiment: where its report lies, and its name among the artifacts."""
PAGE = "report.html"
TRIALS = "trials.csv"
MARL_EVAL = "marl_eval.json"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that was made."""

    page: Path
    """The page; the other files lie beside it."""
    csv: str
    """What `trials.csv` holds."""
    summary: dict[str, Any]
    """What was found, as plain data."""


def make_report(study: Study, folder: Path | None = None) -> Report:
    """Writes a study's report.

    Args:
        study: finished or not.
        folder: where to; by default `report/` in the experiment's own folder.

    Raises:
        BadInputError: no trial has been evaluated yet.
    """
    from experiments.report import exports
    from experiments.report.findings import find, summary
    from experiments.report.page import study_page

    folder = folder or study.folder / FOLDER
    found = find(study, folder)
    csv = exports.trials_csv(found.overview)
    marl_eval = json.dumps(exports.marl_eval(found.overview), separators=(",", ":"))
    _write(folder / TRIALS, csv)
    _write(folder / MARL_EVAL, marl_eval + "\n")
    page = _write(folder / PAGE, study_page(found))
    return Report(page=page, csv=csv, summary=summary(found))


def _write(path: Path, text: str) -> Path:
    with in_one_piece(path) as temporary:
        temporary.write_text(text)
    return path
