"""Neural networks of the platform: RLlib modules that know no game.

A model learns what an observation looks like from two places: the observation space (shapes) and
the list of grid channels that the environment provides in RLlib's ``model_config``. Nothing here
imports a game.

    from models import GRID_CHANNELS, ModelConfig, RecurrentActorCritic

    model_config = ModelConfig(encoder="small").to_dict(grid_channels=[
        {"name": "solid", "kind": "flag"},
        {"name": "thing", "kind": "category", "num_values": 5},
    ])
    RLModuleSpec(module_class=RecurrentActorCritic, model_config=model_config)

`config` says what can be chosen, `encoders` turn a grid into features, `lstm` unrolls a memory
over segments with episode starts inside, `recurrent` is the actor-critic made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.config import GRID_CHANNELS, GridChannel, ModelConfig, parse_grid_channels

if TYPE_CHECKING:
    from models.encoders import GridEncoder, GridPlanes, build_encoder
    from models.lstm import State, unroll, zero_state
    from models.recurrent import EPISODE_START, RecurrentActorCritic

# Configs are read by command lines that must start at once; torch and Ray come when a network does.
_LAZY = {
    "GridEncoder": "models.encoders",
    "GridPlanes": "models.encoders",
    "build_encoder": "models.encoders",
    "State": "models.lstm",
    "unroll": "models.lstm",
    "zero_state": "models.lstm",
    "EPISODE_START": "models.recurrent",
    "RecurrentActorCritic": "models.recurrent",
}

__all__ = [
    "EPISODE_START",
    "GRID_CHANNELS",
    "GridChannel",
    "GridEncoder",
    "GridPlanes",
    "ModelConfig",
    "RecurrentActorCritic",
    "State",
    "build_encoder",
    "parse_grid_channels",
    "unroll",
    "zero_state",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
