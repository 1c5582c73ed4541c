"""Which segments a minibatch draws, and what the buffer knows of them by then."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from algorithms.advantages import estimate
from algorithms.env_runner import BatchedEnvRunner
from algorithms.learner import SegmentPPOLearner
from algorithms.rollout import Rollout, RolloutData, Rollouts, concatenate
from algorithms.segment_ppo import SHARED
from algorithms.segments import (
    count_minibatches,
    importance,
    permutations,
    priorities,
)
from tests.algorithms.small import (
    NUM_AGENTS,
    NUM_ROWS,
    NUM_STEPS,
    assert_same,
    buffer_of,
    learn,
    make_learner,
    make_runner,
    sample,
    small_config,
)

GAMMA, LAMBDA = 0.97, 0.9
CONFIG = small_config(gamma=GAMMA, lambda_=LAMBDA)


@pytest.fixture
def rollout(rollouts: Rollouts) -> Rollout:
    return rollouts.modules[SHARED]


def random_visit(rollout: Rollout, rows: list[int]) -> tuple[torch.Tensor, ...]:
    shape = (len(rows), rollout.num_steps)
    return torch.tensor(rows), torch.rand(shape) + 0.5, torch.randn(shape)


# -- drawing


def test_every_segment_comes_exactly_once_an_epoch() -> None:
    drawn = list(permutations(10, 4, 3, torch.Generator().manual_seed(1)))
    assert [len(one) for one in drawn] == [4, 4, 2] * 3
    epochs = [torch.cat(drawn[3 * i : 3 * i + 3]).tolist() for i in range(3)]
    assert all(sorted(one) == list(range(10)) for one in epochs)
    assert len({tuple(one) for one in epochs}) == 3, "in another order each"


def test_permutations_follow_their_generator() -> None:
    def draw(seed: int) -> list[list[int]]:
        return [one.tolist() for one in permutations(9, 4, 2, torch.Generator().manual_seed(seed))]

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize(("size", "epochs", "expected"), [(4, 3, 9), (10, 2, 2), (5, 1, 2)])
def test_minibatches_are_counted_as_they_come(size: int, epochs: int, expected: int) -> None:
    assert count_minibatches(10, size, epochs) == expected
    assert len(list(permutations(10, size, epochs, torch.Generator()))) == expected


def test_a_priority_is_the_sum_of_active_advantages_to_a_power() -> None:
    advantages = torch.tensor([[1.0, -2.0, 9.0], [0.5, 0.5, 0.0], [0.0, 0.0, 7.0]])
    active = torch.tensor([[True, True, False], [True, True, True], [True, True, False]])
    found = priorities(advantages, active, alpha=2.0, epsilon=0.5)
    expected = np.array([3.0**2 + 0.5, 1.0**2 + 0.5, 0.0 + 0.5])
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-6)


def test_with_alpha_0_all_segments_are_alike() -> None:
    found = priorities(torch.randn(5, 4), torch.ones(5, 4, dtype=torch.bool), 0.0, 1e-6)
    np.testing.assert_allclose(found, 0.2)


def test_a_segment_in_which_nobody_acted_stays_possible() -> None:
    found = priorities(torch.ones(2, 3), torch.tensor([[True] * 3, [False] * 3]), 0.8, 1e-3)
    assert 0 < found[1] < 0.01
    torch.testing.assert_close(found.sum(), torch.tensor(1.0))


def test_importance_weights_undo_what_priorities_favour_and_have_mean_1() -> None:
    chances = torch.tensor([0.5, 0.25, 0.125, 0.125])
    chosen = torch.tensor([0, 0, 2, 1])
    for beta in (0.0, 0.4, 1.0):
        found = importance(chances, chosen, beta)
        expected = (4 * np.array([0.5, 0.5, 0.125, 0.25])) ** -beta
        np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-6)
        np.testing.assert_allclose(found.mean(), 1, rtol=1e-6)
    np.testing.assert_array_equal(importance(chances, chosen, 0.0), 1)


# -- what the buffer knows


def test_before_any_visit_ratios_are_1_and_values_those_of_the_rollout(rollout: Rollout) -> None:
    buffer = buffer_of(CONFIG, rollout)
    assert (buffer.ratios == 1).all()
    np.testing.assert_array_equal(buffer.values, rollout.values)
    gae = buffer_of(CONFIG, rollout, mode="gae").advantages()
    torch.testing.assert_close(buffer.advantages(), gae)
    torch.testing.assert_close(gae.targets, gae.advantages + torch.from_numpy(rollout.values))


def test_gae_is_estimated_once_and_for_all(rollout: Rollout) -> None:
    buffer = buffer_of(CONFIG, rollout, mode="gae")
    before = [one.clone() for one in buffer.advantages()]
    buffer.visit(*random_visit(rollout, [0, 3, 7]))
    for one, other in zip(buffer.advantages(), before, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("mode", ["vtrace", "puff"])
def test_a_visit_changes_the_visited_segments_and_no_others(rollout: Rollout, mode: Any) -> None:
    buffer = buffer_of(CONFIG, rollout, mode=mode, rho_clip=1.3, c_clip=1.2)
    before = buffer.advantages()
    rows, ratios, values = random_visit(rollout, [0, 3, 7])
    buffer.visit(rows, ratios, values)
    after = buffer.advantages()
    others = [row for row in range(rollout.num_rows) if row not in (0, 3, 7)]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[others], other[others])
        assert (one[rows] != other[rows]).float().mean() > 0.9
    arrays = {
        name: torch.from_numpy(getattr(rollout, name)[[0, 3, 7]])
        for name in ("rewards", "bootstrap", "final_values", "terminated", "truncated", "active")
    }
    expected = estimate(
        **arrays, values=values, ratios=ratios, gamma=GAMMA, lambda_=LAMBDA, mode=mode,
        rho_clip=1.3, c_clip=1.2,
    )  # fmt: skip
    torch.testing.assert_close([one[rows] for one in after], list(expected))


def test_bootstrap_and_cut_values_stay_those_of_the_rollout(cut_park: str) -> None:
    config = small_config()
    config.env_config["game"] = cut_park
    rollout = sample(make_runner(config)).modules[SHARED]
    buffer = buffer_of(CONFIG, rollout)
    everyone = torch.arange(rollout.num_rows)
    ones = torch.ones(rollout.num_rows, rollout.num_steps)
    buffer.visit(everyone, ones, torch.zeros_like(ones))
    targets = buffer.advantages().targets
    rewards = torch.from_numpy(rollout.rewards)
    ended = torch.from_numpy(rollout.terminated | rollout.truncated)
    cut = torch.from_numpy(rollout.truncated)
    expected = (rewards + GAMMA * torch.from_numpy(rollout.final_values))[cut]
    torch.testing.assert_close(targets[cut], expected)
    going = ~ended[:, -1]
    expected = (rewards[:, -1] + GAMMA * torch.from_numpy(rollout.bootstrap))[going]
    torch.testing.assert_close(targets[going, -1], expected)
    assert cut.any() and going.any()


def test_a_rollout_is_read_and_never_written(runner: BatchedEnvRunner, rollouts: Rollouts) -> None:
    before = copy.deepcopy(rollouts.modules[SHARED])
    learn(make_learner(small_config(num_epochs=2), runner), rollouts)
    assert_same(rollouts.modules[SHARED], before)


# -- what the learner draws


def drawn_rows(learner: SegmentPPOLearner, rollouts: Rollouts, iterations: int) -> np.ndarray:
    """How often each segment came into a minibatch, over iterations on the same rollouts."""
    counts = np.zeros(NUM_ROWS, np.int64)
    own = learner._minibatch

    def witness(buffer: Any, rows: torch.Tensor, weights: Any) -> Any:
        np.add.at(counts, rows.numpy(), 1)
        return own(buffer, rows, weights)

    learner._minibatch = witness  # type: ignore[method-assign]
    for _ in range(iterations):
        learn(learner, rollouts)
    return counts


def test_without_priorities_all_segments_are_drawn_alike(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    learner = make_learner(small_config(num_epochs=3, lr=0.0), runner)
    assert drawn_rows(learner, rollouts, 5).tolist() == [15] * NUM_ROWS


def test_with_priorities_segments_are_drawn_by_their_advantages(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    """With learning rate 0 ratios and values stay, and with them the chances."""
    config = small_config(priority_alpha=1.5, lr=0.0, gamma=GAMMA, lambda_=LAMBDA)
    counts = drawn_rows(make_learner(config, runner), rollouts, 150)
    assert counts.sum() == 150 * NUM_ROWS, "as many as an epoch has"
    buffer = buffer_of(CONFIG, rollouts.modules[SHARED])
    chances = priorities(buffer.advantages().advantages, buffer.active, 1.5, 1e-6).numpy()
    assert chances.max() > 3 * chances.min(), "some segments matter more"
    # 1,800 draws: a share has a standard deviation of at most 0.012.
    np.testing.assert_allclose(counts / counts.sum(), chances, atol=0.04)


# -- on the way to learners


def test_rollouts_of_several_runners_are_joined_row_by_row(rollouts: Rollouts) -> None:
    data = RolloutData(rollouts=[rollouts, rollouts])
    joined = data.modules()[SHARED]
    assert joined.num_rows == 2 * NUM_ROWS
    assert_same(joined.select(slice(NUM_ROWS, None)), rollouts.modules[SHARED])
    assert concatenate([rollouts.modules[SHARED]]) is rollouts.modules[SHARED]


def test_shares_hold_every_row_once_and_whole_games(rollouts: Rollouts) -> None:
    data = RolloutData(rollouts=[rollouts])
    shares = [share for share, _ in data.shard(num_shards=2)]
    parts = [share.modules()[SHARED] for share in shares]
    assert_same(concatenate(parts), rollouts.modules[SHARED])
    assert [sorted(set(one.game.tolist())) for one in parts] == [[0, 1], [2, 3]]
    assert all(one.num_rows % NUM_AGENTS == 0 for one in parts)
    for share in shares:
        share.validate()
        (of_share,) = share.rollouts
        assert of_share.num_env_steps == NUM_STEPS * 2
        assert of_share.num_agent_steps == NUM_STEPS * NUM_ROWS // 2


def test_what_cant_be_shared_out_evenly_is_filled_up_with_rows_that_count_for_nothing(
    rollouts: Rollouts,
) -> None:
    shares = RolloutData(rollouts=[rollouts]).shard(num_shards=5)
    parts = [share.modules()[SHARED] for share, _ in shares]
    assert [one.num_rows for one in parts] == [3] * 5
    assert_same(concatenate(parts[:4]), rollouts.modules[SHARED])
    assert not parts[4].owned.any() and not parts[4].active.any()
    assert rollouts.modules[SHARED].owned.all(), "what was sampled stays as it is"


def test_without_rollouts_there_is_nothing_to_learn_from() -> None:
    for nothing in (None, []):
        with pytest.raises(ValueError, match="no rollouts to learn from"):
            RolloutData(rollouts=nothing).validate()
