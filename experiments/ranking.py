"""What a sweep found: a ranking on the terminal and a picture of what the weights did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.metrics import NO
from experiments.runner import StudyResult
from experiments.study import TrialResult
from experiments.terminal import tell

PICTURE = "sweep.png"
SHOWN = {
    "greedy": "eval/win_rate_greedy",
    "exits": "eval/exits",
    "key": "behaviour/key_rate",
    "crushed": "behaviour/crushed",
    "shot": "behaviour/shot",
    "Elo": "rating/elo",
    "missed": "behaviour/miss_rate",
    "still": "behaviour/still_share",
    "return": "reward/return",
}
"""Columns of the ranking, those that the game has: metrics by heading."""


def ranking_table(trials: Sequence[TrialResult]) -> Table:
    """The trials, best held-out win rate first."""
    title = "held-out levels, sampled play"
    if len(trials) > 1:
        title = "ranked by held-out win rate (ties: cats that got out)"
    table = Table(title=title, title_justify="left")
    table.add_column("", justify="right")
    table.add_column("variant")
    shown = [one for one in SHOWN.items() if any(one[1] in trial.final for trial in trials)]
    for name in ("win rate", "95 %", *(name for name, _ in shown)):
        table.add_column(name, justify="right")
    for rank, trial in enumerate(trials, 1):
        final = trial.final
        interval = f"{final['eval/win_rate_low']:.2f}-{final['eval/win_rate_high']:.2f}"
        table.add_row(
            str(rank),
            Text(trial.variant),
            f"{final['eval/win_rate']:.2f}",
            interval,
            *(
                f"{final[metric]:{'.0f' if metric == 'rating/elo' else '.2f'}}"
                if metric in final
                else ""
                for _, metric in shown
            ),
        )
    return table


def print_ranking(result: StudyResult, console: Console) -> None:
    """The ranking, if there is one, and every trial whose reward is hacked or that failed."""
    if result.ranking:
        console.print(ranking_table(result.ranking))
    for trial in result.ranking:
        if not (verdict := str(trial.final.get("hacked", NO))).startswith(NO):
            line = f"hacked?   {trial.variant}: {verdict}"
            tell(console, line)
    for trial in result.trials:
        if trial.error:
            line = f"failed: {trial.variant}: {trial.error}"
            tell(console, line)


def draw_sweep(trials: Sequence[TrialResult], path: Path, title: str) -> None:
    """A picture: the ranking with intervals, learning curves, and behaviour beside success.

    Args:
        trials: best first, at least one.
        path: of the PNG.
        title: over all panels.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    colours = plt.get_cmap("viridis")
    shades = [colours(0.9 * i / max(1, len(trials) - 1)) for i in range(len(trials))]
    height = max(3.4, 1.2 + 0.42 * len(trials))
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(15, height), constrained_layout=True, width_ratios=(1.1, 1, 1.1)
    )
    figure.suptitle(title, fontsize=13)
    _draw_bars(left, trials, shades)
    _draw_curves(middle, trials, shades)
    _draw_behaviour(right, trials)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_bars(axes: Any, trials: Sequence[TrialResult], shades: Sequence[Any]) -> None:
    rates = [one.final["eval/win_rate"] for one in trials]
    low = [one.final["eval/win_rate"] - one.final["eval/win_rate_low"] for one in trials]
    high = [one.final["eval/win_rate_high"] - one.final["eval/win_rate"] for one in trials]
    rows = range(len(trials))
    axes.barh(rows, rates, xerr=[low, high], color=shades, height=0.7, capsize=3, ecolor="0.3")
    axes.set_yticks(rows, [one.variant for one in trials], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.13)  # room for the numbers
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_xlabel("held-out win rate, Wilson 95 %")
    axes.set_title("which variant wins", fontsize=11)
    for row, (rate, more) in enumerate(zip(rates, high, strict=True)):
        axes.text(rate + more + 0.02, row, f"{rate:.2f}", va="center", fontsize=9)


def _draw_curves(axes: Any, trials: Sequence[TrialResult], shades: Sequence[Any]) -> None:
    for trial, shade in zip(trials, shades, strict=True):
        points = [(one["env_steps"], one["eval/win_rate"]) for one in trial.evaluations]
        axes.plot(*zip(*points, strict=True), color=shade, marker="o", markersize=3, linewidth=1.6)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(3, 3), useMathText=True)
    axes.set_xlabel("env steps")
    axes.set_title("held-out win rate while training", fontsize=11)
    axes.grid(alpha=0.25)


BEHAVIOURS = (
    ("behaviour/key_rate", "takes\nthe key"),
    ("behaviour/unlock_rate", "opens\nthe door"),
    ("behaviour/crushed", "a cat is\ncrushed"),
    ("behaviour/shot", "a cat\nis shot"),
    ("behaviour/timeouts", "time\nruns out"),
    ("behaviour/idle_share", "idle\nshare"),
    ("behaviour/miss_rate", "balls\nmissed"),
    ("behaviour/still_share", "stands\nstill"),
    ("behaviour/limited_share", "rallies\ntoo long"),
    ("eval/points_tracker", "points vs.\ntracker"),
    ("eval/points_predictor", "points vs.\npredictor"),
)
"""Shares, those that the game has."""


def _draw_behaviour(axes: Any, trials: Sequence[TrialResult]) -> None:
    shown = [one for one in BEHAVIOURS if one[0] in trials[0].final]
    values = [[one.final.get(key, 0.0) for key, _ in shown] for one in trials]
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(shown)), [label for _, label in shown], fontsize=9)
    axes.set_yticks([])
    for row, shares in enumerate(values):
        for column, share in enumerate(shares):
            shade = "white" if share > 0.6 else "black"
            axes.text(
                column, row, f"{share:.2f}", ha="center", va="center", color=shade, fontsize=9
            )
    axes.set_title("what they do, whatever it pays (shares)", fontsize=11)
