"""Judging policies: named held-out levels, each played exactly once, from the game's own records.

Metrics of the families `eval/` and `behaviour/` don't depend on reward weights, so trials with
different rewards can be compared; `reward/` is the ledger of where the return comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms import play
from algorithms.play import Actor, Games, NetworkActor, Thoughts
from env.batch import BatchedGame
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.scripted import ScriptedTeam
from experiments.statistics import wilson


class RandomActor:
    """Uniformly random actions: the floor that every policy must leave behind."""

    thoughts: Thoughts | None = None

    def __init__(self, *, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        """Nothing to forget."""
        self.num_actions = sim.num_actions

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        """Actions (len(playing), num_agents)."""
        return self.generator.integers(0, sim.num_actions, (len(playing), sim.num_agents))

    @property
    def entropy(self) -> float:
        """That of the uniform distribution."""
        return float(np.log(self.num_actions))


class ScriptedActor:
    """The scripted team, which plays by rules: what can be reached without learning."""

    thoughts: Thoughts | None = None

    def __init__(self) -> None:
        self._team: ScriptedTeam | None = None

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        """Takes its seats; what it knows of a game it drops by itself when the game ends."""
        if self._team is None:
            assert isinstance(sim, PicoPark)
            self._team = ScriptedTeam(sim.num_agents, sim.config)

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        """Actions (len(playing), num_agents)."""
        assert self._team is not None and isinstance(sim, PicoPark)
        is_playing = np.zeros(sim.num_envs, np.bool_)
        is_playing[playing] = True
        return self._team.actions(sim, is_playing)[playing].astype(np.int64)

    @property
    def entropy(self) -> float:
        """None: it never hesitates."""
        return 0.0


def held_out_seeds(count: int, first: int = 0) -> range:
    """Level seeds of the standard list: `first`, `first + 1`, ... as held-out levels."""
    return range(first, first + count)


def play_levels(
    actor: Actor,
    config: PicoParkConfig,
    seeds: Sequence[int],
    *,
    held_out: bool = True,
    each_tick: Callable[[], None] | None = None,
    keep_tracks: bool = False,
) -> Games:
    """Plays every level of the list once; see `algorithms.play.play_levels`.

    Args:
        actor: who plays.
        config: the game.
        seeds: level seeds.
        held_out: whether they name held-out levels.
        each_tick: called at every tick, for a watchdog.
        keep_tracks: whether to keep what was done, for replays.
    """
    return play.play_levels(
        actor,
        lambda count: PicoPark(count, config, seed=0),
        seeds,
        held_out=held_out,
        each_tick=each_tick,
        keep_tracks=keep_tracks,
    )


def success_metrics(games: Games) -> dict[str, float]:
    """`eval/`: how often the team wins, with Wilson's 95 % interval, and how far it comes."""
    records, wins = games.records, games.wins
    low, high = wilson(int(wins.sum()), len(wins))
    return {
        "eval/win_rate": float(wins.mean()),
        "eval/win_rate_low": low,
        "eval/win_rate_high": high,
        "eval/exits": float(records["exits"].mean()),
        "eval/episode_length": float(records["length"].mean()),
    }


def behaviour_metrics(games: Games) -> dict[str, float]:
    """`behaviour/`: what the cats do, whatever it pays. Shares of episodes, counts an episode."""
    records = games.records
    causes = {
        name: float((records["cause"] == i).mean()) for i, name in enumerate(games.cause_names)
    }
    counts = ("own_blocks", "wasted_shots", "friendly_kills", "shots")
    return {
        "behaviour/crushed": causes["crushed"],
        "behaviour/shot": causes["shot"],
        "behaviour/timeouts": causes["time"],
        "behaviour/key_lost": causes["key_lost"],
        "behaviour/door_lost": causes["door_lost"],
        "behaviour/key_rate": float((records["key_tick"] >= 0).mean()),
        "behaviour/unlock_rate": float((records["unlock_tick"] >= 0).mean()),
        **{f"behaviour/{name}": float(records[name].mean()) for name in counts},
        "behaviour/idle_share": float(records["idle_ticks"].sum() / records["active_ticks"].sum()),
        "behaviour/action_entropy": games.entropy,
    }


def ledger(games: Games, rewards: PicoParkRewards) -> dict[str, float]:
    """`reward/`: each term's weighted total an episode, mean over cats, and their sum.

    Team sharing moves reward between cats and leaves these means alone.
    """
    totals = games.records["terms"].mean(axis=(0, 1))
    weights = rewards.by_term()
    by_term = {
        f"reward/{name}": float(total) * weights[name]
        for name, total in zip(games.term_names, totals, strict=True)
    }
    return {**by_term, "reward/return": sum(by_term.values())}


def objective(win_rate: float, exits: float, num_agents: int, num_levels: int) -> float:
    """What sweeps maximise: the win rate, and where that is equal the mean share of cats out.

    No reward weight enters it. The tie-breaker is worth less than half a level.
    """
    return win_rate + 0.5 * exits / num_agents / num_levels


def evaluate_module(
    module: Any,
    config: PicoParkConfig,
    rewards: PicoParkRewards,
    *,
    num_levels: int,
    seed: int,
    with_greedy: bool = False,
    presets: Sequence[str] = (),
    trained: Sequence[int] = (),
    each_tick: Callable[[], None] | None = None,
    keep: Callable[[Games, Sequence[int]], Mapping[str, float]] | None = None,
    keep_tracks: bool = False,
) -> dict[str, float]:
    """All metrics of a policy on the standard list of held-out levels.

    Args:
        module: actor-critic, shared by all seats.
        config: the game.
        rewards: weights of the ledger; nothing else depends on them.
        num_levels: held-out level seeds 0 to num_levels - 1.
        seed: of the sampled actions.
        with_greedy: also play greedily (a team can deadlock that way).
        presets: other difficulties whose win rate is wanted too.
        trained: seeds of training levels, to see whether they are won more often.
        each_tick: called at every tick, for a watchdog.
        keep: told of the sampled games and their level seeds; returns metrics of its own.
        keep_tracks: whether it is told what was done as well, for replays.
    """
    seeds = held_out_seeds(num_levels)

    def play(greedy: bool, preset: str | None = None, *, keep_tracks: bool = False) -> Games:
        actor = NetworkActor({"team": module}, greedy=greedy, seed=seed)
        of_preset = config.at(preset or config.preset)
        return play_levels(actor, of_preset, seeds, each_tick=each_tick, keep_tracks=keep_tracks)

    games = play(False, keep_tracks=keep_tracks)
    found = {**success_metrics(games), **behaviour_metrics(games), **ledger(games, rewards)}
    if keep is not None:
        found |= keep(games, seeds)
    if with_greedy:
        found["eval/win_rate_greedy"] = float(play(True).wins.mean())
    for preset in presets:
        found[f"eval/win_rate_{preset}"] = float(play(False, preset).wins.mean())
    if len(trained):
        actor = NetworkActor({"team": module}, greedy=False, seed=seed)
        of_training = play_levels(actor, config, trained, held_out=False, each_tick=each_tick)
        found["eval/win_rate_trained"] = float(of_training.wins.mean())
    found["eval/objective"] = objective(
        found["eval/win_rate"], found["eval/exits"], config.num_agents, num_levels
    )
    return found
