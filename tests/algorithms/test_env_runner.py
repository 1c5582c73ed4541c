"""What the batched runner samples: nothing dropped, nothing invented, the same levels as stock."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

from algorithms import env_runner
from algorithms.env_runner import SAMPLING, BatchedEnvRunner, GameEpisode
from algorithms.rollout import Rollout, Rollouts
from algorithms.segment_ppo import SHARED, SegmentPPOConfig
from env import rllib
from env.batch import HELD_OUT_BIT, BatchedGame, hash_words
from env.games import make_simulator
from tests.algorithms.small import (
    ENV_STEPS,
    NUM_AGENTS,
    NUM_GAMES,
    NUM_ROWS,
    NUM_STEPS,
    assert_same,
    forward,
    make_runner,
    plain,
    sample,
    sample_shared,
    seat_by_number,
    small_config,
    stock_config,
    taken,
    two_policies,
)


def second_simulator(runner: BatchedEnvRunner, game: str = "pico_park") -> BatchedGame:
    """The same games once more, started but not played."""
    context = dict(runner.config.env_config)
    seed = context.pop("seed")
    context.pop("game", None)
    sim = make_simulator(game, runner.num_envs, **context)
    sim.reset(seed=[hash_words((seed, runner.worker_index, i)) for i in range(runner.num_envs)])
    return sim


def per_row(array: np.ndarray) -> np.ndarray:
    """(games, agents, ...) or (games,) as rows."""
    return np.repeat(array, NUM_AGENTS) if array.ndim == 1 else array.reshape(-1, *array.shape[2:])


def levels_now(runner: BatchedEnvRunner) -> list[int]:
    assert runner.env is not None
    return [int(runner.env.level(i).seed or 0) for i in range(runner.num_envs)]


def held_out(rollouts: Rollouts) -> list[int]:
    """Level seeds that were played; all of them must be held-out ones."""
    seeds = [int(one) for one in rollouts.episodes["level_seed"]]
    assert all(one & HELD_OUT_BIT for one in seeds)
    return [one & ~HELD_OUT_BIT for one in seeds]


def evaluation_config(**settings: Any) -> SegmentPPOConfig:
    config = small_config(**settings).get_evaluation_config_object()
    config.validate()
    return config


# -- what a rollout holds


def test_a_rollout_is_rectangular_and_has_the_promised_types() -> None:
    rollouts = sample(make_runner())
    rollout = rollouts.modules[SHARED]
    columns = {
        "actions": np.int64,
        **dict.fromkeys(("log_probabilities", "values", "rewards", "final_values"), np.float32),
        **dict.fromkeys(("terminated", "truncated", "active", "owned", "episode_start"), np.bool_),
    }
    for name, kind in columns.items():
        array = getattr(rollout, name)
        assert array.shape == (NUM_ROWS, NUM_STEPS) and array.dtype == kind, name
    grid, vector = rollout.observations["grid"], rollout.observations["global"]
    assert grid.shape == (NUM_ROWS, NUM_STEPS, 5, 14, 25) and grid.dtype == np.uint8
    assert vector.shape == (NUM_ROWS, NUM_STEPS, 11) and vector.dtype == np.float32
    assert {name: one.shape for name, one in rollout.states.items()} == {
        "h": (NUM_ROWS, 16),
        "c": (NUM_ROWS, 16),
    }
    assert rollout.bootstrap.shape == (NUM_ROWS,) and rollout.bootstrap.dtype == np.float32
    assert rollout.game.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert rollout.seat.tolist() == [0, 1, 2] * NUM_GAMES
    assert (rollout.num_rows, rollout.num_steps) == (NUM_ROWS, NUM_STEPS)
    assert rollouts.env_steps() == ENV_STEPS and rollouts.agent_steps() == NUM_ROWS * NUM_STEPS


def test_without_a_memory_there_are_no_states() -> None:
    from models import ModelConfig

    config = small_config(model=ModelConfig(lstm=False, hidden_size=16))
    assert sample_shared(make_runner(config)).states == {}


def test_every_episodes_rewards_sum_to_what_the_simulators_record_says() -> None:
    """Waiting rows included: a dead cat is charged for the defeat that comes later."""
    runner = make_runner()
    sampled = [sample(runner) for _ in range(4)]
    shared = [one.modules[SHARED] for one in sampled]
    rewards = np.concatenate([one.rewards for one in shared], 1).astype(np.float64)
    ended = np.concatenate([one.terminated for one in shared], 1)
    active = np.concatenate([one.active for one in shared], 1)
    records = np.concatenate([one.episodes for one in sampled])
    assert runner.env is not None
    weights = np.array(list(runner.env.reward_weights.by_term().values()))
    first = [0] * NUM_GAMES
    for record in records:
        game = int(record["game"])
        rows = slice(game * NUM_AGENTS, (game + 1) * NUM_AGENTS)
        last = first[game] + int(record["length"])
        assert ended[rows, last - 1].all()
        paid = rewards[rows, first[game] : last].sum(1)
        assert paid.tolist() == (record["terms"] @ weights).tolist()
        first[game] = last
    assert len(records) > 2 * NUM_GAMES
    assert np.abs(rewards[~active]).sum() > 0, "nobody was paid while waiting"


@pytest.mark.parametrize("game", ["pico_park", "cut_park"])
def test_every_number_is_that_of_a_second_simulator_and_a_second_pass(
    cut_park: str, game: str
) -> None:
    """The actions, played again: observations, rewards, ends, who was in play when it acted; and
    step by step through the network: probabilities, values, also of what follows a cut."""
    config = small_config()
    config.env_config["game"] = game
    runner = make_runner(config)
    sim, module = second_simulator(runner, game), runner.module[SHARED]
    state, start = module.initial_states(NUM_ROWS), np.ones(NUM_ROWS, np.bool_)
    num_cuts = num_waiting = num_last = 0
    for _ in range(6):
        rollout = sample_shared(runner)
        assert_same(rollout.states, {name: one.numpy() for name, one in state.items()})
        for t in range(NUM_STEPS):
            seen = {name: per_row(one).copy() for name, one in sim.observations.items()}
            assert_same({name: one[:, t] for name, one in rollout.observations.items()}, seen)
            np.testing.assert_array_equal(rollout.episode_start[:, t], start)
            np.testing.assert_array_equal(rollout.active[:, t], per_row(sim.alive))
            tensors = {name: torch.from_numpy(one) for name, one in seen.items()}
            logits, values, state = module.act(tensors, state, torch.from_numpy(start))
            actions = rollout.actions[:, t]
            expected = torch.log_softmax(logits, -1)[torch.arange(NUM_ROWS), actions]
            np.testing.assert_allclose(rollout.log_probabilities[:, t], expected, atol=1e-5)
            np.testing.assert_allclose(rollout.values[:, t], values, atol=1e-6)
            sim.step(actions.reshape(NUM_GAMES, NUM_AGENTS))
            np.testing.assert_array_equal(rollout.rewards[:, t], per_row(sim.rewards))
            np.testing.assert_array_equal(rollout.terminated[:, t], per_row(sim.terminated))
            np.testing.assert_array_equal(rollout.truncated[:, t], per_row(sim.truncated))
            last = {
                name: torch.from_numpy(per_row(one)) for name, one in sim.final_observations.items()
            }
            of_last = module.act(last, state)[1].numpy()
            cut = per_row(sim.truncated)
            np.testing.assert_allclose(
                rollout.final_values[:, t], np.where(cut, of_last, 0), atol=1e-6
            )
            start = per_row(sim.terminated | sim.truncated)
            num_cuts, num_waiting = (
                num_cuts + cut.sum(),
                num_waiting + (~rollout.active[:, t]).sum(),
            )
        now = {name: torch.from_numpy(per_row(one)) for name, one in sim.observations.items()}
        expected = module.act(now, state, torch.from_numpy(start))[1]
        np.testing.assert_allclose(rollout.bootstrap, expected, atol=1e-6)
        num_last += start.sum()
    assert num_waiting > 0 and num_last > 0 and (num_cuts > 0) == (game == "cut_park")


def test_a_truncations_value_is_not_that_of_the_next_episodes_first_observation(
    cut_park: str,
) -> None:
    config = small_config()
    config.env_config["game"] = cut_park
    rollout = sample_shared(make_runner(config))
    following = np.concatenate([rollout.values[:, 1:], rollout.bootstrap[:, None]], 1)
    assert (rollout.final_values != following)[rollout.truncated].mean() > 0.9


def test_num_timesteps_is_rounded_up_to_whole_ticks() -> None:
    rollouts = sample(make_runner(), num_timesteps=9)
    assert rollouts.num_env_steps == 12 and rollouts.modules[SHARED].num_steps == 3


def test_a_runner_uses_its_arrays_again() -> None:
    runner = make_runner()
    (one,), (other,) = runner.sample(), runner.sample()
    assert one.modules[SHARED].rewards is other.modules[SHARED].rewards
    assert (other.modules[SHARED].final_values == 0).all()


# -- levels


@pytest.mark.filterwarnings("ignore:.*already in registry")
def test_four_workers_of_four_games_play_sixteen_streams_the_same_as_rllibs_own_runners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rllib, "_made", defaultdict(itertools.count))
    config = small_config().env_runners(num_env_runners=4)
    stock = stock_config(config)
    everyones = set()
    for worker in range(1, 5):
        runner = make_runner(config, worker_index=worker)
        sample(runner, num_timesteps=NUM_GAMES)
        levels = levels_now(runner)
        own = MultiAgentEnvRunner(config=stock, worker_index=worker)
        own.env.reset(seed=3 + worker)
        theirs = [one.unwrapped.game.sim.level(0).seed for one in own.env.envs]
        assert levels == theirs
        everyones |= set(levels)
    assert len(everyones) == 16


def test_without_a_seed_no_two_runners_play_alike() -> None:
    levels = set()
    for _ in range(2):
        runner = make_runner(small_config(seed=None))
        sample(runner, num_timesteps=NUM_GAMES)
        levels |= set(levels_now(runner))
    assert len(levels) == 2 * NUM_GAMES


def test_with_a_seed_a_runner_repeats_itself() -> None:
    first = make_runner()
    again = make_runner()
    again.module.set_state(first.module.get_state())
    for _ in range(2):
        assert_same(sample(first), sample(again))


def test_games_made_in_place_of_others_play_levels_that_were_not_played_yet() -> None:
    """What RLlib sends to a runner that was started again: how far training has come."""
    levels = []
    for sampled in (None, 1000, 2000):
        runner = make_runner(worker_index=1)
        if sampled is not None:
            runner.set_state({"num_env_steps_sampled_lifetime": sampled})
        sample(runner, num_timesteps=NUM_GAMES)
        levels += levels_now(runner)
    assert len(set(levels)) == 3 * NUM_GAMES


# -- acting


def test_without_exploration_the_likeliest_actions_are_taken() -> None:
    runner = make_runner()
    rollout = sample_shared(runner, explore=False)
    log_probabilities, _ = forward(runner.module[SHARED], rollout)
    np.testing.assert_array_equal(rollout.actions, log_probabilities.argmax(-1))
    drawn = sample_shared(make_runner())
    assert len(np.unique(drawn.actions)) == 6


def test_exploration_follows_the_config() -> None:
    config = small_config().env_runners(explore=False)
    runner = make_runner(config)
    rollout = sample_shared(runner)
    log_probabilities, _ = forward(runner.module[SHARED], rollout)
    np.testing.assert_array_equal(rollout.actions, log_probabilities.argmax(-1))


def test_actions_are_drawn_as_often_as_the_policy_says() -> None:
    runner = make_runner()
    expected, found = np.zeros(6), np.zeros(6)
    for _ in range(40):
        rollout = sample_shared(runner)
        log_probabilities, _ = forward(runner.module[SHARED], rollout)
        expected += log_probabilities.exp().sum((0, 1)).numpy()
        found += np.bincount(rollout.actions.ravel(), minlength=6)
    # 7,680 draws: a share has a standard deviation of at most 0.006.
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=0.025)


def test_random_actions_are_uniform_and_say_so() -> None:
    runner = make_runner()
    drawn = [sample_shared(runner, random_actions=True) for _ in range(20)]
    for rollout in drawn:
        np.testing.assert_allclose(rollout.log_probabilities, -np.log(6), rtol=1e-6)
    counts = np.bincount(np.concatenate([one.actions.ravel() for one in drawn]), minlength=6)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 6, atol=0.03)


def test_force_reset_starts_every_game_anew() -> None:
    runner = make_runner()
    sample(runner, num_timesteps=5 * NUM_GAMES)
    before = levels_now(runner)
    assert not sample_shared(runner, num_timesteps=NUM_GAMES).episode_start.all()
    assert sample_shared(runner, num_timesteps=NUM_GAMES, force_reset=True).episode_start.all()
    assert not set(before) & set(levels_now(runner))


def test_an_episode_after_a_forced_reset_has_an_id_of_its_own() -> None:
    asked: list[str] = []

    def mapping(agent_id: str, episode: GameEpisode, **info: Any) -> str:
        asked.append(episode.id_)
        return "red"

    runner = make_runner(two_policies(mapping))
    sample(runner, num_timesteps=NUM_GAMES)
    sample(runner, num_timesteps=NUM_GAMES, force_reset=True)
    assert Counter(asked) == dict.fromkeys(asked, NUM_AGENTS) and len(asked) == 2 * NUM_ROWS


def test_what_a_runner_cant_do_it_says() -> None:
    with pytest.raises(ValueError, match="a training runner samples steps"):
        make_runner().sample(num_episodes=3)
    config = small_config().env_runners(num_env_runners=2)
    idle = make_runner(config, spaces=make_runner().get_spaces())
    assert idle.env is None
    with pytest.raises(ValueError, match="runner 0 has no games"):
        idle.sample()
    with pytest.raises(AssertionError):
        idle.assert_healthy()
    make_runner().assert_healthy()


# -- several policies


def owners(rollouts: Rollouts, name: str) -> np.ndarray:
    """bool (games, agents, T), by the numbers that a rollout carries itself."""
    found = np.zeros((NUM_GAMES, NUM_AGENTS, NUM_STEPS), np.bool_)
    rollout = rollouts.modules[name]
    found[rollout.game, rollout.seat] = rollout.owned
    return found


def test_the_mapping_is_asked_for_every_seat_at_episode_starts_and_never_within() -> None:
    asked: list[tuple[str, GameEpisode]] = []

    def mapping(agent_id: str, episode: GameEpisode, **info: Any) -> str:
        asked.append((agent_id, episode))
        return seat_by_number(agent_id, episode)

    runner = make_runner(two_policies(mapping), worker_index=2)
    sampled = [sample(runner) for _ in range(3)]
    num_ended = sum(len(one.episodes) for one in sampled)
    assert num_ended > NUM_GAMES
    assert len(asked) == NUM_AGENTS * (NUM_GAMES + num_ended)
    by_episode: dict[str, list[str]] = defaultdict(list)
    for agent, episode in asked:
        assert isinstance(episode, GameEpisode) and episode.worker_index == 2
        assert episode.id_ == f"2-0-{episode.game}-{episode.number}"
        by_episode[episode.id_].append(agent)
    assert all(one == ["agent_0", "agent_1", "agent_2"] for one in by_episode.values())


def test_seats_belong_to_who_was_mapped_to_them_from_start_to_end_of_an_episode() -> None:
    runner = make_runner(two_policies())
    numbers = np.full(NUM_GAMES, -1)
    for _ in range(3):
        rollouts = sample(runner)
        red, blue = owners(rollouts, "red"), owners(rollouts, "blue")
        assert (red ^ blue).all(), "a step has one owner"
        start = np.zeros((NUM_GAMES, NUM_STEPS), np.bool_)
        for rollout in rollouts.modules.values():
            assert not (rollout.active & ~rollout.owned).any()
            start[rollout.game] = rollout.episode_start
        for t in range(NUM_STEPS):
            numbers += start[:, t]
            expected = (
                np.arange(NUM_AGENTS) + np.arange(NUM_GAMES)[:, None] + numbers[:, None]
            ) % 2
            np.testing.assert_array_equal(blue[:, :, t], expected == 1)
    assert (numbers > 0).any()


def test_active_steps_of_all_policies_together_are_who_was_in_play() -> None:
    runner = make_runner(two_policies())
    sim = second_simulator(runner)
    for _ in range(2):
        rollouts = sample(runner)
        active = np.zeros((NUM_GAMES, NUM_AGENTS, NUM_STEPS), np.int64)
        actions = np.zeros_like(active)
        for rollout in rollouts.modules.values():
            active[rollout.game, rollout.seat] += rollout.active
            actions[rollout.game, rollout.seat] = rollout.actions
        for t in range(NUM_STEPS):
            np.testing.assert_array_equal(active[:, :, t], sim.alive)
            sim.step(actions[:, :, t])


def test_every_policy_acts_with_its_own_network_and_memory() -> None:
    runner = make_runner(two_policies())
    probabilities = {}
    for _ in range(2):
        for name, rollout in sample(runner).modules.items():
            log_probabilities, values = forward(runner.module[name], rollout)
            owned = rollout.owned
            found = taken(log_probabilities, rollout).numpy()
            np.testing.assert_allclose(rollout.log_probabilities[owned], found[owned], atol=1e-5)
            np.testing.assert_allclose(rollout.values[owned], values.numpy()[owned], atol=1e-5)
            other = "red" if name == "blue" else "blue"
            probabilities[name] = taken(forward(runner.module[other], rollout)[0], rollout).numpy()
            assert np.abs(probabilities[name] - found)[owned].max() > 0.1, "they would be alike"


@pytest.mark.parametrize("chosen", [["red"], lambda name, batch: name == "red"])
def test_only_policies_to_train_are_returned(chosen: Any) -> None:
    runner = make_runner(two_policies(policies_to_train=chosen))
    rollouts = sample(runner)
    assert list(rollouts.modules) == ["red"]
    assert rollouts.num_agent_steps == NUM_ROWS * NUM_STEPS


def test_rows_that_a_policy_never_had_are_not_returned_to_it() -> None:
    def by_seat(agent_id: str, episode: GameEpisode, **info: Any) -> str:
        return "red" if agent_id == "agent_0" else "blue"

    rollouts = sample(make_runner(two_policies(by_seat)))
    assert set(rollouts.modules["red"].seat) == {0} and rollouts.modules["red"].num_rows == 4
    assert set(rollouts.modules["blue"].seat) == {1, 2} and rollouts.modules["blue"].owned.all()


# -- evaluation


@pytest.mark.parametrize("game", ["pico_park", "cut_park"])
def test_evaluation_plays_named_held_out_levels_each_once(cut_park: str, game: str) -> None:
    config = evaluation_config()
    config.env_config["game"] = game
    runner = make_runner(config)
    for _ in range(2):
        assert held_out(sample(runner, num_episodes=10)) == list(range(10))
    rollouts = sample(runner, num_episodes=3)
    assert rollouts.modules == {} and rollouts.num_env_steps == rollouts.episodes["length"].sum()


def test_evaluation_split_over_two_runners_plays_every_level_once() -> None:
    config = evaluation_config()
    runners = [make_runner(config, worker_index=w, num_workers=2) for w in (1, 2)]
    counts = (4, 3), (2, 3)
    played = [
        level
        for round_ in counts
        for runner, count in zip(runners, round_, strict=True)
        for level in held_out(sample(runner, num_episodes=count))
    ]
    assert sorted(played) == list(range(12))
    again = [held_out(sample(one, num_episodes=2, force_reset=True)) for one in runners]
    assert again == [[0, 2], [1, 3]]


def test_evaluation_by_steps_plays_whole_levels_until_they_are_enough() -> None:
    runner = make_runner(evaluation_config(num_games=2))
    rollouts = sample(runner, num_timesteps=60)
    assert rollouts.num_env_steps >= 60
    assert held_out(rollouts) == list(range(len(rollouts.episodes)))
    assert rollouts.episodes["length"][:-2].sum() < 60


def test_evaluation_reports_the_levels_that_it_has_just_played() -> None:
    runner = make_runner(evaluation_config())
    for count in (5, 8):
        rollouts = sample(runner, num_episodes=count)
        logged = plain(runner.get_metrics())
        records = rollouts.episodes
        assert runner.env is not None
        weights = np.array(list(runner.env.reward_weights.by_term().values()))
        won = records["outcome"] == runner.env.outcome_names.index("victory")
        assert logged["win_rate"] == won.mean()
        assert logged["num_episodes"] == count
        assert logged["episode_len_mean"] == pytest.approx(records["length"].mean())
        returns = (records["terms"] @ weights).sum(1)
        assert logged["episode_return_mean"] == pytest.approx(returns.mean())


def test_an_evaluations_means_go_over_all_its_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_runner, "WINDOW", 3)
    runner = make_runner(evaluation_config())
    rollouts = sample(runner, num_episodes=12)
    logged = plain(runner.get_metrics())
    assert logged["episode_len_mean"] == pytest.approx(rollouts.episodes["length"].mean())


def test_a_won_level_counts_as_a_win() -> None:
    """Nobody walks far here, so the door may be opened by hand: every level is won."""
    runner = make_runner(evaluation_config())
    assert runner.env is not None
    victory = runner.env.outcome_names.index("victory")
    play = runner.play

    def win_two(seeds: Any, **kwargs: Any) -> Any:
        games = play(seeds, **kwargs)
        games.records["outcome"][:2] = victory
        games.records["outcome"][2:] = 1 - victory
        return games

    runner.play = win_two  # type: ignore[method-assign]
    sample(runner, num_episodes=8)
    logged = plain(runner.get_metrics())
    assert logged["win_rate"] == 0.25 and logged["num_wins"] == 2


def test_evaluation_without_exploration_is_greedy_and_repeats_itself() -> None:
    config = evaluation_config()
    config.env_runners(explore=False)
    one, other = make_runner(config, worker_index=1), make_runner(config, worker_index=2)
    other.module.set_state(one.module.get_state())
    # Two runners draw differently; greedy play doesn't draw at all.
    records = [one.play(range(6), greedy=True).records, other.play(range(6), greedy=True).records]
    assert_same(records[0], records[1])
    assert not np.array_equal(one.play(range(6)).records, other.play(range(6)).records)
    alone = make_runner(config)
    alone.module.set_state(one.module.get_state())
    assert_same(sample(alone, num_episodes=6).episodes["length"], records[0]["length"])


@pytest.mark.parametrize("game", ["pico_park", "cut_park"])
def test_how_a_level_goes_does_not_depend_on_those_played_before(cut_park: str, game: str) -> None:
    """Greedily, one game after the other: nothing is remembered across an end, of either kind."""
    config = evaluation_config(num_games=1)
    config.env_config["game"] = game
    runner = make_runner(config)
    together = runner.play(range(8), greedy=True).records
    assert len(set(together["length"].tolist())) > 1
    for seed, record in enumerate(together):
        assert runner.play([seed], greedy=True).records[0] == record


def test_evaluation_leaves_training_games_alone() -> None:
    runner, undisturbed = make_runner(), make_runner()
    undisturbed.module.set_state(runner.module.get_state())
    sample(runner), sample(undisturbed)
    runner.play(range(5))
    assert_same(sample(runner), sample(undisturbed))


def test_evaluation_seats_policies_by_the_mapping() -> None:
    asked: list[tuple[int, int]] = []

    def mapping(agent_id: str, episode: GameEpisode, **info: Any) -> str:
        asked.append((episode.game, episode.number))
        return seat_by_number(agent_id, episode)

    runner = make_runner(two_policies(mapping).get_evaluation_config_object())
    sample(runner, num_episodes=8)
    assert {(game, number) for game in range(4) for number in range(2)} <= set(asked)


# -- state


def test_a_runner_goes_on_bit_for_bit_from_its_state() -> None:
    runner = make_runner()
    sample(runner), sample(runner)
    state = pickle.loads(pickle.dumps(runner.get_state()))
    expected = [sample(runner) for _ in range(2)]
    logged = plain(runner.get_metrics())
    other = make_runner(small_config().debugging(seed=4))
    sample(other, num_timesteps=20)
    other.set_state(state)
    other.metrics.reduce()
    for one in expected:
        assert_same(sample(other), one)
    assert plain(other.get_metrics())["episode_return_mean"] == logged["episode_return_mean"]
    assert other.num_env_steps_sampled_lifetime == 4 * ENV_STEPS


def test_with_several_policies_too() -> None:
    runner = make_runner(two_policies())
    sample(runner)
    state = pickle.loads(pickle.dumps(runner.get_state()))
    expected = sample(runner)
    other = make_runner(two_policies())
    other.set_state(state)
    assert_same(sample(other), expected)


def test_a_state_is_not_changed_by_what_its_runner_does_afterwards() -> None:
    runner = make_runner()
    sample(runner)
    state = runner.get_state()[SAMPLING]
    before = pickle.dumps(state)
    sample(runner)
    assert pickle.dumps(state) == before


def test_games_of_another_runner_are_not_taken_over() -> None:
    runner, other = make_runner(worker_index=1), make_runner(worker_index=2)
    sample(runner)
    other.set_state({SAMPLING: runner.get_state()[SAMPLING]})
    assert other.sampling_state() is None


@pytest.mark.parametrize("changed", [{"num_games": 2}, {"game": {"length": 61}}])
def test_games_that_dont_fit_are_replaced_by_fresh_ones_on_other_levels(changed: Any) -> None:
    runner = make_runner()
    ended = [sample(runner).episodes["level_seed"] for _ in range(2)]
    played = {int(one) for one in np.concatenate(ended)} | set(levels_now(runner))
    other = make_runner(small_config(**changed))
    other.set_state(runner.get_state())
    assert sample_shared(other, num_timesteps=1).episode_start.all()
    assert not set(levels_now(other)) & played


def test_only_what_is_asked_for_is_in_the_state() -> None:
    runner = make_runner()
    assert SAMPLING not in runner.get_state()
    sample(runner)
    assert "rl_module" not in runner.get_state(not_components="rl_module")
    assert SAMPLING in runner.get_state(not_components="rl_module")
    weights = runner.get_state(components="rl_module", inference_only=True)
    assert SAMPLING not in weights and "weights_seq_no" in weights


def test_weights_are_taken_whatever_their_number() -> None:
    """RLlib numbers them, but after a restore the same number may mean others."""
    runner = make_runner()
    sources = []
    for seed in range(3):
        sources.append(make_runner(small_config().debugging(seed=seed)).module.get_state())

    def has(state: Any) -> bool:
        return bool(np.array_equal(runner.module.get_state()[SHARED]["critic.weight"],
                                   state[SHARED]["critic.weight"]))  # fmt: skip

    runner.set_state({"rl_module": sources[0], "weights_seq_no": 5})
    assert has(sources[0])
    runner.set_state({"rl_module": sources[1], "weights_seq_no": 5})
    assert has(sources[1])
    runner.set_state({"rl_module": sources[2], "weights_seq_no": 6})
    assert has(sources[2]) and runner.get_state()["weights_seq_no"] == 6
    runner.set_state({"rl_module": sources[1]})
    assert has(sources[1])


# -- callbacks and metrics


class Witness(RLlibCallback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def of(self, hook: str) -> list[dict[str, Any]]:
        return [info for name, info in self.told if name == hook]

    def on_environment_created(self, **info: Any) -> None:
        self.told.append(("on_environment_created", info))

    def on_episode_end(self, **info: Any) -> None:
        self.told.append(("on_episode_end", info))

    def on_sample_end(self, **info: Any) -> None:
        self.told.append(("on_sample_end", info))


def test_callbacks_are_told_of_games_episodes_and_samples() -> None:
    runner = make_runner(small_config().callbacks(Witness), worker_index=3)
    (witness,) = runner._callbacks
    (created,) = witness.of("on_environment_created")
    assert created["env"] is runner.env and created["env_runner"] is runner
    assert created["env_context"]["seed"] == 7
    rollouts = [runner.sample()[0] for _ in range(2)]
    ended = witness.of("on_episode_end")
    records = np.concatenate([one.episodes for one in rollouts])
    assert len(ended) == len(records) > 0
    numbers: Counter[int] = Counter()
    for info, record in zip(ended, records, strict=True):
        episode = info["episode"]
        assert episode.record == record and episode.game == record["game"]
        assert (episode.worker_index, episode.number) == (3, numbers[episode.game])
        assert info["env_runner"] is runner and info["metrics_logger"] is runner.metrics
        assert info["env"] is runner.env and info["env_index"] == record["game"]
        assert info["rl_module"] is runner.module
        numbers[episode.game] += 1
    assert [info["samples"] for info in witness.of("on_sample_end")] == [[one] for one in rollouts]


def test_callbacks_may_be_functions() -> None:
    told: list[str] = []
    config = small_config().callbacks(
        on_sample_end=lambda **info: told.append("sample"),
        on_environment_created=lambda **info: told.append("created"),
    )
    sample(make_runner(config))
    assert told == ["created", "sample"]


def test_a_function_may_be_told_of_the_end_of_episodes() -> None:
    told: list[Any] = []
    config = small_config().callbacks(on_episode_end=lambda **info: told.append(info["episode"]))
    rollouts = sample(make_runner(config))
    assert len(told) == len(rollouts.episodes) > 0


def test_counters_count_every_step_and_episode_once() -> None:
    """Between two reports; RLlib adds up those of all runners."""
    runner, reports, num_episodes = make_runner(), [], 0
    for num_steps in (NUM_STEPS, NUM_STEPS, 1):
        num_episodes += len(sample(runner, num_timesteps=num_steps * NUM_GAMES).episodes)
        if num_steps > 1:
            reports.append(plain(runner.get_metrics()))
    reports.append(plain(runner.get_metrics()))
    expected = [ENV_STEPS, ENV_STEPS, NUM_GAMES]
    for name in ("num_env_steps_sampled", "num_env_steps_sampled_lifetime"):
        assert [one[name] for one in reports] == expected, name
    for name in ("num_agent_steps_sampled", "num_agent_steps_sampled_lifetime"):
        agents = ("agent_0", "agent_1", "agent_2")
        assert [one[name] for one in reports] == [dict.fromkeys(agents, n) for n in expected], name
    for name in ("num_module_steps_sampled", "num_module_steps_sampled_lifetime"):
        assert [one[name][SHARED] for one in reports] == [NUM_AGENTS * n for n in expected], name
    for name in ("num_episodes", "num_episodes_lifetime"):
        assert sum(one[name] for one in reports) == num_episodes > 0
    assert runner.num_env_steps_sampled_lifetime == sum(expected)


def test_means_go_over_the_newest_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_runner, "WINDOW", 5)
    runner = make_runner(small_config(rewards={"team_share": 0.5}))
    records = np.concatenate([sample(runner).episodes for _ in range(3)])[-5:]
    logged = plain(runner.get_metrics())
    assert runner.env is not None
    weights = np.array(list(runner.env.reward_weights.by_term().values()))
    # Sharing moves rewards between cats and leaves their sum as it is.
    assert logged["episode_return_mean"] == pytest.approx(
        (records["terms"] @ weights).sum(1).mean()
    )
    assert logged["episode_len_mean"] == pytest.approx(records["length"].mean())
    for index, name in enumerate(runner.env.term_names):
        expected = records["terms"][:, :, index].mean()
        assert logged[f"ledger/{name}"] == pytest.approx(expected), name


def test_steps_are_counted_by_who_had_the_seat() -> None:
    runner = make_runner(two_policies())
    rollouts = sample(runner)
    logged = plain(runner.get_metrics())["num_module_steps_sampled"]
    assert logged == {name: int(one.owned.sum()) for name, one in rollouts.modules.items()}
    assert sum(logged.values()) == NUM_ROWS * NUM_STEPS


def test_a_watchdog_that_was_not_needed_leaves_nothing_behind(tmp_path: Any) -> None:
    config = small_config().watchdog(hang_timeout_s=60, log_dir=str(tmp_path))
    sample(make_runner(config))
    assert list(tmp_path.iterdir()) == []


def test_rollouts_select_rows_of_every_array() -> None:
    rollout = sample_shared(make_runner())
    part = rollout.select(np.array([7, 2]))
    assert isinstance(part, Rollout) and part.num_rows == 2
    assert part.game.tolist() == [2, 0] and part.seat.tolist() == [1, 2]
    np.testing.assert_array_equal(part.states["h"], rollout.states["h"][[7, 2]])
    np.testing.assert_array_equal(part.observations["grid"], rollout.observations["grid"][[7, 2]])
