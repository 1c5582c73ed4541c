"""`clowder compare RUN RUN`: two trained teams beside each other."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from env.errors import BadInputError
from env.files import in_one_piece
from experiments.overrides import override

if TYPE_CHECKING:
    from experiments.report.comparing import Comparison

USAGE = """usage: clowder compare RUN RUN [--OPTION VALUE ...]

A RUN is a trial's or an experiment's folder, or an MLflow run's id or name; what it played at its
last evaluation counts. `clowder compare RUN RUN --help` explains the options."""
PAGE = "compare.html"


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Compares two trained teams by the games of their last evaluations."""

    show: Literal["browser", "terminal", "file"] = "file"
    """`file` prints a table and writes a page, `browser` opens the page as well, `terminal` only
    prints."""
    out: str = ""
    """Folder for the page; by default a temporary one."""
    json: bool = False
    """Print what was found as JSON instead of a table."""
    tracking_uri: str = ""
    """MLflow store that knows the runs; empty: MLFLOW_TRACKING_URI, or `mlflow.db` here."""


def run_compare(words: list[str]) -> int:
    """The verb; returns the exit status."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    names = words[:2]
    is_help = "--help" in words or "-h" in words
    if not is_help and (len(names) < 2 or names[1].startswith("--")):
        raise BadInputError(f"{names[0]!r} is one run; name a second one to compare it with.")
    flags = ["--help"] if is_help else words[2:]
    options = override(CompareOptions(), flags, prog="clowder compare RUN RUN")
    from experiments.report.comparing import compare

    found = compare(names[0], names[1], options.tracking_uri)
    if options.json:
        json.dump(summary(found), sys.stdout, indent=2)
        print()
    else:
        _print(found)
    if options.show != "terminal":
        folder = Path(options.out).expanduser() if options.out else None
        folder = folder or Path(tempfile.mkdtemp(prefix="clowder-"))
        page = write_comparison(found, folder)
        print(f"page      {page}", file=sys.stderr if options.json else sys.stdout)
        if options.show == "browser":
            from experiments.report_cli import open_page

            open_page(page)
    return 0


def write_comparison(found: Comparison, folder: Path) -> Path:
    """Writes the page, and its figure beside it; returns the page's path."""
    from experiments.report.canvas import style
    from experiments.report.compare_page import MAX_LEVELS, Side, compare_page
    from experiments.report.training_figures import curves
    from experiments.report.watching import Shelf

    folder.mkdir(parents=True, exist_ok=True)
    shelf, games = Shelf(), {}
    for level in found.levels[:MAX_LEVELS]:
        for run, path in zip(found.runs, level.replays, strict=True):
            if path is not None and path not in games:
                index = shelf.add(path, path.parent.parent.parent, run.name)
                if index is not None:
                    games[path] = index
    trained = [one for run in found.runs if (one := run.variant) is not None]
    with style():
        drawing = curves(trained, trained, folder) if trained else None
    page = folder / PAGE
    with in_one_piece(page) as temporary:
        temporary.write_text(compare_page(found, Side(curves=drawing, shelf=shelf, games=games)))
    return page


def summary(found: Comparison) -> dict[str, Any]:
    """What was found, as plain data."""
    returns = found.returns()
    return {
        "runs": [
            {
                "name": run.name,
                "episodes": str(run.path),
                "win_rate": asdict(run.win_rate),
                "metrics": run.metrics,
                "return": returns[i][i],
                "return_under_the_others_weights": returns[i][1 - i],
            }
            for i, run in enumerate(found.runs)
        ],
        "difference": asdict(found.difference) if found.difference else None,
        "num_common_levels": found.num_common,
        "won_by": dict(found.counts),
        "only_first": _only(found, 0),
        "only_second": _only(found, 1),
        "settings": {name: list(pair) for name, pair in found.changes.items()},
    }


def _only(found: Comparison, index: int) -> list[int]:
    """Levels that only this one wins."""
    return sorted(one.seed for one in found.levels if one.endings[index] == "victory")


def _print(found: Comparison) -> None:
    from rich.table import Table

    from experiments.report.compare_page import ROWS
    from experiments.report.comparing import LETTERS
    from experiments.report.variants import CAUSES, said
    from experiments.terminal import open_console, tell

    console = open_console()
    for letter, run in zip(LETTERS, found.runs, strict=True):
        tell(console, f"{letter}  {run.name}  {run.path}")
    tell(console, found.verdict)
    table = Table()
    table.add_column("")
    for letter in LETTERS:
        table.add_column(letter, justify="right")
    table.add_row("win rate", *(f"{one.win_rate.value:.1%}" for one in found.runs))
    table.add_row(
        "95 %", *(f"{one.win_rate.low:.1%} to {one.win_rate.high:.1%}" for one in found.runs)
    )
    table.add_row("levels", *(str(len(one.episodes.games.wins)) for one in found.runs))
    table.add_row("env steps", *(f"{one.episodes.env_steps:,}" for one in found.runs))
    table.add_section()
    for cause, key in CAUSES.items():
        if cause != "victory":
            table.add_row(said(cause), *(f"{one.metrics[key]:.0%}" for one in found.runs))
    table.add_section()
    for key, words, form in ROWS:
        table.add_row(words, *(form.format(one.metrics[key]) for one in found.runs))
    table.add_section()
    returns = found.returns()
    table.add_row("return", *(f"{returns[i][i]:.3f}" for i in (0, 1)))
    table.add_row("under the other's weights", *(f"{returns[i][1 - i]:.3f}" for i in (0, 1)))
    console.print(table)
    for index, letter in enumerate(LETTERS):
        seeds = [str(one) for one in _only(found, index)]
        if seeds:
            more = f" and {len(seeds) - 12} more" if len(seeds) > 12 else ""
            tell(console, f"only {letter} wins level {', '.join(seeds[:12])}{more}")
    for name, (old, new) in found.changes.items():
        tell(console, f"{name}: {old} and {new}")
