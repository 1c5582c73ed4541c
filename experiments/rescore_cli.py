"""`clowder rescore RUN`: what stored episodes would have paid under other weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from env.pico_park import PicoParkRewards
from experiments.episodes import SUFFIX, Episodes, find_episodes, load_episodes, returns
from experiments.evaluate import ledger
from experiments.overrides import flag_of, override
from experiments.recipe import flatten
from experiments.terminal import open_console, tell

USAGE = """usage: clowder rescore RUN [--rewards.TERM WEIGHT ...] [--preset default|blog]

RUN is a trial's folder, an MLflow run's id or name, or a file of episodes; of an experiment's
folder the longest trained trial counts, the best of equals. Its games are paid anew under other
weights, without being played again. `clowder rescore RUN --help` explains the options.
"""


@dataclass(frozen=True, kw_only=True)
class RescoreOptions:
    """Pays stored episodes under other weights: those of their run, with these changed."""

    preset: str = ""
    """`default` or `blog`: begin with these weights instead of the run's own."""
    rewards: PicoParkRewards = field(default_factory=PicoParkRewards)
    """The weights."""
    json: bool = False
    """Print JSON instead of a table."""
    tracking_uri: str = ""
    """MLflow store that knows the run; empty: MLFLOW_TRACKING_URI, or `mlflow.db` here."""


def run_rescore(words: list[str]) -> int:
    """The verb; returns the exit status."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE.rstrip())
        return 0 if words else 2
    run, flags = words[0], words[1:]
    first = override(RescoreOptions(), flags, prog="clowder rescore RUN")
    path = Path(run)
    if path.suffix != SUFFIX:
        path = find_episodes(run, first.tracking_uri)
    episodes = load_episodes(path)
    base = PicoParkRewards.preset(first.preset) if first.preset else episodes.rewards
    options = override(RescoreOptions(rewards=base), flags, prog="clowder rescore RUN")
    found = rescored(episodes, options.rewards)
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        print()
    else:
        _print(path, episodes, options.rewards, found)
    return 0


def rescored(episodes: Episodes, rewards: PicoParkRewards) -> dict[str, Any]:
    """Every term's amount and pay before and after, and the returns of won and lost games.

    All a cat and episode, in plain data.
    """
    games = episodes.games
    old, new = ledger(games, episodes.rewards), ledger(games, rewards)
    amounts = games.records["terms"].mean(axis=(0, 1))
    by_game = {"trained": returns(games, episodes.rewards), "rescored": returns(games, rewards)}
    won = games.wins

    def mean(of: Any) -> float | None:
        return float(of.mean()) if len(of) else None

    return {
        "num_episodes": len(won),
        "win_rate": float(won.mean()) if len(won) else None,
        "terms": {
            name: {
                "amount": float(amount),
                "trained": old[f"reward/{name}"],
                "rescored": new[f"reward/{name}"],
            }
            for name, amount in zip(games.term_names, amounts, strict=True)
        },
        "returns": {
            name: {"all": mean(paid), "won": mean(paid[won]), "lost": mean(paid[~won])}
            for name, paid in by_game.items()
        },
    }


def _changes(old: PicoParkRewards, new: PicoParkRewards) -> Sequence[str]:
    before = flatten(old)
    return [
        f"{flag_of(f'rewards.{name}')[2:]} {before[name]:g} -> {value:g}"
        for name, value in flatten(new).items()
        if value != before[name]
    ]


def _print(path: Path, episodes: Episodes, rewards: PicoParkRewards, found: dict[str, Any]) -> None:
    console = open_console()
    tell(
        console,
        f"{path}\n{found['num_episodes']} episodes of {episodes.config.preset} after "
        f"{episodes.env_steps:,} env steps, {found['win_rate']:.0%} won",
    )
    changes = _changes(episodes.rewards, rewards)
    console.print(f"weights   {'; '.join(changes) or 'as trained'}", markup=False, highlight=False)
    table = Table(title="a cat and episode", title_justify="left")
    for name in ("", "amount", "paid as trained", "paid now"):
        table.add_column(name, justify="left" if not name else "right")
    for name, row in found["terms"].items():
        if row["amount"] or row["rescored"]:
            table.add_row(
                name, f"{row['amount']:.2f}", f"{row['trained']:.3f}", f"{row['rescored']:.3f}"
            )
    table.add_section()
    for of in ("all", "won", "lost"):
        cells = [found["returns"][name][of] for name in ("trained", "rescored")]
        shown = ["-" if one is None else f"{one:.3f}" for one in cells]
        table.add_row("return" if of == "all" else f"return of {of} games", "", *shown)
    console.print(table)
