"""The config survives JSON, and nonsense is refused in one sentence."""

from __future__ import annotations

import json
import re

import gymnasium as gym
import numpy as np
import pytest

from models import GRID_CHANNELS, ModelConfig, RecurrentActorCritic, parse_grid_channels


def test_model_config_survives_json(channels):
    config = ModelConfig(encoder="blog", lstm=False, hidden_size=64)
    plain = json.loads(json.dumps(config.to_dict(grid_channels=channels)))
    assert ModelConfig.from_dict(plain) == config
    parsed = parse_grid_channels(plain, 5)
    assert [channel.num_values for channel in parsed] == [2, 2, 8, 16, 5]
    assert [channel.kind for channel in parsed] == ["flag", "flag"] + 3 * ["category"]


def test_what_rllib_adds_is_accepted():
    assert ModelConfig.from_dict({"vf_share_layers": False}) == ModelConfig()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder": "huge"}, "encoder 'huge' is unknown: choose one of 'small', 'blog', 'mlp'."),
        ({"lstm": 1}, "lstm must be True or False, not 1."),
        ({"hidden_size": 0}, "hidden_size is 0: give an integer, 1 or more (default 128)."),
        ({"lstm_size": 12.5}, "lstm_size is 12.5: give an integer"),
        ({"grid_planes": -1}, "grid_planes is -1: give an integer, 0 or more (default 8)."),
        ({"lstm_sise": 64}, "unknown key 'lstm_sise': did you mean 'lstm_size'?"),
        ({"fcnet_hiddens": [64]}, "unknown key 'fcnet_hiddens': choose from"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        ModelConfig.from_dict(fields)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (None, "model_config has no 'grid_channels'"),
        ([{"name": "a", "kind": "flag"}], "describes 1 channels but the observation's grid has 2"),
        ([{"name": "a", "kind": "flag"}, {"name": "b", "kind": "height"}], "'b' has kind 'height'"),
        (
            [{"name": "a", "kind": "flag"}, {"name": "b", "kind": "category"}],
            "'b' is a category with num_values None: give an integer from 2 to 256",
        ),
        (
            [{"name": "a", "kind": "flag", "num_values": 3}, {"name": "b", "kind": "flag"}],
            "'a' is a flag with num_values 3",
        ),
    ],
)
def test_bad_channels_are_refused(listed, message):
    model_config = {} if listed is None else {GRID_CHANNELS: listed}
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_grid_channels(model_config, 2)


def _space(**parts: gym.Space) -> gym.spaces.Dict:
    good = {
        "grid": gym.spaces.Box(0, 255, (5, 14, 25), np.uint8),
        "global": gym.spaces.Box(-1, 1, (11,), np.float32),
    }
    return gym.spaces.Dict(good | parts)


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ({"observation_space": gym.spaces.Discrete(3)}, "reads a Dict with 'grid' and 'global'"),
        (
            {"observation_space": _space(grid=gym.spaces.Box(0, 1, (5, 14, 25), np.float32))},
            "give a uint8 Box (channels, height, width)",
        ),
        (
            {"observation_space": _space(**{"global": gym.spaces.Box(-1, 1, (3, 3))})},
            "give a flat Box",
        ),
        (
            {"action_space": gym.spaces.Box(-1, 1, (2,))},
            "this model needs a Discrete one",
        ),
    ],
)
def test_foreign_spaces_are_refused(spaces, channels, replace, message):
    model_config = ModelConfig().to_dict(grid_channels=channels)
    with pytest.raises(ValueError, match=re.escape(message)):
        RecurrentActorCritic(**(spaces | replace), model_config=model_config)
