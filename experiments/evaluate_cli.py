"""`clowder evaluate RUN`: judges a team on held-out levels and prints what it found."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from algorithms.play import Actor, NetworkActor
from env.errors import BadInputError, unknown_name
from env.pico_park import PicoParkConfig, PicoParkRewards, presets
from experiments.evaluate import (
    RandomActor,
    ScriptedActor,
    behaviour_metrics,
    held_out_seeds,
    ledger,
    play_levels,
    success_metrics,
)
from experiments.overrides import override
from experiments.policy import load_policy
from experiments.recipe import MAX_SEED
from experiments.runs import find_policy

BASELINES = ("random", "scripted")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Judges a trained team on held-out levels, each played exactly once."""

    presets: tuple[str, ...] = ()
    """Difficulties to play; by default the one that the team was trained on, with its overrides.
    Others are played as published."""
    num_levels: int = 400
    """Held-out levels of each, seeds `first_level`, `first_level` + 1, ..."""
    first_level: int = 0
    """First level seed."""
    seed: int = 0
    """Of the sampled actions."""
    num_agents: int | None = None
    """Cats in the team; by default as trained, 4 for `random` and `scripted`."""
    greedy: bool = True
    """Whether to play each level a second time with the likeliest action."""
    json: bool = False
    """Print JSON instead of a table."""
    tracking_uri: str = ""
    """MLflow store that knows the run; empty: MLFLOW_TRACKING_URI, or `mlflow.db` here."""


def run_evaluate(words: list[str]) -> int:
    """The verb; returns the exit status."""
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: clowder evaluate RUN [--OPTION VALUE ...]\n\n"
            "RUN is a folder with a policy in or below it, an MLflow run's id or name, `random`\n"
            "or `scripted`. `clowder evaluate RUN --help` explains the options."
        )
        return 0 if words else 2
    options = override(EvaluateOptions(), words[1:], prog="clowder evaluate RUN")
    rows = evaluate_run(words[0], options)
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
    else:
        _print(words[0], rows, options)
    return 0


def evaluate_run(run: str, options: EvaluateOptions) -> list[dict[str, Any]]:
    """One dict a difficulty: its name, and the metrics of `experiments/evaluate.py`."""
    for preset in options.presets:
        if preset not in presets():
            raise unknown_name("preset", preset, presets())
    if not 0 <= options.seed <= MAX_SEED:
        raise BadInputError(f"seed is {options.seed}; it must lie between 0 and {MAX_SEED}.")
    if options.num_levels < 1 or options.first_level < 0:
        raise BadInputError(
            f"levels {options.first_level} to {options.first_level + options.num_levels - 1} are "
            "none; give --num-levels of at least 1 and --first-level of at least 0."
        )
    config, rewards, make_actor = _team(run, options)
    if options.num_agents is not None:
        config = dataclasses.replace(config, num_agents=options.num_agents)
    seeds = held_out_seeds(options.num_levels, options.first_level)
    rows = []
    for preset in options.presets or (config.preset,):
        games = play_levels(make_actor(False), config.at(preset), seeds)
        row: dict[str, Any] = {"preset": preset, "num_levels": len(seeds)}
        row |= {**success_metrics(games), **behaviour_metrics(games), **ledger(games, rewards)}
        if options.greedy and run not in BASELINES:
            greedy = play_levels(make_actor(True), config.at(preset), seeds)
            row["eval/win_rate_greedy"] = float(greedy.wins.mean())
        rows.append(row)
    return rows


def _team(
    run: str, options: EvaluateOptions
) -> tuple[PicoParkConfig, PicoParkRewards, Callable[[bool], Actor]]:
    """Game, reward weights, and a maker of the actor: greedy or sampled."""
    config, rewards = PicoParkConfig(), PicoParkRewards()
    if run == "random":
        return config, rewards, lambda greedy: RandomActor(seed=options.seed)
    if run == "scripted":
        return config, rewards, lambda greedy: ScriptedActor()
    policy = load_policy(find_policy(run, options.tracking_uri))
    return (
        policy.recipe.env,
        policy.recipe.rewards,
        lambda greedy: NetworkActor({"team": policy.module}, greedy=greedy, seed=options.seed),
    )


def _print(run: str, rows: list[dict[str, Any]], options: EvaluateOptions) -> None:
    console = Console(width=None if sys.stdout.isatty() else 110)
    last = options.first_level + options.num_levels - 1
    table = Table(
        title=f"{run} on held-out levels {options.first_level} to {last}", title_justify="left"
    )
    table.add_column("preset")
    columns = {
        "win rate": "eval/win_rate",
        "greedy": "eval/win_rate_greedy",
        "exits": "eval/exits",
        "ticks": "eval/episode_length",
        "key": "behaviour/key_rate",
        "crushed": "behaviour/crushed",
        "shot": "behaviour/shot",
        "time": "behaviour/timeouts",
        "idle": "behaviour/idle_share",
    }
    for name in ("95 %", *columns):
        table.add_column(name, justify="right")
    for row in rows:
        interval = f"{row['eval/win_rate_low']:.3f}-{row['eval/win_rate_high']:.3f}"
        cells = ["" if key not in row else f"{row[key]:.3g}" for key in columns.values()]
        table.add_row(row["preset"], interval, *cells)
    console.print(table)
