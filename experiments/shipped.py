"""Trained teams that come with the platform: weights, the recipe they were trained with, figures.

    clowder evaluate NAME                                    # like any run
    python -m experiments.shipped check [NAME ...]           # plays all their levels again
    python -m experiments.shipped add NAME RUN PRESET ...    # judges a run and puts it among them

The figures are of levels by which nothing was chosen.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from env.errors import BadInputError, unknown_name
from experiments.policy import CONFIG_FILE, WEIGHTS_FILE

FOLDER = Path(__file__).parent / "weights"
FIGURES_FILE = "figures.json"
NUM_LEVELS = 1000
FIRST_LEVEL = 1_000_000
"""Held-out levels of each preset that the figures are of: others than those by which settings and
seeds were chosen."""
_EXACT = "as shipped, to the last game"
_CLOSE = "within the shipped interval"


def names() -> tuple[str, ...]:
    """Names of the shipped teams."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{CONFIG_FILE}")))


def find(name: str) -> Path | None:
    """Folder of the shipped team of that name, if there is one."""
    return FOLDER / name if name in names() else None


def figures(name: str) -> dict[str, Any]:
    """What a shipped team reached, and where that was measured: `levels`, `first_level`, `presets`,
    `torch`, `processor`, and `rows`, see `experiments.evaluate_cli.evaluate_run`."""
    found: dict[str, Any] = json.loads((FOLDER / name / FIGURES_FILE).read_text())
    return found


def judge(run: str, presets: Sequence[str]) -> list[dict[str, Any]]:
    """Plays a RUN on the levels that the figures are of."""
    from experiments.evaluate_cli import EvaluateOptions, evaluate_run

    options = EvaluateOptions(
        presets=tuple(presets), num_levels=NUM_LEVELS, first_level=FIRST_LEVEL
    )
    return evaluate_run(run, options)


def add(name: str, run: str, presets: Sequence[str]) -> Path:
    """Judges a run's policy and puts it among the shipped teams.

    Raises:
        BadInputError: the name is no plain name, or the run has no policy.
    """
    import torch

    from experiments.runs import find_policy

    if not name.isidentifier():
        raise BadInputError(f"{name!r} can't name a team; use letters, digits and underscores.")
    policy = find_policy(run)
    rows = judge(str(policy), presets)
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (WEIGHTS_FILE, CONFIG_FILE):
        shutil.copyfile(policy / file, folder / file)
    found = {
        "levels": NUM_LEVELS,
        "first_level": FIRST_LEVEL,
        "presets": list(presets),
        "torch": torch.__version__,
        "processor": platform.machine(),
        "rows": rows,
    }
    (folder / FIGURES_FILE).write_text(json.dumps(found, indent=1) + "\n")
    return folder


def compare(shipped: dict[str, Any], now: dict[str, Any]) -> str | None:
    """How a row of figures agrees with the shipped one; None: it doesn't."""
    if all(now.get(key) == value for key, value in shipped.items()):
        return _EXACT
    is_inside = (
        shipped["eval/win_rate_low"] <= now["eval/win_rate"] <= shipped["eval/win_rate_high"]
    )
    return _CLOSE if is_inside else None


def check(chosen: Sequence[str]) -> int:
    """Plays the shipped teams' levels again; returns how many figures don't come out."""
    wrong = 0
    for name in chosen:
        if find(name) is None:
            raise unknown_name("shipped team", name, names())
        known = figures(name)
        print(f"{name}, {known['levels']:,} held-out levels of each preset, sampled play")
        for shipped, now in zip(
            known["rows"], judge(str(FOLDER / name), known["presets"]), strict=True
        ):
            verdict = compare(shipped, now)
            wrong += verdict is None
            low, high = shipped["eval/win_rate_low"], shipped["eval/win_rate_high"]
            print(
                f"  {shipped['preset']:<10} {now['eval/win_rate']:.3f}   shipped "
                f"{shipped['eval/win_rate']:.3f} ({low:.3f}-{high:.3f})   "
                f"{verdict or 'NOT REPRODUCED'}",
                flush=True,
            )
    return wrong


def main(words: Sequence[str] | None = None) -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.shipped", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    checking = verbs.add_parser("check", help="play the shipped teams' levels again")
    checking.add_argument("names", nargs="*", metavar="NAME")
    adding = verbs.add_parser("add", help="judge a run and put it among them")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("run", metavar="RUN")
    adding.add_argument("presets", nargs="+", metavar="PRESET")
    given = parser.parse_args(words)
    try:
        if given.verb == "check":
            return 1 if check(given.names or names()) else 0
        print(f"added {add(given.name, given.run, given.presets)}")
    except BadInputError as error:
        print(f"experiments.shipped: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
