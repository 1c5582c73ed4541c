"""A trained policy as plain files: weights in safetensors, all else in JSON; beside them, if they
were noted, the levels that it was trained on last.

Nothing in them is executed when they are read, unlike RLlib's own checkpoints, which hold pickles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from env.batch import BatchedGame
from env.errors import BadInputError
from env.games import make_simulator
from env.single import observation_space
from experiments.recipe import Recipe, from_dict, to_dict
from models import RecurrentActorCritic

WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "policy.json"
LEVELS_FILE = "levels.safetensors"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A network that can act, and the recipe that it comes from."""

    module: RecurrentActorCritic
    """Actor, critic and memory, shared by all seats."""
    recipe: Recipe
    """What it was trained with."""
    env_steps: int
    """Ticks that it was trained for."""


def simulator_of(recipe: Recipe) -> BatchedGame:
    """One game of the recipe's; what its observations mean may depend on its config."""
    return make_simulator(recipe.game, 1, config=recipe.env, rewards=recipe.rewards, seed=0)


def layout_hash(simulator: BatchedGame) -> str:
    """16 hexadecimal digits that change when the meaning of an observation or action does."""
    layout = {
        "game": simulator.name,
        "actions": simulator.action_names,
        "parts": [
            [part.name, part.shape, part.dtype.__name__, list(part.channels)]
            for part in simulator.parts
        ],
    }
    return hashlib.sha256(json.dumps(layout, sort_keys=True).encode()).hexdigest()[:16]


def build_module(recipe: Recipe) -> RecurrentActorCritic:
    """An untrained network for the recipe's game; torch's generator decides its weights."""
    import gymnasium as gym

    simulator = simulator_of(recipe)
    return RecurrentActorCritic(
        observation_space=observation_space(simulator),
        action_space=gym.spaces.Discrete(len(simulator.action_names)),
        model_config=model_config(recipe),
    )


def model_config(recipe: Recipe, *, max_seq_len: int | None = None) -> dict[str, Any]:
    """RLlib's `model_config`: the recipe's model and what the game says of its grid, if any."""
    channels = [part.channels for part in simulator_of(recipe).parts if part.channels]
    config = recipe.model.to_dict(grid_channels=channels[0] if channels else None)
    if max_seq_len is not None:
        config["max_seq_len"] = max_seq_len
    return config


def save_policy(
    folder: Path, state: Mapping[str, torch.Tensor], recipe: Recipe, env_steps: int
) -> None:
    """Writes both files into `folder`; the JSON, written last, makes them whole."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    data = safetensors.torch.save(tensors)
    (folder / WEIGHTS_FILE).write_bytes(data)
    config = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(data).hexdigest(),
        "layout": layout_hash(simulator_of(recipe)),
        "env_steps": env_steps,
        "recipe": to_dict(recipe),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def load_policy(folder: Path) -> Policy:
    """Reads a policy from its folder.

    Raises:
        BadInputError: files missing or damaged, another format, another observation layout, or
            weights that don't fit the network.
    """
    config = _read_config(folder)
    recipe = from_dict(config["recipe"])
    if config["layout"] != (layout := layout_hash(simulator_of(recipe))):
        raise BadInputError(
            f"{folder} was trained on observations of layout {config['layout']}, this simulator "
            f"has {layout}; use the version of Clowder that wrote it."
        )
    module = build_module(recipe)
    path = folder / WEIGHTS_FILE
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != config["weights_sha256"]:
            raise BadInputError(
                f"{path} is damaged (its checksum is not the one in {CONFIG_FILE}); take another "
                "copy or checkpoint."
            )
        module.load_state_dict(safetensors.torch.load(data))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise BadInputError(
            f"the weights in {path} can't be used ({reason}); take another copy or checkpoint."
        ) from error
    module.eval()
    return Policy(module=module, recipe=recipe, env_steps=config["env_steps"])


def save_levels(folder: Path, levels: NDArray[np.uint64]) -> None:
    """Notes the levels that a policy was trained on last: (n, 2), seed and index of the preset."""
    (folder / LEVELS_FILE).write_bytes(safetensors.numpy.save({"levels": levels}))


def load_levels(folder: Path) -> NDArray[np.uint64]:
    """The levels that a policy was trained on last, (n, 2), seed and preset; the newest last.

    Raises:
        BadInputError: none were noted, or the file is damaged.
    """
    path = folder / LEVELS_FILE
    try:
        levels: NDArray[np.uint64] = safetensors.numpy.load(path.read_bytes())["levels"]
    except OSError as error:
        raise BadInputError(
            f"{folder} doesn't say which levels it was trained on ({LEVELS_FILE}: "
            f"{error.strerror}); name a checkpoint of segment_ppo's."
        ) from error
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise BadInputError(f"{path} is damaged ({error}); take another checkpoint.") from error
    if levels.ndim != 2 or levels.shape[1] != 2 or levels.dtype != np.uint64:
        raise BadInputError(f"{path} is damaged (no pairs of numbers); take another checkpoint.")
    return levels


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise BadInputError(
            f"there is no policy in {folder} ({CONFIG_FILE}: {error.strerror}); name a folder "
            "that holds one."
        ) from error
    except ValueError as error:
        raise BadInputError(f"{path} is not JSON ({error}); take another copy.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise BadInputError(
            f"{path} has format {found!r}, this version reads {FORMAT}; use the version of Clowder "
            "that wrote it."
        )
    kinds = {"layout": str, "weights_sha256": str, "env_steps": int, "recipe": dict}
    for name, kind in kinds.items():
        if not isinstance(config.get(name), kind):
            raise BadInputError(f"{path} is damaged (no usable {name!r}); take another copy.")
    return config
