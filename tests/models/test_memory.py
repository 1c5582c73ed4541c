"""A task that only memory solves: a cue is shown once, and asked for five steps later."""

from __future__ import annotations

import collections
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns

from models import EPISODE_START, ModelConfig, RecurrentActorCritic

NUM_ROWS, NUM_STEPS, DELAY = 64, 16, 5
CHANNELS = [
    {"name": "ask", "kind": "flag"},
    {"name": "cue", "kind": "category", "num_values": 4},
]


def build(lstm: bool) -> RecurrentActorCritic:
    torch.manual_seed(0)
    return RecurrentActorCritic(
        observation_space=gym.spaces.Dict(
            {
                "grid": gym.spaces.Box(0, 255, (2, 6, 8), np.uint8),
                "global": gym.spaces.Box(-1, 1, (1,), np.float32),
            }
        ),
        action_space=gym.spaces.Discrete(2),
        model_config=ModelConfig(lstm=lstm, hidden_size=32, lstm_size=32, global_size=4).to_dict(
            grid_channels=CHANNELS
        ),
    )


class CueTask:
    """Episodes of DELAY + 1 steps; rows are out of phase, so they end anywhere in a segment."""

    def __init__(self) -> None:
        self.random = torch.Generator().manual_seed(1)
        self.clock = torch.arange(NUM_ROWS) % (DELAY + 1)
        self.cue = torch.randint(0, 2, (NUM_ROWS,), generator=self.random)
        self.first = torch.ones(NUM_ROWS, dtype=torch.bool)

    def look(self) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The observation, and which rows start an episode with it."""
        grid = torch.zeros(NUM_ROWS, 2, 6, 8, dtype=torch.uint8)
        grid[:, 0, 3, 4] = self.clock == DELAY
        shown = torch.where(self.clock == 0, self.cue + 2, 0)
        grid[:, 1, 2, 5] = shown.to(torch.uint8)
        return {"grid": grid, "global": torch.zeros(NUM_ROWS, 1)}, self.first | (self.clock == 0)

    def step(self, actions: torch.Tensor) -> torch.Tensor:
        """1 for the answer that was shown, when it is asked for."""
        asked = self.clock == DELAY
        rewards = (asked & (actions == self.cue)).float()
        self.first = torch.zeros_like(self.first)
        self.clock = torch.where(asked, 0, self.clock + 1)
        fresh = torch.randint(0, 2, (NUM_ROWS,), generator=self.random)
        self.cue = torch.where(asked, fresh, self.cue)
        return rewards


def segments(model: RecurrentActorCritic) -> Iterator[dict[str, torch.Tensor]]:
    """Rollouts, the memory carried from each to the next."""
    task, states = CueTask(), model.initial_states(NUM_ROWS)
    while True:
        batch, columns = {Columns.STATE_IN: states}, collections.defaultdict(list)
        for _ in range(NUM_STEPS):
            observations, starts = task.look()
            logits, _, states = model.act(observations, states, starts)
            actions = torch.distributions.Categorical(logits=logits).sample()
            columns["grid"].append(observations["grid"])
            columns["global"].append(observations["global"])
            columns[EPISODE_START].append(starts)
            columns[Columns.ACTIONS].append(actions)
            columns["asked"].append(task.clock == DELAY)
            columns[Columns.REWARDS].append(task.step(actions))
        batch |= {name: torch.stack(column, 1) for name, column in columns.items()}
        batch[Columns.OBS] = {name: batch.pop(name) for name in ("grid", "global")}
        yield batch


def learn(lstm: bool, num_updates: int = 120) -> float:
    """Trains by policy gradient with a baseline; returns the share of right answers at the end."""
    model = build(lstm)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    shares = []
    for _, batch in zip(range(num_updates), segments(model), strict=False):
        answer = model.forward_train(batch)
        values = model.compute_values(batch, answer[Columns.EMBEDDINGS])
        # Only the answer is paid for, so only its step has an advantage.
        asked, rewards = batch["asked"], batch[Columns.REWARDS]
        policy = torch.distributions.Categorical(logits=answer[Columns.ACTION_DIST_INPUTS])
        log_probs = policy.log_prob(batch[Columns.ACTIONS])[asked]
        errors = (rewards - values)[asked]
        loss = (-log_probs * errors.detach() + 0.5 * errors.square()).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        shares.append(rewards[asked].mean().item())
    return float(np.mean(shares[-20:]))


def test_the_lstm_remembers_the_cue():
    assert learn(lstm=True) > 0.9


def test_without_lstm_it_can_only_guess():
    assert 0.3 < learn(lstm=False) < 0.7
