"""`clowder evaluate RUN`: judges a team, on held-out levels as a rule, and prints what it found."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from algorithms.play import Games
from env.errors import BadInputError, unknown_name
from env.pico_park import PicoPark, presets
from experiments import shipped
from experiments.evaluate import (
    behaviour_metrics,
    held_out_seeds,
    ledger,
    play_levels,
    success_metrics,
)
from experiments.overrides import split_run
from experiments.policy import load_levels
from experiments.recipe import MAX_SEED
from experiments.teams import BASELINES, Team, find_team
from experiments.terminal import open_console

MEMORY = "memory"
"""What can be hidden beside the game's own ablations: all that was seen before."""
ALL = "all"
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Judges a trained team on held-out levels, each played exactly once."""

    presets: tuple[str, ...] = ()
    """Difficulties to play; by default the one that the team was trained on, with its overrides.
    Others are played as published."""
    levels: Literal["held_out", "trained"] = "held_out"
    """`held_out`: levels that training never saw; `trained`: those that the team was trained on
    last, to see whether it has learned them by heart."""
    num_levels: int = 400
    """Levels of each: held-out seeds `first_level`, `first_level` + 1, ..., or trained ones from
    the newest back."""
    first_level: int = 0
    """First held-out seed."""
    hide: tuple[str, ...] = ()
    """Play the levels again with each of these hidden, to see what the team uses: teammates,
    teammate_colours, block_colours, other_blocks, bullets, memory, or `all` of them in turn."""
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
    usage = (
        "usage: clowder evaluate RUN [--OPTION VALUE ...]\n\n"
        "RUN is a folder with a policy in or below it, shipped weights "
        f"({', '.join(shipped.names()) or 'none yet'}),\nan MLflow run's id or name, `random` or "
        "`scripted`. `clowder evaluate RUN --help` explains the\noptions."
    )
    run, options = split_run(words, EvaluateOptions(), usage=usage, prog="clowder evaluate RUN")
    rows = evaluate_run(run, options)
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
    else:
        _print(run, rows, options)
    return 0


def evaluate_run(run: str, options: EvaluateOptions) -> list[dict[str, Any]]:
    """One dict a difficulty and thing hidden: their names, and the metrics of
    `experiments/evaluate.py`."""
    _check(run, options)
    team = find_team(run, options.tracking_uri)
    config = team.config
    if options.num_agents is not None:
        config = dataclasses.replace(config, num_agents=options.num_agents)
    rows = []
    for preset in options.presets or (config.preset,):
        seeds = _levels(team, preset, options)

        def play(hidden: str, preset: str = preset, seeds: Any = seeds, **how: Any) -> Games:
            actor = team.make_actor(
                seed=options.seed,
                hide=PicoPark.ablations.get(hidden),
                remembers=hidden != MEMORY,
                **how,
            )
            held_out = options.levels == "held_out"
            return play_levels(actor, config.at(preset), seeds, held_out=held_out)

        for hidden in (NOTHING, *_hidden(options)):
            games = play(hidden)
            row: dict[str, Any] = {"preset": preset, "hidden": hidden, "num_levels": len(seeds)}
            row |= success_metrics(games) | behaviour_metrics(games) | ledger(games, team.rewards)
            if options.greedy and hidden == NOTHING and team.policy is not None:
                row["eval/win_rate_greedy"] = float(play(hidden, greedy=True).wins.mean())
            rows.append(row)
    return rows


def _check(run: str, options: EvaluateOptions) -> None:
    """Refuses options that make no sense."""
    for preset in options.presets:
        if preset not in presets():
            raise unknown_name("preset", preset, presets())
    known = (*PicoPark.ablations, MEMORY, ALL)
    for name in options.hide:
        if name not in known:
            raise unknown_name("thing to hide", name, known)
    if not 0 <= options.seed <= MAX_SEED:
        raise BadInputError(f"seed is {options.seed}; it must lie between 0 and {MAX_SEED}.")
    if options.num_levels < 1 or options.first_level < 0:
        raise BadInputError(
            f"levels {options.first_level} to {options.first_level + options.num_levels - 1} are "
            "none; give --num-levels of at least 1 and --first-level of at least 0."
        )
    if run in BASELINES and (options.levels != "held_out" or options.hide):
        raise BadInputError(
            f"{run} was never trained and is blind to nothing; --levels and --hide are for "
            "trained teams."
        )


def _hidden(options: EvaluateOptions) -> tuple[str, ...]:
    """What is hidden, one after the other."""
    return (*PicoPark.ablations, MEMORY) if ALL in options.hide else options.hide


def _levels(team: Team, preset: str, options: EvaluateOptions) -> Sequence[int]:
    """Seeds to play of a preset."""
    if team.folder is None or options.levels == "held_out":
        return held_out_seeds(options.num_levels, options.first_level)
    return _newest(load_levels(team.folder), preset, options.num_levels)


def _newest(trained: NDArray[np.uint64], preset: str, count: int) -> list[int]:
    """Seeds of the newest `count` trained levels of a preset."""
    seeds: list[int] = trained[trained[:, 1] == presets().index(preset), 0].tolist()
    if len(seeds) < count:
        raise BadInputError(
            f"of the last {len(trained)} levels that the team was trained on, {len(seeds)} are of "
            f"{preset}; give --num-levels of at most that, or other --presets."
        )
    return seeds[-count:]


def _print(run: str, rows: list[dict[str, Any]], options: EvaluateOptions) -> None:
    console = open_console()
    if options.levels == "held_out":
        last = options.first_level + options.num_levels - 1
        levels = f"held-out levels {options.first_level} to {last}"
    else:
        levels = f"{options.num_levels} levels that it was trained on"
    table = Table(title=f"{run} on {levels}", title_justify="left")
    table.add_column("preset")
    if options.hide:
        table.add_column("hidden")
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
    if options.hide:  # what fits beside it
        columns = {name: columns[name] for name in ("win rate", "exits", "crushed", "shot", "time")}
    for name in columns:
        table.add_column(name, justify="right")
        if name == "win rate":
            table.add_column("95 %", justify="right", no_wrap=True)
    for row in rows:
        interval = f"{row['eval/win_rate_low']:.3f}-{row['eval/win_rate_high']:.3f}"
        cells = [
            "" if key not in row else f"{row[key]:.0f}" if name == "ticks" else f"{row[key]:.3f}"
            for name, key in columns.items()
        ]
        names = [row["preset"], row["hidden"]] if options.hide else [row["preset"]]
        table.add_row(*names, cells[0], interval, *cells[1:])
    console.print(table)
