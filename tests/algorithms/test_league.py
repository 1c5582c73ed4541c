"""Self-play against snapshots: who is drawn, nobody is swapped inside a game, exact resumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import nn

from algorithms import SegmentPPOConfig
from algorithms.league import League, LeagueConfig
from algorithms.segment_ppo import SHARED, play_shared
from env.errors import BadInputError
from models import ModelConfig, RecurrentActorCritic
from tests.algorithms.small import assert_same, weights_of

NUM_GAMES, NUM_STEPS = 8, 16
ENV_STEPS = NUM_GAMES * NUM_STEPS
WINS = {0: 0, 1: 1}
"""Outcome 0 is won by seat 0, outcome 1 by seat 1; 2 is a draw."""


def league(**config: Any) -> League:
    given = {"snapshot_env_steps": 100, "past_share": 1.0, **config}
    return League(LeagueConfig(**given), "me", WINS, seed=1)


def with_snapshots(count: int, **config: Any) -> League:
    found = league(**config)
    for i in range(count):
        found.add(nn.Linear(2, 2), 100 * (i + 1))
    return found


# -- who is drawn


def test_without_snapshots_the_newest_plays_itself() -> None:
    found = league()
    assert not found.is_due(99) and found.is_due(100)
    assert found.seats() == ["me", "me"]


def test_the_harder_ones_are_drawn_more_often() -> None:
    found = with_snapshots(3)
    easy, even, hard = found.modules
    for _ in range(60):
        found.learn(["me", easy], 0)  # won on the left
        found.learn([easy, "me"], 1)  # won on the right
        found.learn(["me", even], 0)
        found.learn([even, "me"], 0)
        found.learn([hard, "me"], 0)
        found.learn(["me", hard], 1)
    chances = found.chances()
    assert chances[easy] > 0.98 and chances[hard] < 0.02
    assert chances[even] == pytest.approx(0.5, abs=0.02)
    shares = found.shares()
    assert shares[hard] == pytest.approx(0.8, abs=0.02)  # 1 : 1/4, squares of 1 and a half
    assert 0 < shares[easy] < 0.01
    drawn = [found.seats() for _ in range(4000)]
    names = Counter(name for seats in drawn for name in seats if name != "me")
    assert names[hard] / 4000 == pytest.approx(shares[hard], abs=0.03)
    assert sum(seats[0] == "me" for seats in drawn) / 4000 == pytest.approx(0.5, abs=0.03)


def test_a_draw_is_half_a_win_and_games_against_oneself_tell_nothing() -> None:
    found = with_snapshots(1)
    (past,) = found.modules
    found.learn(["me", "me"], 0)
    assert found.chances()[past] == 0.5
    found.learn(["me", past], 2)
    assert found.chances()[past] == 0.5
    found.learn(["me", past], 0)
    assert found.chances()[past] > 0.5


def test_the_share_of_games_against_the_past_is_the_configs() -> None:
    found = with_snapshots(2, past_share=0.25)
    past = sum(found.seats() != ["me", "me"] for _ in range(4000))
    assert past / 4000 == pytest.approx(0.25, abs=0.03)


def test_a_snapshot_stays_as_it_was() -> None:
    module = nn.Linear(2, 2)
    found = league()
    name = found.add(module, 100)
    before = found.modules[name].weight.clone()
    with torch.no_grad():
        module.weight += 1
    assert torch.equal(found.modules[name].weight, before)
    assert not found.modules[name].weight.requires_grad


def test_a_league_goes_on_where_another_stopped() -> None:
    one = with_snapshots(3, past_share=0.5)
    for _ in range(20):
        seats = one.seats()
        one.learn(seats, 0)
    other = league(past_share=0.5)
    other.set_state(one.get_state(), nn.Linear(2, 2))
    assert [one.seats() for _ in range(50)] == [other.seats() for _ in range(50)]
    assert one.chances() == other.chances() and list(one.modules) == list(other.modules)
    for name in one.modules:
        assert torch.equal(one.modules[name].weight, other.modules[name].weight)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"snapshot_env_steps": -1}, "snapshot_env_steps is -1"),
        ({"past_share": 1.5}, "past_share is 1.5"),
        ({"hardness": float("inf")}, "hardness is inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        LeagueConfig(**given)


# -- in a runner


def config(**league: Any) -> SegmentPPOConfig:
    """Short games of Pong, and a small network."""
    model = ModelConfig(hidden_size=16, lstm_size=8)
    spec = RLModuleSpec(module_class=RecurrentActorCritic, model_config=model.to_dict())
    given = {"snapshot_env_steps": 2 * ENV_STEPS, "past_share": 0.7, **league}
    game = {"points_to_win": 1, "rally_limit": 30, "max_ticks": 40, "ball_speed": 30.0}
    found: SegmentPPOConfig = (
        SegmentPPOConfig()
        .environment("clowder/pong", env_config={"config": game, "rewards": {"hit": 0.5}})
        .env_runners(num_envs_per_env_runner=NUM_GAMES, rollout_fragment_length=NUM_STEPS)
        .multi_agent(policies={SHARED}, policy_mapping_fn=play_shared)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={SHARED: spec}))
        .training(minibatch_size=4 * NUM_STEPS, lr=1e-2)
        .league(LeagueConfig(**given))
        .debugging(seed=3, log_level="ERROR")
    )
    return found


@pytest.fixture
def build(ray: Any) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(**league: Any) -> Any:
        made.append(config(**league).build_algo())
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_nobody_is_swapped_inside_a_game_and_snapshots_dont_learn(build: Any) -> None:
    algorithm = build()
    runner = algorithm.env_runner
    seen: Counter[str] = Counter()
    for _ in range(10):
        algorithm.train()
        names = runner._actor.names
        owner, start = runner._buffers["owner"], runner._buffers["episode_start"]
        assert ((owner[:, 1:] == owner[:, :-1]) | start[:, 1:]).all(), "swapped inside a game"
        for index, name in enumerate(names):
            seen[name] += int((owner == index).sum())
        pairs = owner.reshape(NUM_GAMES, 2, NUM_STEPS)
        assert (pairs == 0).any(axis=1).all(), "a game without the policy that learns"
    past = [name for name in runner._actor.names if name != SHARED]
    assert past == [f"past-{2 * ENV_STEPS * k:012d}" for k in range(1, len(past) + 1)]
    assert len(past) == 4 and all(seen[name] > 0 for name in past[:2])
    first = weights_of(runner._league.modules[past[0]])
    algorithm.train()
    assert_same(weights_of(runner._league.modules[past[0]]), first)
    newest = weights_of(algorithm.get_module(SHARED))
    assert any((newest[key] != first[key]).any() for key in first)


def test_only_the_policys_own_rows_are_learned_from(build: Any) -> None:
    algorithm = build()
    for _ in range(6):
        algorithm.train()
    runner = algorithm.env_runner
    (rollouts,) = runner.sample()
    (rollout,) = rollouts.modules.values()
    owner = runner._buffers["owner"]
    assert int(np.asarray(rollout.active).sum()) == int((owner == 0).sum()) < owner.size


def play(algorithm: Any, count: int) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """What happens in so many iterations: every game, the weights, the league's chances."""
    games: list[Any] = []
    for _ in range(count):
        algorithm.train()
        games.extend(record.tobytes() for record in algorithm.episodes)
        games.append(algorithm.env_runner._actor.owners.tolist())
    return games, weights_of(algorithm.get_module(SHARED)), algorithm.env_runner._league.chances()


def test_interrupted_and_resumed_it_draws_the_same_opponents(build: Any, tmp_path: Path) -> None:
    straight = build()
    play(straight, 5)
    path = straight.save_to_path(str(tmp_path / "five"))
    games, weights, chances = play(straight, 5)
    assert len(chances) >= 3
    for played_before in (0, 3):  # restored into a new one, and into one that has played
        other = build()
        play(other, played_before) if played_before else None
        other.restore_from_path(path)
        again = play(other, 5)
        assert again[0] == games and again[2] == chances
        assert_same(again[1], weights)
    # Restored twice: from the checkpoint of the restored one.
    once = build()
    once.restore_from_path(path)
    play(once, 2)
    second = once.save_to_path(str(tmp_path / "seven"))
    twice = build()
    twice.restore_from_path(second)
    again = play(twice, 3)
    assert again[2] == chances and games[-len(again[0]) :] == again[0]
    assert_same(again[1], weights)


def test_a_league_needs_two_sides_and_one_runner(ray: Any) -> None:
    with pytest.raises(ValueError, match="a league lives in one runner, but num_env_runners is 2"):
        config().env_runners(num_env_runners=2).validate()
    with pytest.raises(BadInputError, match="a league needs a game of two seats"):
        League(LeagueConfig(snapshot_env_steps=1), "me", {}, seed=0)
