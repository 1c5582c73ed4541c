"""A made-up game's layout, and models and observations for it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

# Before Ray is imported: left to itself it writes a token into the home folder.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import gymnasium as gym
import numpy as np
import pytest
import torch

from models import ModelConfig, RecurrentActorCritic

NUM_VALUES = (2, 2, 8, 16, 5)
CHANNELS = [
    {"name": "solid", "kind": "flag"},
    {"name": "own", "kind": "flag"},
    {"name": "other", "kind": "category", "num_values": 8},
    {"name": "agent", "kind": "category", "num_values": 16},
    {"name": "thing", "kind": "category", "num_values": 5},
]
SHAPE = (5, 14, 25)
NUM_GLOBALS = 11
NUM_ACTIONS = 6


@pytest.fixture(autouse=True)
def _always(one_thread_one_seed: None) -> None:
    """Every test here."""


@pytest.fixture
def channels() -> list[dict[str, Any]]:
    return [dict(channel) for channel in CHANNELS]


@pytest.fixture
def spaces() -> dict[str, gym.Space]:
    return {
        "observation_space": gym.spaces.Dict(
            {
                "grid": gym.spaces.Box(0, 255, SHAPE, np.uint8),
                "global": gym.spaces.Box(-1.0, 1.0, (NUM_GLOBALS,), np.float32),
            }
        ),
        "action_space": gym.spaces.Discrete(NUM_ACTIONS),
    }


@pytest.fixture
def make_model(spaces, channels) -> Callable[..., RecurrentActorCritic]:
    """Builds a model; `sharp` makes its logits large, so that differences show."""

    def make(*, sharp: bool = False, **config: Any) -> RecurrentActorCritic:
        model_config = ModelConfig(**config).to_dict(grid_channels=channels)
        model = RecurrentActorCritic(**spaces, model_config=model_config)
        if sharp:
            with torch.no_grad():
                model.actor.weight.mul_(300.0)
        return model

    return make


@pytest.fixture
def make_observations() -> Callable[..., dict[str, torch.Tensor]]:
    """Random observations with the given leading axes."""

    def make(*leading: int) -> dict[str, torch.Tensor]:
        grid = torch.stack(
            [torch.randint(0, values, (*leading, *SHAPE[1:])) for values in NUM_VALUES], -3
        )
        filled = torch.rand(*leading, 1, *SHAPE[1:]) < 0.3
        return {
            "grid": (grid * filled).to(torch.uint8),
            "global": torch.rand(*leading, NUM_GLOBALS) * 2 - 1,
        }

    return make
