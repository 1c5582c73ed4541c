"""The games' Python faces: batched simulators over numpy buffers, configs, reward terms, adapters.

Importing this costs neither Ray nor torch; adapters live in files of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from env.batch import BatchedGame, Level
from env.errors import BadInputError
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.pong import Pong, PongConfig, PongRewards

if TYPE_CHECKING:
    from env.rllib import GameEnv

__all__ = [
    "BadInputError",
    "BatchedGame",
    "Level",
    "PicoPark",
    "PicoParkConfig",
    "PicoParkRewards",
    "Pong",
    "PongConfig",
    "PongRewards",
    "make",
]


def make(game: str, **env_config: Any) -> GameEnv:
    """One game as an RLlib `MultiAgentEnv`; see `env.rllib.GameEnv` for the config's keys."""
    from env.rllib import GameEnv

    return GameEnv({"game": game, **env_config})
