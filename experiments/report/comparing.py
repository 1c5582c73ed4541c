"""Two trained teams beside each other, from the games that they left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from env.batch import HELD_OUT_BIT
from env.errors import BadInputError
from env.replay import SUFFIX
from experiments import recipe as recipes
from experiments.episodes import FOLDER as EPISODES
from experiments.episodes import Episodes, find_episodes, load_episodes
from experiments.evaluate import behaviour_metrics, ledger, success_metrics
from experiments.report.variants import Variant, label_of, values_of
from experiments.space import LISTED
from experiments.statistics import Interval, paired_share_difference, wilson
from experiments.study import TRIAL_FILE, TrialResult, read_trial

LETTERS = ("A", "B")
"""What the two are called where their names are too long."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One of the two."""

    name: str
    """Unlike the other's."""
    path: Path
    """Of its last evaluation's episodes."""
    episodes: Episodes
    trial: TrialResult | None
    """What its folder says of it; None where only the episodes are there."""

    @cached_property
    def metrics(self) -> dict[str, float]:
        """`eval/` and `behaviour/` of these games."""
        games = self.episodes.games
        return {**success_metrics(games), **behaviour_metrics(games)}

    @property
    def win_rate(self) -> Interval:
        """Held out, with Wilson's interval."""
        wins = self.episodes.games.wins
        return Interval(float(wins.mean()), *wilson(int(wins.sum()), len(wins)), "Wilson")

    @property
    def variant(self) -> Variant | None:
        """For drawings of its training."""
        if self.trial is None or not self.trial.evaluations:
            return None
        return Variant(name=self.name, values=values_of(self.trial), trials=(self.trial,))

    @property
    def study(self) -> str:
        """Name of its study; empty if that is not known."""
        recipe = self.trial.recipe if self.trial else None
        return recipe.study if recipe else ""

    @property
    def config(self) -> dict[str, Any]:
        """All that is known of what it trained, by dotted name."""
        if self.trial is not None and self.trial.recipe is not None:
            return recipes.flatten(self.trial.recipe)
        env, rewards = (
            recipes.flatten(one) for one in (self.episodes.config, self.episodes.rewards)
        )
        return {f"env.{name}": one for name, one in env.items()} | {
            f"rewards.{name}": one for name, one in rewards.items()
        }

    @property
    def replays(self) -> Path:
        """Folder of the same evaluation's replays; it may be missing."""
        return self.path.parent.parent / "replays" / self.path.stem


@dataclass(frozen=True, kw_only=True)
class Level:
    """A held-out level that one won and the other lost."""

    seed: int
    endings: tuple[str, str]
    """How each one's game ended."""
    lengths: tuple[int, int]
    """Ticks of each."""
    replays: tuple[Path | None, Path | None]
    """Of each, where it was kept."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What can be said of two runs."""

    runs: tuple[Run, Run]
    difference: Interval | None
    """Of win rates on common levels, the first minus the second; None where the games differ or
    no level is common."""
    num_common: int
    """Levels that both played."""
    counts: Mapping[str, int]
    """Common levels by who won: `both`, `first`, `second`, `neither`."""
    levels: tuple[Level, ...]
    """Common levels that one won, those with replays first."""

    @property
    def is_clear(self) -> bool:
        """Whether the difference's interval leaves nought out."""
        one = self.difference
        return one is not None and one.is_known and (one.low > 0 or one.high < 0)

    @property
    def verdict(self) -> str:
        """Who wins more, in a sentence."""
        rates = " and ".join(
            f"{letter} wins {one.win_rate.value:.0%}"
            for letter, one in zip(LETTERS, self.runs, strict=True)
        )
        one = self.difference
        if one is None:
            configs = [run.episodes.config for run in self.runs]
            why = "have no held-out level in common"
            if configs[0] != configs[1]:
                why = "play different games"
            return f"{rates}, but they {why}: no difference can be told."
        shown = f"{100 * one.value:+.1f} points ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
        end = "on the same levels" if self.is_clear else "on the same levels, which may be chance"
        return f"{rates}: {shown} {end}."

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Settings that differ, by dotted name, as far as both are known."""
        first, second = (one.config for one in self.runs)
        apart = (*LISTED, "name", "run.study", "run.storage", "run.tracking_uri")
        return {
            name: (value, second[name])
            for name, value in first.items()
            if value != second.get(name, value)
            and name not in apart
            and not name.startswith("sweep.")
        }

    def returns(self) -> list[list[float]]:
        """[games of, weights of]: mean return, a cat and episode."""
        return [
            [ledger(of.episodes.games, by.episodes.rewards)["reward/return"] for by in self.runs]
            for of in self.runs
        ]

    def ledgers(self) -> dict[str, tuple[float, float, float, float]]:
        """By term: the amount in each run's games, and what it pays each under its own weights; a
        cat and episode, where there is any."""
        rows = {}
        games = [one.episodes.games for one in self.runs]
        paid = [ledger(one.episodes.games, one.episodes.rewards) for one in self.runs]
        amounts = [one.records["terms"].mean(axis=(0, 1)) for one in games]
        for column, name in enumerate(games[0].term_names):
            row = (*(float(one[column]) for one in amounts), *(of[f"reward/{name}"] for of in paid))
            if any(row):
                rows[name] = row
        return rows  # type: ignore[return-value]


def compare(first: str, second: str, tracking_uri: str = "") -> Comparison:
    """Two runs by name.

    Args:
        first, second: RUNs as `experiments.runs.find_folder` takes them.
        tracking_uri: MLflow store; empty: MLFLOW_TRACKING_URI, or `mlflow.db` in this folder.

    Raises:
        BadInputError: one isn't there, left no episodes, or it is the same run twice.
    """
    paths = [find_episodes(one, tracking_uri) for one in (first, second)]
    if paths[0].resolve() == paths[1].resolve():
        raise BadInputError(
            f"{first!r} and {second!r} are the same run (its episodes are {paths[0]}); name two."
        )
    a, b = (_read(path) for path in paths)
    if a.name == b.name:
        a, b = (_renamed(one, f"{one.study} {one.name}".strip()) for one in (a, b))
    if a.name == b.name:
        a, b = (
            _renamed(one, f"{one.name} ({mark})") for one, mark in zip((a, b), LETTERS, strict=True)
        )
    games = (_by_level(a), _by_level(b))
    common = sorted(set(games[0]) & set(games[1])) if a.episodes.config == b.episodes.config else []
    wins = [[of[seed][0] for seed in common] for of in games]
    names = {(True, True): "both", (True, False): "first", (False, True): "second"}
    counts = dict.fromkeys((*names.values(), "neither"), 0)
    for pair in zip(*wins, strict=True):
        counts[names.get(pair, "neither")] += 1
    return Comparison(
        runs=(a, b),
        difference=paired_share_difference(*map(np.array, wins)) if common else None,
        num_common=len(common),
        counts=counts,
        levels=_apart(common, games, (a, b)),
    )


def _read(path: Path) -> Run:
    folder = path.parent.parent
    is_trial = path.parent.name == EPISODES and (folder / TRIAL_FILE).is_file()
    trial = read_trial(folder) if is_trial else None
    return Run(
        name=label_of(trial) if trial else folder.name,
        path=path,
        episodes=load_episodes(path),
        trial=trial,
    )


def _renamed(run: Run, name: str) -> Run:
    return Run(name=name, path=run.path, episodes=run.episodes, trial=run.trial)


def _by_level(run: Run) -> dict[int, tuple[bool, str, int]]:
    """Of each held-out level: whether it was won, how it ended, and after how many ticks."""
    games = run.episodes.games
    found = {}
    for record, won in zip(games.records, games.wins, strict=True):
        seed = int(record["level_seed"])
        if seed & HELD_OUT_BIT:
            ending = games.cause_names[int(record["cause"])]
            found[seed & ~HELD_OUT_BIT] = (bool(won), ending, int(record["length"]))
    return found


def _apart(
    common: list[int], games: tuple[dict[int, tuple[bool, str, int]], ...], runs: tuple[Run, Run]
) -> tuple[Level, ...]:
    kept = [_kept(one) for one in runs]
    levels = []
    for seed in common:
        a, b = (of[seed] for of in games)
        if a[0] != b[0]:
            levels.append(
                Level(
                    seed=seed,
                    endings=(a[1], b[1]),
                    lengths=(a[2], b[2]),
                    replays=(kept[0].get(seed), kept[1].get(seed)),
                )
            )
    return tuple(sorted(levels, key=lambda one: (-sum(map(bool, one.replays)), one.seed)))


def _kept(run: Run) -> dict[int, Path]:
    """Replays of the run's last evaluation, by held-out level."""
    from env.replay import load

    found: dict[int, Path] = {}
    for path in sorted(run.replays.glob(f"*{SUFFIX}")):
        try:
            level = load(path).level
        except BadInputError:  # another version's, or damaged
            continue
        if level.held_out and level.seed is not None:
            found.setdefault(int(level.seed), path)
    return found
