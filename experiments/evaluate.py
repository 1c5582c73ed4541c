"""Judging policies: named held-out levels, each played exactly once, from the game's own records.

Metrics of the families `eval/` and `behaviour/` don't depend on reward weights, so trials with
different rewards can be compared; `reward/` is the ledger of where the return comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from env.batch import HELD_OUT_BIT, BatchedGame, Level
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.scripted import ScriptedTeam
from experiments.statistics import wilson
from models import RecurrentActorCritic

MAX_GAMES = 256
"""Games played side by side."""


class Actor(Protocol):
    """Whatever chooses actions for many games."""

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        """Actions (len(playing), num_agents) for these games; called once a tick."""

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        """Told before every tick which games (num_envs,) begin a level with it."""

    @property
    def entropy(self) -> float:
        """Mean entropy of the action distribution where cats were in play, in nats."""


class NetworkActor:
    """A network, sampled or greedy, with a memory row for every seat of every game."""

    def __init__(self, module: RecurrentActorCritic, *, greedy: bool, seed: int) -> None:
        self.module = module
        self.greedy = greedy
        self.generator = torch.Generator().manual_seed(seed)
        self._states: dict[str, torch.Tensor] = {}
        self._started = np.zeros(0, np.bool_)
        self._entropy_sum, self._entropy_count = 0.0, 0

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        """Forgets what was seen in games that begin."""
        if not self._states:
            self._states = self.module.initial_states(sim.num_envs * sim.num_agents)
        self._started = started

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        """Actions (len(playing), num_agents)."""
        n, a = len(playing), sim.num_agents
        rows = (playing[:, None] * a + np.arange(a)).ravel()
        observations = {
            name: torch.from_numpy(array[playing].reshape(n * a, *array.shape[2:]))
            for name, array in sim.observations.items()
        }
        index = torch.from_numpy(rows)
        states = {key: value[index] for key, value in self._states.items()}
        start = torch.from_numpy(np.repeat(self._started[playing], a))
        logits, _, states = self.module.act(observations, states, start)
        for key, value in states.items():
            self._states[key][index] = value
        log_probabilities = torch.log_softmax(logits.float(), -1)
        probabilities = log_probabilities.exp()
        alive = torch.from_numpy(sim.alive[playing].ravel())
        entropy = -(probabilities * log_probabilities).sum(-1)[alive]
        self._entropy_sum += float(entropy.sum())
        self._entropy_count += int(alive.sum())
        if self.greedy:
            actions = logits.argmax(-1)
        else:
            actions = torch.multinomial(probabilities, 1, generator=self.generator)[:, 0]
        return actions.numpy().reshape(n, a)

    @property
    def entropy(self) -> float:
        """Mean entropy in nats."""
        return self._entropy_sum / max(1, self._entropy_count)


class RandomActor:
    """Uniformly random actions: the floor that every policy must leave behind."""

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


@dataclass(frozen=True, kw_only=True)
class Games:
    """The records of a set of levels, each played once."""

    records: NDArray[np.void]
    """One element a level, in the order in which the levels were named; see `sim.episodes()`."""
    entropy: float
    """Mean action entropy where cats were in play, in nats."""
    term_names: tuple[str, ...]
    outcome_names: tuple[str, ...]
    cause_names: tuple[str, ...]

    @property
    def wins(self) -> NDArray[np.bool_]:
        """bool, one element a level."""
        won: NDArray[np.bool_] = self.records["outcome"] == self.outcome_names.index("victory")
        return won


def held_out_seeds(count: int, first: int = 0) -> range:
    """Level seeds of the standard list: `first`, `first + 1`, ... as held-out levels."""
    return range(first, first + count)


def play_levels(
    actor: Actor,
    config: PicoParkConfig,
    seeds: Sequence[int],
    *,
    held_out: bool = True,
) -> Games:
    """Plays every level of the list once.

    Each game plays its own share of the list to the end, so quick losses don't crowd out long
    games.

    Args:
        actor: who plays.
        config: the game.
        seeds: level seeds.
        held_out: whether they name held-out levels.
    """
    num_games = min(len(seeds), MAX_GAMES)
    sim = PicoPark(num_games, config, seed=0)
    shares = [list(range(i, len(seeds), num_games)) for i in range(num_games)]
    levels = [Level(seed=seed, held_out=held_out) for seed in seeds]
    sim.reset(levels=levels[:num_games])
    for i, share in enumerate(shares):
        sim.queue_levels(i, [levels[k] for k in share[1:]])
    left = np.array([len(share) for share in shares])
    started = np.ones(num_games, np.bool_)
    actions = np.zeros((num_games, sim.num_agents), np.int64)
    while (left > 0).any():
        playing = np.flatnonzero(left > 0)
        actor.start(sim, started)
        actions[playing] = actor.act(sim, playing)
        sim.step(actions)
        started = sim.terminated | sim.truncated
        left -= started
    records = _in_order(sim.episodes(), seeds, held_out, shares)
    return Games(
        records=records,
        entropy=actor.entropy,
        term_names=sim.term_names,
        outcome_names=sim.outcome_names,
        cause_names=sim.cause_names,
    )


def _in_order(
    records: NDArray[np.void],
    seeds: Sequence[int],
    held_out: bool,
    shares: list[list[int]],
) -> NDArray[np.void]:
    """The first episodes of each game, in the order of the list."""
    ordered = np.zeros(len(seeds), records.dtype)
    played = [0] * len(shares)
    for record in records:
        game = int(record["game"])
        if played[game] < len(shares[game]):
            index = shares[game][played[game]]
            expected = int(seeds[index]) | (HELD_OUT_BIT if held_out else 0)
            assert int(record["level_seed"]) == expected, "another level than named was played"
            ordered[index] = record
        played[game] += 1
    return ordered


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
    module: RecurrentActorCritic,
    config: PicoParkConfig,
    rewards: PicoParkRewards,
    *,
    num_levels: int,
    seed: int,
    with_greedy: bool = False,
    presets: Sequence[str] = (),
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
    """
    seeds = held_out_seeds(num_levels)

    def play(greedy: bool, preset: str | None = None) -> Games:
        actor = NetworkActor(module, greedy=greedy, seed=seed)
        return play_levels(actor, config.at(preset or config.preset), seeds)

    games = play(False)
    found = {**success_metrics(games), **behaviour_metrics(games), **ledger(games, rewards)}
    if with_greedy:
        found["eval/win_rate_greedy"] = float(play(True).wins.mean())
    for preset in presets:
        found[f"eval/win_rate_{preset}"] = float(play(False, preset).wins.mean())
    found["eval/objective"] = objective(
        found["eval/win_rate"], found["eval/exits"], config.num_agents, num_levels
    )
    return found
