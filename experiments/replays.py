"""Which games of an evaluation are worth watching, and their replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.play import Games
from env.batch import Level
from env.pico_park import PicoParkConfig, PicoParkRewards
from env.replay import SUFFIX, Replay, record

VICTORY = "victory"


def choose(games: Games) -> dict[str, int]:
    """Levels to keep, by a name that says why: index in the list of levels.

    Of every cause of failure a typical one (of median length), the worst failure of all (fewest
    cats out, then the shortest), a typical victory and the shortest.
    """
    records = games.records
    found: dict[str, int] = {}
    for index, cause in enumerate(games.cause_names):
        of_cause = np.flatnonzero(records["cause"] == index)
        if len(of_cause):
            order = of_cause[np.argsort(records["length"][of_cause], kind="stable")]
            found[f"{cause}-typical"] = int(order[(len(order) - 1) // 2])
            if cause == VICTORY:
                found[f"{cause}-shortest"] = int(order[0])
    lost = np.flatnonzero(~games.wins)
    if len(lost):
        worst = lost[np.lexsort((records["length"][lost], records["exits"][lost]))]
        found["worst"] = int(worst[0])
    return found


def make_replays(
    games: Games,
    chosen: Mapping[str, int],
    config: PicoParkConfig,
    rewards: PicoParkRewards,
    seeds: Sequence[int],
    *,
    held_out: bool = True,
    source: Mapping[str, Any] | None = None,
) -> dict[str, Replay]:
    """Replays of some levels by name.

    Args:
        games: played with `keep_tracks`.
        chosen: name and index of each.
        config, rewards: of the game.
        seeds: what `games` were played on.
        held_out: whether these are held-out levels.
        source: where the policy comes from.
    """
    made = {}
    for name, index in chosen.items():
        track = games.tracks[index]
        made[name] = record(
            "pico_park",
            config,
            rewards,
            Level(seed=int(seeds[index]), difficulty=config.preset, held_out=held_out),
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
