"""Which games of an evaluation are worth watching, and their replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.play import Games
from env.batch import Level, Rewards
from env.pico_park import PicoParkConfig
from env.pong import PongConfig
from env.replay import SUFFIX, Replay, record
from experiments.recipe import Recipe

VICTORY = "victory"


def typical(games: Games, among: NDArray[np.bool_]) -> int | None:
    """Index of the game of median length among those marked; None if none is."""
    indices = np.flatnonzero(among)
    if not len(indices):
        return None
    order = indices[np.argsort(games.records["length"][indices], kind="stable")]
    return int(order[(len(order) - 1) // 2])


def choose(games: Games) -> dict[str, int]:
    """Levels to keep, by a name that says why: index in the list of levels.

    Of every cause of failure a typical one (of median length), the worst failure of all (fewest
    cats out, then the shortest), a typical victory and the shortest.
    """
    records = games.records
    found: dict[str, int] = {}
    for index, cause in enumerate(games.cause_names):
        of_cause = records["cause"] == index
        if (chosen := typical(games, of_cause)) is None:
            continue
        found[f"{cause}-typical"] = chosen
        if cause == VICTORY:
            indices = np.flatnonzero(of_cause)
            found[f"{cause}-shortest"] = int(indices[np.argmin(records["length"][indices])])
    lost = np.flatnonzero(~games.wins)
    if len(lost):
        worst = lost[np.lexsort((records["length"][lost], records["exits"][lost]))]
        found["worst"] = int(worst[0])
    return found


def make_replays(
    games: Games,
    chosen: Mapping[str, int],
    config: PicoParkConfig | PongConfig,
    rewards: Rewards,
    seeds: Sequence[int],
    *,
    game: str = Recipe.game,
    difficulty: str = "",
    held_out: bool = True,
    source: Mapping[str, Any] | None = None,
) -> dict[str, Replay]:
    """Replays of some levels by name.

    Args:
        games: played with `keep_tracks`.
        chosen: name and index of each.
        config, rewards: of the game.
        seeds: what `games` were played on.
        game: its name.
        difficulty: that they were played at; empty: the config's preset.
        held_out: whether these are held-out levels.
        source: where the policy comes from.
    """
    made = {}
    difficulty = difficulty or config.preset
    for name, index in chosen.items():
        track = games.tracks[index]
        made[name] = record(
            game,
            config,
            rewards,
            Level(seed=int(seeds[index]), difficulty=difficulty, held_out=held_out),
            track.actions,
            probabilities=track.probabilities,
            values=track.values,
            source=source,
        )
    return made


def save_replays(replays: Mapping[str, Replay], folder: Path) -> list[Path]:
    """Writes each as `NAME.replay`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [one.save(folder / f"{name}{SUFFIX}") for name, one in replays.items()]
