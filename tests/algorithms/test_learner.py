"""The learner knows the policy that acted, learns from what counts, and breaks loudly."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from algorithms.env_runner import BatchedEnvRunner
from algorithms.learner import (
    ACTIVE,
    OWNED,
    TARGETS,
    VISITED,
    WEIGHTS,
    NonFiniteError,
    SegmentPPOLearner,
)
from algorithms.rollout import Rollout, RolloutData, Rollouts
from algorithms.segment_ppo import SHARED, SegmentPPOConfig
from algorithms.segments import priorities
from models import EPISODE_START, ModelConfig
from tests.algorithms.small import (
    NUM_ROWS,
    NUM_STEPS,
    assert_same,
    buffer_of,
    forward,
    learn,
    make_learner,
    make_runner,
    plain,
    sample,
    small_config,
    taken,
    two_policies,
    weights_of,
)

WHOLE = NUM_ROWS * NUM_STEPS
"""Agent-steps of a rollout: with this minibatch an iteration is one step of the optimizer."""


def send_weights(learner: SegmentPPOLearner, runner: BatchedEnvRunner) -> None:
    runner.set_state(learner.get_state(components="rl_module"))


def learned_from(config: SegmentPPOConfig, runner: BatchedEnvRunner, data: Rollouts) -> Any:
    """The weights after an iteration on this data, from the runner's."""
    learner = make_learner(config, runner)
    learn(learner, data)
    return {name: weights_of(learner.module[name]) for name in learner.module.keys()}  # noqa: SIM118


def has_moved(after: Any, runner: BatchedEnvRunner, name: str) -> bool:
    """Whether learned weights differ from the runner's."""
    before = weights_of(runner.module[name])
    return bool((after[name]["actor.weight"] != before["actor.weight"]).any())


def changed(data: Rollouts, name: str, change: Any) -> Rollouts:
    """A copy in which `change(rollout)` was done to one policy's rollout; they share arrays."""
    rollout = copy.deepcopy(data.modules[name])
    change(rollout)
    data = copy.copy(data)
    data.modules = {**data.modules, name: rollout}
    return data


# -- learner and behaviour policy agree before the first update


def check_agreement(learner: SegmentPPOLearner, data: Rollouts) -> None:
    for name, rollout in data.modules.items():
        log_probabilities, values = forward(learner.module[name], rollout)
        difference = np.abs(taken(log_probabilities, rollout).numpy() - rollout.log_probabilities)
        assert difference[rollout.active].max() < 1e-5
        assert np.abs(values.numpy() - rollout.values)[rollout.owned].max() < 1e-5


@pytest.mark.parametrize("lstm", [True, False])
def test_before_the_first_update_of_every_iteration_the_learner_says_what_the_runner_said(
    lstm: bool,
) -> None:
    model = ModelConfig(grid_planes=4, global_size=8, hidden_size=16, lstm_size=16, lstm=lstm)
    config = small_config(model=model, num_epochs=2, lr=1e-2)
    runner = make_runner(config)
    learner = make_learner(config, runner)
    for _ in range(4):
        data = sample(runner)
        check_agreement(learner, data)
        before = weights_of(learner.module[SHARED])
        assert learn(learner, data)[SHARED]["first_log_ratio"] < 1e-5
        after = weights_of(learner.module[SHARED])
        assert all((before[name] != after[name]).any() for name in before)
        send_weights(learner, runner)


def test_a_wrong_memory_or_a_missed_start_would_show(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    """What makes the tests above and below worth something."""
    rollout = rollouts.modules[SHARED]
    assert rollout.terminated[:, :-1].any() and np.abs(rollout.states["h"]).min(1).max() > 0

    def forget(one: Rollout) -> None:
        one.states = {name: np.zeros_like(state) for name, state in one.states.items()}

    def miss(one: Rollout) -> None:
        one.episode_start[:] = False

    learner = make_learner(small_config(minibatch_size=WHOLE), runner)
    for change in (forget, miss):
        logged = learn(learner, changed(rollouts, SHARED, change))
        assert logged[SHARED]["first_log_ratio"] > 1e-2
        learner.module.set_state(runner.module.get_state())


def test_after_a_restore_they_agree_as_well() -> None:
    config = small_config(num_epochs=2, lr=1e-2)
    runner = make_runner(config)
    learner = make_learner(config, runner)
    for _ in range(2):
        learn(learner, sample(runner))
        send_weights(learner, runner)
    saved = copy.deepcopy((runner.get_state(), learner.get_state()))
    runner = make_runner(config)
    learner = make_learner(config, runner)
    runner.set_state(saved[0])
    learner.set_state(saved[1])
    data = sample(runner)
    assert not data.modules[SHARED].episode_start[:, 0].all(), "games go on in their middle"
    check_agreement(learner, data)
    assert learn(learner, data)[SHARED]["first_log_ratio"] < 1e-5


@pytest.fixture(scope="module")
def two() -> tuple[BatchedEnvRunner, Rollouts]:
    """A runner of two policies whose seats change hands inside the rollout, and its rollout."""
    runner = make_runner(two_policies())
    sample(runner)
    data = sample(runner)
    assert all(0 < one.owned.mean() < 1 for one in data.modules.values())
    return runner, data


def test_with_several_policies_each_agrees_with_itself(
    two: tuple[BatchedEnvRunner, Rollouts],
) -> None:
    runner, data = two
    learner = make_learner(two_policies(), runner)
    check_agreement(learner, data)
    logged = learn(learner, data)
    for name in ("red", "blue"):
        assert logged[name]["first_log_ratio"] < 1e-5
        assert logged[name]["num_module_steps_trained"] == data.modules[name].owned.sum()


# -- the losses, by hand


RATIOS = np.array([1.25, 0.5, 7.0])
"""Of the new policy to the one that acted; the third step waits."""


@pytest.fixture(scope="module")
def three_steps() -> BatchedEnvRunner:
    """Its rollouts are segments of three steps, each with a log-probability that we choose."""
    return make_runner(small_config(num_steps=3, num_games=1))


def losses(
    runner: BatchedEnvRunner,
    *,
    ratios: np.ndarray = RATIOS,
    advantages: tuple[float, ...] = (2.0, -4.0, 100.0),
    moves: tuple[float, ...] = (0.0, 0.0, 0.0),
    owned: tuple[bool, ...] = (True, True, True),
    **training: Any,
) -> tuple[dict[str, float], float]:
    """What is logged of one segment whose third step waits, and the policy's mean entropy there.

    `moves` are the new values less those of the rollout. With gamma 0 an advantage is a reward less
    the rollout's value, and the value target is the reward.
    """
    config = small_config(
        num_steps=3, num_games=1, minibatch_size=3, gamma=0.0, clip_param=0.2, vf_loss_coeff=0.5,
        entropy_coeff=0.1, **training,
    )  # fmt: skip
    learner = make_learner(config, runner)
    data = sample(runner, force_reset=True)
    rollout = data.modules[SHARED].select([0])
    log_probabilities, values = forward(learner.module[SHARED], rollout)
    rollout.log_probabilities = (
        taken(log_probabilities, rollout).numpy() - np.log(ratios, dtype=np.float32)[None]
    )
    rollout.values = values.numpy() - np.array([moves], np.float32)
    rollout.rewards = rollout.values + np.array([advantages], np.float32)
    rollout.active, rollout.owned = np.array([[True, True, False]]), np.array([owned])
    data.modules = {SHARED: rollout}
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)[0, :2].mean()
    return learn(learner, data)[SHARED], float(entropy)


def test_the_losses_are_those_of_the_paper(three_steps: BatchedEnvRunner) -> None:
    """Advantages 2 and -4 become 1 and -1: min(1.25, 1.2) of the first, min(-0.5, -0.8)."""
    logged, entropy = losses(three_steps)
    policy, value = -(1.2 - 0.8) / 2, (2.0**2 + 4.0**2 + 100.0**2) / 3
    divergence = (1.25 - 1 - math.log(1.25) + 0.5 - 1 - math.log(0.5)) / 2
    expected = {
        "policy_loss": policy,
        "vf_loss": value,
        "entropy": entropy,
        "mean_kl": divergence,
        "clip_share": 1.0,
        "total_loss": policy + 0.5 * value - 0.1 * entropy,
        "first_log_ratio": math.log(2),
    }
    assert {name: logged[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_inside_the_clip_the_ratio_itself_counts(three_steps: BatchedEnvRunner) -> None:
    logged, _ = losses(three_steps, ratios=np.array([1.15, 0.9, 7.0]))
    assert logged["policy_loss"] == pytest.approx(-(1.15 - 0.9) / 2, rel=1e-4)
    assert logged["clip_share"] == 0


def test_a_value_may_move_as_far_as_its_clip(three_steps: BatchedEnvRunner) -> None:
    """It moved by 1, -2 and 0.1 towards or from targets 2, -4 and 3 away from where it was; what
    is beyond the clip of 0.5 counts as if it had stopped there, if that is worse."""
    how = {"advantages": (2.0, 4.0, 3.0), "moves": (1.0, -2.0, 0.1)}
    free = [2 - 1, 4 + 2, 3 - 0.1]
    held = [2 - 0.5, 4 + 0.5, 3 - 0.1]
    expected = np.mean([max(a * a, b * b) for a, b in zip(free, held, strict=True)])
    logged, _ = losses(three_steps, value_clip=0.5, **how)
    assert logged["vf_loss"] == pytest.approx(expected, rel=1e-4)
    for far in (None, 10.0):
        logged, _ = losses(three_steps, value_clip=far, **how)
        assert logged["vf_loss"] == pytest.approx(np.mean(np.square(free)), rel=1e-4)


def test_a_step_that_isnt_owned_has_no_value_loss(three_steps: BatchedEnvRunner) -> None:
    logged, _ = losses(three_steps, owned=(True, True, False))
    assert logged["vf_loss"] == pytest.approx((2.0**2 + 4.0**2) / 2, rel=1e-4)


class Steps:
    """What every step of the optimizer saw."""

    def __init__(self, learner: SegmentPPOLearner) -> None:
        self.rates: list[float] = []
        self.batches: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        apply, lose = learner.apply_gradients, learner.compute_loss_for_module

        def apply_gradients(gradients: Any) -> None:
            (optimizer,) = learner._optimizer_parameters
            self.rates.append(optimizer.param_groups[0]["lr"])
            apply(gradients)

        def compute_loss_for_module(*, batch: Any, fwd_out: Any, **kwargs: Any) -> Any:
            for name in (Columns.ACTION_DIST_INPUTS, Columns.EMBEDDINGS):
                fwd_out[name].retain_grad()
            self.batches.append(batch)
            self.answers.append(fwd_out)
            return lose(batch=batch, fwd_out=fwd_out, **kwargs)

        learner.apply_gradients = apply_gradients  # type: ignore[method-assign]
        learner.compute_loss_for_module = compute_loss_for_module  # type: ignore[method-assign]

    def rows_of(self, rollout: Rollout) -> list[list[int]]:
        """Which segments each minibatch held, told by their log-probabilities."""
        rows = {one.tobytes(): i for i, one in enumerate(rollout.log_probabilities.copy())}
        return [
            [rows[one.numpy().tobytes()] for one in batch[Columns.ACTION_LOGP]]
            for batch in self.batches
        ]


# -- what counts and what doesn't


def test_what_a_waiting_row_did_has_no_influence(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    def disturb(rollout: Rollout) -> None:
        waits = ~rollout.active
        assert waits.sum() > 10
        rollout.actions[waits] = (rollout.actions[waits] + 1) % 6
        rollout.log_probabilities[waits] -= 300.0  # a ratio that is no float32

    config = small_config(num_epochs=2, lr=1e-2)
    expected = learned_from(config, runner, rollouts)
    assert_same(learned_from(config, runner, changed(rollouts, SHARED, disturb)), expected)


def test_a_waiting_rows_logits_get_no_gradient_and_its_value_does(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    learner = make_learner(small_config(minibatch_size=WHOLE), runner)
    steps = Steps(learner)
    learn(learner, rollouts)
    (batch,), (answer,) = steps.batches, steps.answers
    waits = ~batch[ACTIVE]
    gradient = answer[Columns.ACTION_DIST_INPUTS].grad
    assert (gradient[waits] == 0).all() and (gradient[~waits] != 0).any(-1).all()
    assert (answer[Columns.EMBEDDINGS].grad[waits] != 0).any(-1).all()


def test_what_a_waiting_row_is_paid_counts_for_what_it_did_before(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    rollout = rollouts.modules[SHARED]

    def acted_before(row: int, end: int) -> tuple[int, np.ndarray]:
        """First step of the episode in this segment, and those in which the row was in play."""
        start = max(np.flatnonzero(rollout.episode_start[row, : end + 1]), default=0)
        return start, start + np.flatnonzero(rollout.active[row, start:end])

    waited = np.argwhere(rollout.terminated & ~rollout.active)
    row, end = next((row, end) for row, end in waited if len(acted_before(row, end)[1]) > 1)
    start, acted = acted_before(row, end)

    def pay(one: Rollout) -> None:
        one.rewards[row, end] += 1.0

    config = small_config()
    gain = (
        buffer_of(config, changed(rollouts, SHARED, pay).modules[SHARED]).advantages()[0]
        - buffer_of(config, rollout).advantages()[0]
    )[row].numpy()
    decay = config.gamma * config.lambda_
    np.testing.assert_allclose(gain[acted], decay ** (end - acted), rtol=1e-3)
    assert (gain[:start] == 0).all() and (gain[end + 1 :] == 0).all()
    more = learned_from(config, runner, changed(rollouts, SHARED, pay))
    assert any(
        (more[SHARED][name] != one).any()
        for name, one in learned_from(config, runner, rollouts)[SHARED].items()
        if name.startswith("actor")
    )


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_what_another_policy_did_and_saw_in_the_seat_has_no_influence(
    two: tuple[BatchedEnvRunner, Rollouts], alpha: float
) -> None:
    runner, data = two

    def disturb(rollout: Rollout) -> None:
        foreign = ~rollout.owned
        assert foreign.sum() > 10
        rollout.rewards[foreign] += 5.0
        rollout.values[foreign] -= 7.0
        rollout.actions[foreign] = (rollout.actions[foreign] + 1) % 6
        rollout.log_probabilities[foreign] -= 3.0
        rollout.observations["global"][foreign] = 0.5
        rollout.bootstrap[foreign[:, -1]] += 9.0

    config = two_policies(num_epochs=2, lr=1e-2, priority_alpha=alpha)
    expected = learned_from(config, runner, data)
    assert_same(learned_from(config, runner, changed(data, "red", disturb)), expected)


def test_modules_not_to_be_trained_stay_as_they_are(
    two: tuple[BatchedEnvRunner, Rollouts],
) -> None:
    runner, data = two
    config = two_policies(policies_to_train=["red"])
    after = learned_from(config, runner, data)
    assert_same(after["blue"], weights_of(runner.module["blue"]))
    assert has_moved(after, runner, "red")


def test_settings_of_a_module_may_differ(two: tuple[BatchedEnvRunner, Rollouts]) -> None:
    runner, data = two
    config = two_policies()
    config.multi_agent(
        algorithm_config_overrides_per_module={"red": SegmentPPOConfig.overrides(lr=0.0)}
    )
    after = learned_from(config, runner, data)
    assert_same(after["red"], weights_of(runner.module["red"]))
    assert (
        after["blue"]["actor.weight"] != weights_of(runner.module["blue"])["actor.weight"]
    ).any()


def test_an_unknown_module_is_refused(runner: BatchedEnvRunner, rollouts: Rollouts) -> None:
    learner = make_learner(small_config(), runner)
    data = copy.copy(rollouts)
    data.modules = {"stranger": rollouts.modules[SHARED]}
    with pytest.raises(ValueError, match="no module 'stranger' in this learner"):
        learn(learner, data)


# -- minibatches


def test_a_minibatch_has_as_many_segments_as_its_agent_steps_hold(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    learner = make_learner(small_config(minibatch_size=5 * NUM_STEPS, num_epochs=2), runner)
    steps = Steps(learner)
    learn(learner, rollouts)
    rows = steps.rows_of(rollouts.modules[SHARED])
    assert [len(one) for one in rows] == [5, 5, 2] * 2
    for epoch in (rows[:3], rows[3:]):
        assert sorted(row for one in epoch for row in one) == list(range(NUM_ROWS))
    assert all(one[WEIGHTS] is None for one in steps.batches)


def test_a_minibatchs_rows_are_those_of_the_rollout(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    learner = make_learner(small_config(), runner)
    steps = Steps(learner)
    rollout = rollouts.modules[SHARED]
    learn(learner, rollouts)
    for batch, rows in zip(steps.batches, steps.rows_of(rollout), strict=True):
        for key, array in {
            Columns.ACTIONS: rollout.actions,
            Columns.VF_PREDS: rollout.values,
            EPISODE_START: rollout.episode_start,
            ACTIVE: rollout.active,
            OWNED: rollout.owned,
        }.items():
            np.testing.assert_array_equal(batch[key], array[rows], err_msg=key)
        for key, parts in {
            Columns.OBS: rollout.observations,
            Columns.STATE_IN: rollout.states,
        }.items():
            for name, array in parts.items():
                np.testing.assert_array_equal(batch[key][name], array[rows], err_msg=name)


@pytest.mark.parametrize("advantage", ["gae", "vtrace"])
def test_advantages_are_estimated_anew_from_the_newest_look(
    runner: BatchedEnvRunner, rollouts: Rollouts, advantage: Any
) -> None:
    """A minibatch of everything, three times: the second knows the first look, which said what the
    rollout says; the third knows the second, which came after an update."""
    config = small_config(
        minibatch_size=WHOLE, num_epochs=3, lr=1e-2, grad_clip=None, advantage=advantage
    )
    learner = make_learner(config, runner)
    steps = Steps(learner)
    learn(learner, rollouts)
    rollout = rollouts.modules[SHARED]
    rows = steps.rows_of(rollout)
    buffer = buffer_of(config, rollout)
    before = buffer.advantages().targets
    for batch, order in zip(steps.batches[:2], rows[:2], strict=True):
        torch.testing.assert_close(batch[TARGETS], before[order], rtol=1e-4, atol=1e-5)
    ratios, values, _ = steps.batches[1][VISITED]
    assert (ratios != 1).any()
    buffer.visit(torch.tensor(rows[1]), ratios, values)
    after = buffer.advantages().targets
    torch.testing.assert_close(steps.batches[2][TARGETS], after[rows[2]])
    assert torch.equal(after, before) == (advantage == "gae")


def test_advantages_are_normalised_over_what_is_active_in_the_minibatch(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    """With ratios of 1 the policy loss is then 0, and scaling all rewards changes nothing."""

    def scale(rollout: Rollout) -> None:
        rollout.rewards *= 16.0
        rollout.values *= 16.0
        rollout.bootstrap *= 16.0

    config = small_config(minibatch_size=WHOLE, vf_loss_coeff=0.0, grad_clip=None)
    learner = make_learner(config, runner)
    logged = learn(learner, rollouts)[SHARED]
    assert abs(logged["policy_loss"]) < 1e-6
    other = learned_from(config, runner, changed(rollouts, SHARED, scale))[SHARED]
    for name, one in weights_of(learner.module[SHARED]).items():
        np.testing.assert_allclose(other[name], one, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_prioritised_segments_weigh_by_their_importance_in_policy_and_value_loss(
    runner: BatchedEnvRunner, rollouts: Rollouts, beta: float
) -> None:
    """The minibatch's losses, computed once more from the segments that were drawn."""

    def move(rollout: Rollout) -> None:
        rollout.log_probabilities += 0.1 * np.arange(NUM_ROWS, dtype=np.float32)[:, None] - 0.5

    data = changed(rollouts, SHARED, move)
    rollout = data.modules[SHARED]
    config = small_config(
        priority_alpha=0.8, priority_beta=beta, minibatch_size=8 * NUM_STEPS, lr=0.0, clip_param=0.2
    )
    learner = make_learner(config, runner)
    steps = Steps(learner)
    logged = learn(learner, data)[SHARED]
    expected: dict[str, list[float]] = {"policy_loss": [], "vf_loss": []}
    log_probabilities, values = forward(learner.module[SHARED], rollout)
    ratios = (taken(log_probabilities, rollout) - torch.from_numpy(rollout.log_probabilities)).exp()
    buffer = buffer_of(config, rollout)
    for rows in steps.rows_of(rollout):
        advantages, targets = buffer.advantages()
        chances = priorities(advantages, buffer.active, 0.8, config.priority_epsilon)
        weights = chances[rows] ** -beta
        weights = (weights / weights.mean())[:, None].expand(-1, NUM_STEPS)
        active = buffer.active[rows]
        chosen = advantages[rows]
        spread, mean = torch.std_mean(chosen[active], correction=0)
        chosen = (chosen - mean) / spread
        ratio = ratios[rows]
        surrogate = torch.minimum(ratio * chosen, ratio.clamp(0.8, 1.2) * chosen)
        expected["policy_loss"].append(-float((surrogate * weights)[active].mean()))
        errors = (values[rows] - targets[rows]).square()
        expected["vf_loss"].append(float((errors * weights).mean()))
        buffer.visit(torch.tensor(rows), torch.where(active, ratio, 1.0), values[rows])
    for name, each in expected.items():
        assert logged[name] == pytest.approx(np.mean(each), rel=1e-3), name


def test_the_importance_exponent_follows_its_schedule(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    config = small_config(
        priority_alpha=0.8, priority_beta=[[0, 0.0], [1000, 1.0]], minibatch_size=WHOLE, lr=0.0
    )
    learner = make_learner(config, runner)
    steps = Steps(learner)
    for env_steps in (0, 500, 2000):
        learn(learner, rollouts, env_steps=env_steps)
    rollout = rollouts.modules[SHARED]
    buffer = buffer_of(config, rollout)
    chances = priorities(buffer.advantages().advantages, buffer.active, 0.8, 1e-6)
    for batch, rows, beta in zip(
        steps.batches, steps.rows_of(rollout), (0.0, 0.5, 1.0), strict=True
    ):
        expected = chances[rows] ** -beta
        expected /= expected.mean()
        torch.testing.assert_close(batch[WEIGHTS], expected, rtol=1e-3, atol=1e-3)
        assert (expected.std() > 0.05) == (beta > 0)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_microbatches_add_up_to_their_minibatch(
    runner: BatchedEnvRunner, rollouts: Rollouts, alpha: float
) -> None:
    """Parts of 5, 5 and 2 segments, masks and advantages of the whole."""
    learners, logged = [], []
    for size in (None, 5 * NUM_STEPS):
        config = small_config(
            minibatch_size=WHOLE, microbatch_size=size, priority_alpha=alpha, num_epochs=2
        )
        learners.append(make_learner(config, runner))
        steps = Steps(learners[-1])
        logged.append(learn(learners[-1], rollouts)[SHARED])
        assert [len(one[ACTIVE]) for one in steps.batches] == (
            [12] if size is None else [5, 5, 2]
        ) * 2
        assert len(steps.rates) == 2
    for name in ("policy_loss", "vf_loss", "entropy", "total_loss", "mean_kl", "clip_share"):
        assert logged[1][name] == pytest.approx(logged[0][name], rel=1e-3, abs=1e-6), name
    whole, added = (weights_of(one.module[SHARED]) for one in learners)
    for name, one in whole.items():
        np.testing.assert_allclose(added[name], one, atol=2e-5, err_msg=name)


def test_microbatches_of_several_policies_too(two: tuple[BatchedEnvRunner, Rollouts]) -> None:
    runner, data = two
    whole, added = (
        learned_from(two_policies(minibatch_size=WHOLE, microbatch_size=size), runner, data)
        for size in (None, 5 * NUM_STEPS)
    )
    for policy, weights in whole.items():
        for name, one in weights.items():
            np.testing.assert_allclose(added[policy][name], one, atol=2e-5, err_msg=name)


# -- schedules


def test_the_learning_rate_follows_its_schedule_from_the_first_step_on(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    learner = make_learner(small_config(lr=[[0, 1e-3], [1000, 2e-4]]), runner)
    steps = Steps(learner)
    expected = {0: 1e-3, 250: 8e-4, 1000: 2e-4, 5000: 2e-4}
    for env_steps, rate in expected.items():
        steps.rates.clear()
        logged = learn(learner, rollouts, env_steps=env_steps)
        assert steps.rates == pytest.approx([rate] * 3)
        assert logged[SHARED]["default_optimizer_learning_rate"] == pytest.approx(rate)


def test_the_entropy_bonus_follows_its_schedule(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    config = small_config(
        entropy_coeff=[[0, 0.5], [100, 0.1]], vf_loss_coeff=0.25, minibatch_size=WHOLE
    )
    learner = make_learner(config, runner)
    for env_steps, expected in {0: 0.5, 50: 0.3, 100: 0.1, 900: 0.1}.items():
        logged = learn(learner, rollouts, env_steps=env_steps)[SHARED]
        rest = logged["policy_loss"] + 0.25 * logged["vf_loss"] - logged["total_loss"]
        assert rest / logged["entropy"] == pytest.approx(expected, rel=1e-4)


def test_the_first_update_after_a_restore_goes_by_its_own_config(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    """As after an exchange of hyperparameters: weights and moments of one, settings of another."""
    learner = make_learner(small_config(lr=1e-3, entropy_coeff=0.5), runner)
    learn(learner, rollouts)
    config = small_config(lr=[[0, 1e-2], [100, 2e-2]], entropy_coeff=0.25, minibatch_size=WHOLE)
    other = make_learner(config, runner)
    other.set_state(learner.get_state())
    steps = Steps(other)
    logged = learn(other, rollouts, env_steps=50)[SHARED]
    assert steps.rates == pytest.approx([1.5e-2])
    rest = logged["policy_loss"] + 0.5 * logged["vf_loss"] - logged["total_loss"]
    assert rest / logged["entropy"] == pytest.approx(0.25, rel=1e-4)


# -- breaking, state, metrics


@pytest.mark.parametrize("grad_clip", [0.5, None])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_gradient_raises_and_changes_nothing(
    runner: BatchedEnvRunner, rollouts: Rollouts, bad: float, grad_clip: float | None
) -> None:
    def spoil(rollout: Rollout) -> None:
        rollout.rewards[2, 5] = bad

    learner = make_learner(small_config(minibatch_size=WHOLE, grad_clip=grad_clip), runner)
    learn(learner, rollouts)
    before = copy.deepcopy(learner.get_state(components=("rl_module", "optimizer")))
    with pytest.raises(NonFiniteError, match="weights were left as they are; lower the"):
        learn(learner, changed(rollouts, SHARED, spoil))
    after = learner.get_state(components=("rl_module", "optimizer"))
    assert_same(after["rl_module"], before["rl_module"])
    assert str(after["optimizer"]) == str(before["optimizer"])
    assert np.isfinite(learn(learner, rollouts)[SHARED]["total_loss"])


def test_gradients_are_clipped_to_their_norm(runner: BatchedEnvRunner, rollouts: Rollouts) -> None:
    learner = make_learner(small_config(minibatch_size=WHOLE, grad_clip=1e-3), runner)
    norms = []
    apply = learner.apply_gradients

    def apply_gradients(gradients: Any) -> None:
        norms.append(float(torch.stack([one.norm() for one in gradients.values()]).norm()))
        apply(gradients)

    learner.apply_gradients = apply_gradients  # type: ignore[method-assign]
    logged = learn(learner, rollouts)[SHARED]
    assert norms == pytest.approx([1e-3], rel=1e-2)
    assert logged["gradients_default_optimizer_global_norm"] > 1e-2


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_learner_goes_on_bit_for_bit_from_its_state(
    runner: BatchedEnvRunner, rollouts: Rollouts, alpha: float
) -> None:
    config = small_config(num_epochs=2, priority_alpha=alpha)
    learner = make_learner(config, runner)
    learn(learner, rollouts)
    state = copy.deepcopy(learner.get_state())
    other = make_learner(config, runner)
    other.set_state(state)
    logged = [learn(one, rollouts)[SHARED] for one in (learner, other)]
    assert_same(weights_of(learner.module[SHARED]), weights_of(other.module[SHARED]))
    assert logged[0]["total_loss"] == logged[1]["total_loss"]


def test_what_is_logged(runner: BatchedEnvRunner, rollouts: Rollouts) -> None:
    learner = make_learner(small_config(minibatch_size=WHOLE), runner)
    logged = learn(learner, rollouts)
    rollout = rollouts.modules[SHARED]
    mine = logged[SHARED]
    assert mine["num_module_steps_trained"] == WHOLE
    assert logged["__all_modules__"]["num_env_steps_trained"] == rollouts.num_env_steps
    log_probabilities, values = forward(runner.module[SHARED], rollout)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
    expected = entropy[torch.from_numpy(rollout.active)].mean()
    assert mine["entropy"] == pytest.approx(float(expected), rel=1e-4)
    targets = buffer_of(learner.config, rollout).advantages().targets
    assert mine["vf_loss"] == pytest.approx(float((values - targets).square().mean()), rel=1e-3)
    explained = 1 - (targets - values).var(correction=0) / targets.var(correction=0)
    assert mine["vf_explained_var"] == pytest.approx(float(explained), rel=1e-3)
    assert mine["mean_kl"] < 1e-9 and mine["clip_share"] == 0
    again = plain(learn(learner, rollouts))[SHARED]
    assert again["mean_kl"] > 0, "the policy has moved"


def test_values_are_learned(runner: BatchedEnvRunner, rollouts: Rollouts) -> None:
    """Forty iterations on one rollout: the value function comes to know its returns."""
    config = small_config(num_epochs=4, lr=1e-2, grad_clip=5.0)
    learner = make_learner(config, runner)
    logged = [learn(learner, rollouts)[SHARED]["vf_loss"] for _ in range(40)]
    assert logged[-1] < 0.2 * logged[0]


def test_learning_raises_the_probability_of_what_paid(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    """Action 3 is paid, everything else costs: ten iterations later it is the favourite."""

    def pay(rollout: Rollout) -> None:
        rollout.rewards[:] = np.where(rollout.actions == 3, 1.0, -0.2)

    learner = make_learner(small_config(num_epochs=4, lr=1e-2, lambda_=0.0, gamma=0.5), runner)
    data = changed(rollouts, SHARED, pay)
    rollout = data.modules[SHARED]
    before = forward(learner.module[SHARED], rollout)[0].exp()[..., 3].mean()
    for _ in range(10):
        learn(learner, data)
    after = forward(learner.module[SHARED], rollout)[0].exp()[..., 3].mean()
    assert after > before + 0.03


def test_the_learner_takes_its_data_through_rllibs_training_data(
    runner: BatchedEnvRunner, rollouts: Rollouts
) -> None:
    learner = make_learner(small_config(), runner)
    with pytest.raises(ValueError, match="no rollouts to learn from"):
        learner.update(training_data=RolloutData(rollouts=[]))
