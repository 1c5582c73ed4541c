"""What the original experiment's author says, held against the study that tests it.

    clowder sweep claims; clowder sweep claims_segments
    python -m benchmarks.claims results/claims/*/report/trials.csv ... # both; a table for the docs

Reads the reports' `trials.csv`. Each claim is one or more comparisons of two variants with the same
seeds; it holds if the paired difference's 95 % interval (Student's t) lies above nothing.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.statistics import paired_difference

MIN_SEEDS = 5
GAP = "memorised"
"""A win rate on the levels that were trained on, less that on held-out ones."""
Runs = dict[str, dict[int, dict[str, float]]]
"""Metrics of every run that has ended, by variant and seed."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """That one variant has more of something than another."""

    claim: str
    """Letter and words."""
    more: str
    """Variant that has more, if the claim is true."""
    less: str
    metric: str


WIN_RATE, TIMEOUTS = "eval/win_rate", "behaviour/timeouts"
CLAIMS = tuple(
    Comparison(claim=claim, more=more, less=less, metric=metric)
    for claim, more, less, metric in (
        ("a. team reward alone lacks credit", "base", "team only", WIN_RATE),
        ("a. individual terms mend it", "own only", "team only", WIN_RATE),
        ("b. too much keep-alive: they survive, not win", "base", "alive 0.02", WIN_RATE),
        ("b.", "alive 0.02", "base", TIMEOUTS),
        ("c. breadcrumbs mend it", "alive 0.02", "alive 0.02, no crumbs", WIN_RATE),
        ("c.", "alive 0.005", "alive 0.005, no crumbs", WIN_RATE),
        ("c. and help alone", "base", "no crumbs", WIN_RATE),
        (
            "d. block reward too large makes farmers",
            "own block 0.5",
            "base",
            "behaviour/own_blocks",
        ),
        ("d.", "own block 0.5", "base", "behaviour/friendly_kills"),
        ("d. who win less", "base", "own block 0.5", WIN_RATE),
        ("e. unpunished, they shoot for nothing", "free shots", "base", "behaviour/wasted_shots"),
        ("e. and win less", "base", "free shots", WIN_RATE),
        ("f. few levels are memorised", "10 levels", "base", GAP),
        ("f. and others lost", "base", "10 levels", WIN_RATE),
        ("g. an MLP can't see the map", "base", "no map", WIN_RATE),
        ("h. memory helps", "base", "no memory", WIN_RATE),
        ("i. V-trace helps", "vtrace", "gae", WIN_RATE),
        ("i. PuffeRL's estimate helps", "puff", "gae", WIN_RATE),
        ("i. segments drawn by advantage help", "gae, drawn", "gae", WIN_RATE),
        ("i. both help", "vtrace, drawn", "gae", WIN_RATE),
    )
)
SHARES = (WIN_RATE, GAP, TIMEOUTS)
"""Metrics that are shown in percent."""


def read_runs(paths: Sequence[Path]) -> Runs:
    """The whole runs of several reports; a variant that several have is taken from all."""
    runs: Runs = {}
    for path in paths:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            sys.exit(f"{path} can't be read ({error.strerror}); name a report's trials.csv.")
        for row in rows:
            if row.get("state") != "done":
                continue
            found = {name: float(text) for name, text in row.items() if _is_number(text)}
            if "eval/win_rate_trained" in found:
                found[GAP] = found["eval/win_rate_trained"] - found[WIN_RATE]
            runs.setdefault(row["variant"], {})[int(row["seed"])] = found
    return runs


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and np.isfinite(float(text))
    except ValueError:
        return False


def judge(one: Comparison, runs: Runs) -> str:
    """A row of the table."""
    pairs = [
        (runs[one.more][seed][one.metric], runs[one.less][seed][one.metric])
        for seed in sorted(runs.get(one.more, {}).keys() & runs.get(one.less, {}).keys())
        if one.metric in runs[one.more][seed] and one.metric in runs[one.less][seed]
    ]
    what = (
        f"| {one.claim} | {one.more} > {one.less} | {one.metric.partition('/')[2] or one.metric} "
    )
    if len(pairs) < MIN_SEEDS:
        return what + f"| | | | not tested: {len(pairs)} seeds |"
    more, less = (np.array(side) for side in zip(*pairs, strict=True))
    found = paired_difference(more, less)
    scale, digits, unit = (100, 0, " %") if one.metric in SHARES else (1, 2, "")
    if one.metric == "behaviour/own_blocks":
        digits = 1
    verdict = "not shown"
    if found.low > 0 or (np.isnan(found.low) and found.value > 0):
        verdict = "holds"
    elif found.high < 0 or (np.isnan(found.high) and found.value < 0):
        verdict = "the opposite"

    def shown(value: float) -> str:
        return f"{scale * value:.{digits}f}"

    interval = shown(found.value)
    if not np.isnan(found.low):  # equal differences have none
        interval += f" ({shown(found.low)} to {shown(found.high)})"
    return what + (
        f"| {shown(more.mean())}{unit} | {shown(less.mean())}{unit} | {interval} | {verdict} |"
    )


def main(words: Sequence[str]) -> int:
    """Command line, see the top of this file; returns the exit status."""
    if not words or words[0].startswith("-"):
        print(__doc__)
        return 0 if words else 2
    runs = read_runs([Path(one) for one in words])
    print("| claim | comparison | of | | | difference, 95 % | here |")
    print("|---|---|---|---|---|---|---|")
    for one in CLAIMS:
        print(judge(one, runs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
