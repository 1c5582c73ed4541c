"""Stock and batched sampling are one learning problem: the same games played the same way give the
same observations, rewards and advantages.

RLlib's own runner steps the registered `MultiAgentEnv`, and its own learner pipeline estimates;
both act greedily with the same weights, which makes the actions the same ones.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.evaluation.postprocessing import Postprocessing

from algorithms.segment_ppo import SHARED
from env import rllib
from tests.algorithms.small import (
    NUM_AGENTS,
    NUM_STEPS,
    buffer_of,
    make_runner,
    sample_shared,
    small_config,
    stock_config,
)

GAMMA, LAMBDA = 0.97, 0.9
ROLLOUTS = 6


@dataclass(kw_only=True)
class Stock:
    """What the stock path made of one fragment of one game; arrays (agents, T, ...)."""

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    alive: np.ndarray
    values: np.ndarray
    advantages: np.ndarray
    targets: np.ndarray


def stock_fragment(runner: MultiAgentEnvRunner, learner: PPOTorchLearner) -> Stock:
    """One fragment: its pieces of episodes are in the order in which they were played."""
    pieces = runner.sample()
    seen: dict[str, list[list[Any]]] = defaultdict(lambda: [[] for _ in range(NUM_AGENTS)])
    for piece in pieces:
        for agent in range(NUM_AGENTS):
            one = piece.agent_episodes[f"agent_{agent}"]
            length = len(one)
            seen["obs"][agent] += [one.get_observations(t) for t in range(length)]
            seen["actions"][agent] += [one.get_actions(t) for t in range(length)]
            seen["rewards"][agent] += [one.get_rewards(t) for t in range(length)]
            seen["alive"][agent] += [one.get_infos(t)["alive"] for t in range(length)]
            for name, is_so in (
                ("terminated", one.is_terminated),
                ("truncated", one.is_truncated),
            ):
                seen[name][agent] += [False] * (length - 1) + [is_so]
    batch = learner._learner_connector(
        rl_module=learner.module, batch={}, episodes=pieces, shared_data={}
    )[SHARED]
    values = learner.module[SHARED].compute_values(batch).detach().numpy()
    targets = batch[Postprocessing.VALUE_TARGETS].numpy()
    # A row of the batch is a piece of an agent's episode; the appended step isn't in its mask.
    mask = batch[Columns.LOSS_MASK].numpy()
    rows = learner._learner_connector.single_agent_episode_iterator(
        pieces, agents_that_stepped_only=False
    )
    for one, row_values, row_targets, row in zip(rows, values, targets, mask, strict=True):
        agent = int(one.agent_id[-1])
        seen["values"][agent] += row_values[row].tolist()
        # RLlib keeps standardised advantages only; its targets are values plus raw ones.
        seen["advantages"][agent] += (row_targets - row_values)[row].tolist()
        seen["targets"][agent] += row_targets[row].tolist()
    arrays = {name: np.array(one) for name, one in seen.items() if name != "obs"}
    observations = {
        part: np.array([[one[part] for one in of_agent] for of_agent in seen["obs"]])
        for part in ("grid", "global")
    }
    return Stock(observations=observations, **arrays)


@pytest.mark.parametrize("game", ["pico_park", "cut_park"])
@pytest.mark.parametrize("worker", [1, 2])
@pytest.mark.filterwarnings("ignore:.*already in registry")
def test_both_paths_see_pay_and_estimate_the_same(
    monkeypatch: pytest.MonkeyPatch, cut_park: str, game: str, worker: int
) -> None:
    monkeypatch.setattr(rllib, "_made", defaultdict(itertools.count))
    config = small_config(seed=9, num_games=1, gamma=GAMMA, lambda_=LAMBDA, rewards={"alive": 0.5})
    config.environment(f"clowder/{game}").env_runners(num_env_runners=2)
    batched = make_runner(config, worker_index=worker)
    stock = MultiAgentEnvRunner(config=stock_config(config), worker_index=worker)
    learner = PPOTorchLearner(
        config=stock_config(config), module_spec=MultiRLModuleSpec.from_module(stock.module)
    )
    learner.build()
    for module in (stock.module, learner.module):
        module.set_state(batched.module.get_state())

    num_ends = num_waiting = num_unfinished = 0
    actions = set()
    for _ in range(ROLLOUTS):
        ours = sample_shared(batched, explore=False)
        theirs = stock_fragment(stock, learner)
        assert ours.actions.shape == theirs.actions.shape == (NUM_AGENTS, NUM_STEPS)
        for name, one in theirs.observations.items():
            np.testing.assert_array_equal(ours.observations[name], one, err_msg=name)
        for name in ("actions", "terminated"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
        np.testing.assert_array_equal(ours.truncated, theirs.truncated)
        np.testing.assert_array_equal(ours.active, theirs.alive)
        np.testing.assert_array_equal(ours.rewards.astype(np.float64), theirs.rewards)
        np.testing.assert_allclose(ours.values, theirs.values, atol=1e-5)
        estimated = buffer_of(config, ours, mode="gae").advantages()
        np.testing.assert_allclose(estimated.advantages, theirs.advantages, atol=2e-5)
        np.testing.assert_allclose(estimated.targets, theirs.targets, atol=2e-5)
        ended = ours.truncated if game == "cut_park" else ours.terminated
        num_ends += ended[0].sum()
        num_waiting += (~ours.active).sum()
        num_unfinished += not (ours.terminated | ours.truncated)[0, -1]
        actions |= set(ours.actions.ravel().tolist())
    assert num_ends > 0 and num_waiting > 0 and num_unfinished > 0 and len(actions) > 2
