"""Studies as sweeps leave them in their folders, made up without training: games that were really
played, composed so that every trial wins as often as it is told to."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.play import Games, Track
from env.batch import HELD_OUT_BIT, BatchedGame
from env.pico_park import PicoParkConfig, PicoParkRewards
from experiments import recipe as recipes
from experiments.episodes import Episodes, save_episodes
from experiments.evaluate import (
    ScriptedActor,
    behaviour_metrics,
    ledger,
    objective,
    play_levels,
    success_metrics,
)
from experiments.guards import mark_stopped
from experiments.history import append_row
from experiments.recipe import Recipe
from experiments.recipes import find_recipe
from experiments.replays import choose, make_replays, save_replays
from experiments.study import RECIPE_FILE, note_trial
from experiments.trial import build_recipe

SMALL = PicoParkConfig(preset="meadow", num_agents=2, length=18)


class Noisy(ScriptedActor):
    """The scripted team, which now and then does something else: it wins and fails in many ways."""

    def __init__(self, noise: float, action: int | None, seed: int) -> None:
        super().__init__()
        self.noise, self.action = noise, action
        self.generator = np.random.default_rng(seed)

    @property
    def entropy(self) -> float:
        return 1.0

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        actions = super().act(sim, playing)
        other = self.generator.integers(0, sim.num_actions, actions.shape)
        if self.action is not None:
            other = np.full_like(other, self.action)
        strays = self.generator.random(actions.shape) < self.noise
        actions[strays] = other[strays]
        return actions


@dataclass(frozen=True)
class Pool:
    """Games to compose evaluations of, and replays of typical ones."""

    config: PicoParkConfig
    games: Games
    replays: Path
    """Folder with a replay of every name."""

    def compose(
        self, win_rate: float, failing: Mapping[str, float], num_levels: int, seed: int
    ) -> Games:
        """So many games, of which so many are won, and the others are lost in these ways."""
        rng = np.random.default_rng(seed)
        names = self.games.cause_names
        known = {one: weight for one, weight in failing.items() if len(self._of(one))}
        lost = known or {one: 1.0 for one in names[1:] if len(self._of(one))}
        num_won = round(win_rate * num_levels)
        weights = np.array(list(lost.values())) / sum(lost.values())
        causes = ["victory"] * num_won
        causes += rng.choice(list(lost), num_levels - num_won, p=weights).tolist()
        rng.shuffle(causes)
        picked = [int(rng.choice(self._of(one))) for one in causes]
        records = self.games.records[picked].copy()
        records["level_seed"] = np.arange(num_levels, dtype=np.uint64) | np.uint64(HELD_OUT_BIT)
        return dataclasses.replace(self.games, records=records, tracks=())

    def _of(self, cause: str) -> NDArray[np.intp]:
        return np.flatnonzero(self.games.records["cause"] == self.games.cause_names.index(cause))


def make_pool(folder: Path, config: PicoParkConfig = SMALL, num_levels: int = 40) -> Pool:
    """Plays some levels well, badly and lazily."""
    seeds = range(num_levels)
    played = [
        play_levels(Noisy(noise, action, i), config, seeds, keep_tracks=True)
        for i, (noise, action) in enumerate(
            [(0.0, None), (0.4, None), (1.0, None), (0.5, 4), (0.9, 5)]
        )
    ]
    rng = np.random.default_rng(0)
    games = dataclasses.replace(
        played[0],
        records=np.concatenate([one.records for one in played]),
        tracks=tuple(_thinking(track, rng) for one in played for track in one.tracks),
    )
    rewards = find_recipe("smoke").rewards
    chosen = choose(games)
    save_replays(
        make_replays(games, chosen, config, rewards, [*seeds] * len(played)), folder / "replays"
    )
    return Pool(config, games, folder / "replays")


def _thinking(track: Track, rng: np.random.Generator) -> Track:
    """A track with probabilities and values beside it, as networks leave them."""
    shape = track.actions.shape
    return dataclasses.replace(
        track,
        probabilities=rng.dirichlet(np.ones(6), shape).astype(np.float16),
        values=rng.normal(size=shape).astype(np.float16),
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a trial comes to."""

    win_rate: float
    failing: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"time": 1.0})
    """How it loses, by weight."""
    num_evaluations: int = 4
    is_done: bool = True
    error: str = ""
    hacked: str = "no"
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the last row says instead."""


def make_study(
    folder: Path,
    pool: Pool,
    configs: Sequence[Mapping[str, Any]],
    come_to: Callable[[Mapping[str, Any], int], Outcome],
    *,
    recipe: Recipe | None = None,
    name: str = "sweep-20260101-000000",
    num_levels: int = 40,
    is_finished: bool = True,
) -> Path:
    """Writes an experiment's folder.

    Args:
        folder: of the study.
        pool: whose games its trials play.
        configs: what each trial varies.
        come_to: what becomes of a config, told its place in the list as well.
        recipe: of the study; its levels and env steps are what rows say.
        name: of the experiment.
        num_levels: held-out levels of each evaluation.
        is_finished: whether the experiment says so.

    Returns:
        The experiment's folder.
    """
    recipe = recipe or find_recipe("smoke")
    recipe = dataclasses.replace(
        recipe,
        env=pool.config,
        evaluation=dataclasses.replace(recipe.evaluation, num_final_levels=num_levels),
    )
    experiment = folder / name
    experiment.mkdir(parents=True)
    data = recipes.to_dict(recipe)
    (experiment / RECIPE_FILE).write_text(json.dumps(data, indent=2))
    for index, config in enumerate(configs):
        trial = experiment / f"abc_{index:05d}"
        trial.mkdir()
        own = build_recipe({"recipe": data, **config})
        note_trial(trial, trial.name, config, own)
        _play(trial, pool, own, come_to(config, index), num_levels, index)
    if is_finished:
        (experiment / "finished").touch()
    return experiment


def _play(
    folder: Path, pool: Pool, recipe: Recipe, outcome: Outcome, num_levels: int, seed: int
) -> None:
    """The trial's reports, the last evaluation's episodes and its replays."""
    if outcome.error:
        mark_stopped(folder, outcome.error)
    games = pool.compose(outcome.win_rate, outcome.failing, num_levels, seed)
    last = {**success_metrics(games), **behaviour_metrics(games), **ledger(games, recipe.rewards)}
    last["reward/farmed"] = 0.01 * (seed % 7)
    last["eval/win_rate_greedy"] = last["eval/win_rate"] * 0.9
    last["eval/objective"] = objective(
        last["eval/win_rate"], last["eval/exits"], pool.config.num_agents, num_levels
    )
    first = pool.compose(0.0, {}, num_levels, 0)
    start = {**success_metrics(first), **behaviour_metrics(first), **ledger(first, recipe.rewards)}
    total = recipe.run.env_steps
    for k in range(1, outcome.num_evaluations + 1):
        share = k / outcome.num_evaluations
        is_last = k == outcome.num_evaluations
        steps = round(total * share * (1 if outcome.is_done else 0.5))
        row = {
            name: (1 - share) * start.get(name, value) + share * value
            for name, value in last.items()
        }
        row |= {"train/return": row["reward/return"], "time/resident_mib": 500.0}
        name = f"{steps:012d}"
        row |= {
            "env_steps": steps,
            "done": is_last and outcome.is_done,
            "timestamp": 1_767_225_600 + steps // 10,
            "time_total_s": 0.01 * steps * (1 + 0.1 * (seed % 3)),
            "hacked": outcome.hacked if is_last else "no",
            # As of another machine: the folder has moved since.
            "episodes": f"/elsewhere/{folder.name}/episodes/{name}.npz",
            "replays": f"/elsewhere/{folder.name}/replays/{name}",
        }
        if is_last:
            row |= outcome.changes
            episodes = Episodes(
                games=games, config=recipe.env, rewards=recipe.rewards, env_steps=steps
            )
            save_episodes(folder / "episodes" / f"{name}.npz", episodes)
            _keep_replays(pool, games, folder / "replays" / name)
        append_row(folder, row)


def _keep_replays(pool: Pool, games: Games, folder: Path) -> None:
    """The pool's replays, of what the trial's games came to."""
    folder.mkdir(parents=True)
    for path in pool.replays.iterdir():
        cause = path.stem.partition("-")[0]
        if path.stem == "worst" or (games.records["cause"] == games.cause_names.index(cause)).any():
            os.link(path, folder / path.name)


def random_search(folder: Path, num_trials: int, config: PicoParkConfig | None = None) -> Path:
    """A random search over eight reward weights, of which `own_block` decides and `alive` spoils.

    Returns:
        The experiment's folder.
    """
    names = (
        "own_block", "alive", "team_share", "wasted_shot", "key", "exit", "crushed", "progress_key"
    )  # fmt: skip
    fields = [f"rewards.{one}" for one in names]
    rng = np.random.default_rng(0)
    ranges = [PicoParkRewards.sweep_range(one) for one in names]
    configs = [
        {field: float(rng.uniform(*ends)) for field, ends in zip(fields, ranges, strict=True)}
        for _ in range(num_trials)
    ]

    def come_to(config: Mapping[str, Any], index: int) -> Outcome:
        noise = np.random.default_rng(index).normal()
        skill = 40 * config["rewards.own_block"] - 3 - 60 * config["rewards.alive"] + noise
        failing = {"time": 0.3 + 100 * config["rewards.alive"], "crushed": 0.5, "shot": 0.4}
        return Outcome(
            win_rate=float(1 / (1 + np.exp(-skill))), failing=failing, num_evaluations=16
        )

    recipe = recipes.replace(
        find_recipe("smoke"),
        {
            "sweep.space": tuple(fields),
            "sweep.search": "random",
            "sweep.num_trials": num_trials,
            "run.env_steps": 800_000,
            "run.study": "thousand",
        },
    )
    pool = make_pool(folder / "pool", config or PicoParkConfig(preset="gates"))
    return make_study(folder / "thousand", pool, configs, come_to, recipe=recipe, num_levels=100)
