"""Games without a grid: numbers and pictures in, the same network behind."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from env import Pong, PongConfig
from env.single import observation_space
from models import ModelConfig, RecurrentActorCritic


def build(space: gym.Space[Any], **config: Any) -> RecurrentActorCritic:
    return RecurrentActorCritic(
        observation_space=space,
        action_space=gym.spaces.Discrete(3),
        model_config=ModelConfig(hidden_size=16, lstm_size=8, **config).to_dict(),
    )


@pytest.mark.parametrize("observation", ["coordinates", "pixels"])
@pytest.mark.parametrize("lstm", [True, False])
def test_pongs_observations_are_read(observation: Any, lstm: bool) -> None:
    sim = Pong(4, PongConfig(observation=observation, frames=2), seed=1)
    sim.reset()
    torch.manual_seed(0)
    module = build(observation_space(sim), lstm=lstm)
    name = sim.parts[0].name
    rows = torch.from_numpy(sim.observations[name].reshape(8, *sim.parts[0].shape))
    logits, values, states = module.act({name: rows}, module.initial_states(8))
    assert logits.shape == (8, 3) and values.shape == (8,)
    assert (len(states) == 2) == lstm
    assert not torch.equal(logits[0], logits[1]), "the two seats see different things"
    # A batch with time gives what its steps give one by one.
    batch = {"obs": {name: rows.view(2, 4, *rows.shape[1:])}}
    if lstm:
        batch["state_in"] = module.initial_states(2)
    out = module.forward_inference(batch)["action_dist_inputs"]
    first = module.act({name: rows.view(2, 4, *rows.shape[1:])[:, 0]}, module.initial_states(2))
    assert torch.allclose(out[:, 0], first[0], atol=1e-6)


def test_what_cant_be_read_is_refused() -> None:
    odd = gym.spaces.Dict({"tiles": gym.spaces.Box(0, 9, (4, 4), np.uint8)})
    with pytest.raises(ValueError, match="give float32 numbers, a uint8 picture"):
        build(odd)
