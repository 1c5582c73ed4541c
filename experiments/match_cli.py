"""`clowder match A B`: two players of Pong against each other, sides alternated."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from env.errors import BadInputError
from env.player import write_page
from env.pong import PongConfig, PongRewards, opponents
from env.replay import SUFFIX
from experiments.duels import Duel, Player, duel, typical_replays
from experiments.overrides import override
from experiments.policy import load_policy
from experiments.recipe import PongRecipe
from experiments.runs import find_policy
from experiments.terminal import open_console

USAGE = """usage: clowder match A B [--OPTION VALUE ...]

A and B are trained policies (whatever `clowder evaluate` takes) or scripted opponents ({known}).
`clowder match A B --help` explains the options."""


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """Two players of Pong against each other, half of the games with A on the left."""

    num_games: int = 100
    """How many."""
    first_seed: int = 1_000_000
    """Of the held-out serves; others than those that training is judged by."""
    preset: str = ""
    """Rules; by default those that A was trained on, else B's, else duel."""
    greedy: bool = False
    """Whether policies take their likeliest actions."""
    seed: int = 0
    """Of the sampled actions."""
    out: str = ""
    """Folder for a replay and its page of a typical win and a typical loss; by default none."""
    json: bool = False
    """Print JSON instead of a table."""
    tracking_uri: str = ""
    """MLflow store that knows the runs; empty: MLFLOW_TRACKING_URI, or `mlflow.db` here."""


def run_match(words: list[str]) -> int:
    """The verb; returns the exit status."""
    if len(words) < 2 or words[0] in ("-h", "--help"):
        print(USAGE.format(known=", ".join(opponents()[1:])))
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    options = override(MatchOptions(), words[2:], prog="clowder match A B")
    if options.num_games < 2 or options.first_seed < 0:
        raise BadInputError(
            f"num_games is {options.num_games} and first_seed {options.first_seed}; give at least "
            "2, and at least 0."
        )
    torch.set_num_threads(1)
    (first, its), (second, other) = (_find(name, options) for name in words[:2])
    recipe = its or other
    config = recipe.env if recipe else PongConfig()
    if options.preset:
        config = PongConfig(preset=options.preset)  # type: ignore[arg-type]
    for one in (its, other):
        if one is not None and _seen(one.env) != _seen(config):
            raise BadInputError(
                f"{one.name} was trained on {_seen(one.env)}, this match shows {_seen(config)}; "
                "take two that see the same, or leave out --preset."
            )
    found = duel(
        first,
        second,
        config,
        num_games=options.num_games,
        first_seed=options.first_seed,
        seed=options.seed,
        greedy=options.greedy,
        keep_tracks=bool(options.out),
    )
    kept = _keep(found, words[:2], config, recipe, options) if options.out else []
    if options.json:
        json.dump(_plain(words[:2], found), sys.stdout, indent=2)
        print()
    else:
        _print(words[:2], found, config)
        for path in kept:
            print(f"see it   {path}")
    return 0


def _find(name: str, options: MatchOptions) -> tuple[Player, PongRecipe | None]:
    """A player, and the recipe that it was trained by."""
    if name in opponents()[1:]:
        return Player(name=name), None
    policy = load_policy(find_policy(name, options.tracking_uri))
    if not isinstance(policy.recipe, PongRecipe):
        raise BadInputError(
            f"{name} plays {policy.recipe.game}, which has no sides; name a policy of pong, or one "
            f"of {', '.join(opponents()[1:])}."
        )
    return Player(name="policy", module=policy.module), policy.recipe


def _seen(config: PongConfig) -> str:
    """What a policy's network must fit."""
    return f"{config.frames} frames of {config.observation}"


def _keep(
    found: Duel,
    names: list[str],
    config: PongConfig,
    recipe: PongRecipe | None,
    options: MatchOptions,
) -> list[Path]:
    """Writes replays and pages; returns the pages."""
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    rewards = recipe.rewards if recipe else PongRewards()
    made = typical_replays({"game": found}, config, rewards, {"A": names[0], "B": names[1]})
    pages = []
    for name, replay in made.items():
        replay.save(folder / f"{name}{SUFFIX}")
        pages.append(write_page(replay, folder / f"{name}.html").resolve())
    return pages


def _plain(names: list[str], found: Duel) -> dict[str, Any]:
    low, high = found.interval
    return {
        "players": names,
        "wins": found.wins,
        "draws": found.draws,
        "losses": found.losses,
        "win_rate": found.wins / found.num_games,
        "win_rate_low": low,
        "win_rate_high": high,
        "won_on_the_left": float(found.won("left").mean()),
        "won_on_the_right": float(found.won("right").mean()),
        "points": [int(found.of_first("score").sum()), int(found.of_second("score").sum())],
        "miss_rates": [
            float(of("misses").sum() / max(1, (of("hits") + of("misses")).sum()))
            for of in (found.of_first, found.of_second)
        ],
    }


def _print(names: list[str], found: Duel, config: PongConfig) -> None:
    plain = _plain(names, found)
    table = Table(
        title=f"{names[0]} against {names[1]}: {found.num_games} games of {config.preset} to "
        f"{config.points_to_win}, sides alternated",
        title_justify="left",
    )
    for name in ("", "games won", "95 %", "on the left", "on the right", "points", "balls missed"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row(
        "A",
        f"{plain['win_rate']:.3f}",
        f"{plain['win_rate_low']:.3f}-{plain['win_rate_high']:.3f}",
        f"{plain['won_on_the_left']:.2f}",
        f"{plain['won_on_the_right']:.2f}",
        f"{plain['points'][0]:,} : {plain['points'][1]:,}",
        f"{plain['miss_rates'][0]:.1%}, B {plain['miss_rates'][1]:.1%}",
    )
    open_console().print(table)
    if found.draws:
        print(f"{found.draws} of them drawn, when time was up")
