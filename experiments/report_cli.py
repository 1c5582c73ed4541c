"""`clowder report STUDY`: what an experiment found, as a page with its figures and tables."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.overrides import split_run
from experiments.study import TRIAL_FILE, Study, load_study, read_trial

USAGE = """usage: clowder report STUDY [--OPTION VALUE ...]

STUDY is a study's name, its folder, or that of one of its experiments, finished or not; or the
folder of one trained run. `clowder report STUDY --help` explains the options."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Writes what an experiment found: a page, its figures, a table of trials."""

    out: str = ""
    """Folder for it; by default `report` in the experiment's own."""
    show: Literal["browser", "file"] = "file"
    """`browser` opens the page, `file` only writes it."""
    json: bool = False
    """Print what was found as JSON instead of where the page is."""
    csv: bool = False
    """Print the table of trials as CSV instead of where the page is."""
    storage: str = "results"
    """Folder that studies lie in."""


def run_report(words: list[str]) -> int:
    """The verb; returns the exit status."""
    name, options = split_run(words, ReportOptions(), usage=USAGE, prog="clowder report STUDY")
    from experiments.report import make_report

    study = find_study(name, options.storage)
    made = make_report(study, Path(options.out).expanduser() if options.out else None)
    if options.json:
        json.dump(made.summary, sys.stdout, indent=2)
        print()
    if options.csv:
        print(made.csv, end="")
    if not options.json and not options.csv:
        print(f"report    {made.page}")
    if options.show == "browser":
        open_page(made.page)
    return 0


def find_study(name: str, storage: str = "results") -> Study:
    """An experiment by any of its names, or a study of one run by the run's own folder.

    Raises:
        BadInputError: there is none.
    """
    folder = Path(name).expanduser()
    if not (folder / TRIAL_FILE).is_file():
        return load_study(name, storage)
    trial = read_trial(folder)
    assert trial.recipe is not None
    return Study(name=trial.recipe.study, folder=folder, recipe=trial.recipe, trials=(trial,))


def open_page(page: Path) -> None:
    """Shows a page in the user's browser, or says that there is none."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        print("no browser was found here; open that file in one.", file=sys.stderr)
