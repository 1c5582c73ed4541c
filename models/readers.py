"""From observations without a grid of names, numbers or pictures, to a vector of features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

MIN_PICTURE = 36
"""Rows and columns that the CNN needs at least."""


class Reader(nn.Module):
    """Reads every part of an observation and joins what it finds.

    Numbers (float32, of any shape) pass flat through a linear layer, pictures (uint8 (frames,
    height, width), grey, brightness 0 to 255) through two convolutions: 16 channels 8x8 stride 4,
    32 channels 4x4 stride 2 (Mnih et al. 2013).

    Args:
        space: Of the observations.
        hidden_size: Width of each layer and length of the vector.

    Raises:
        ValueError: A part is neither.
    """

    def __init__(self, space: gym.spaces.Dict, hidden_size: int) -> None:
        super().__init__()
        self.shapes = {name: tuple(part.shape or ()) for name, part in space.spaces.items()}
        self.nets = nn.ModuleDict()
        num_features = 0
        for name, part in space.spaces.items():
            if _is_picture(part):
                self.nets[name] = net = _picture_net(self.shapes[name][0])
                with torch.no_grad():
                    num_features += net(torch.zeros(1, *self.shapes[name])).shape[1]
            elif isinstance(part, gym.spaces.Box) and part.dtype == np.float32:
                length = math.prod(part.shape)
                self.nets[name] = nn.Sequential(
                    nn.Flatten(), nn.Linear(length, hidden_size), nn.ReLU(inplace=True)
                )
                num_features += hidden_size
            else:
                raise ValueError(
                    f"the observation's part {name!r} is {part}: give float32 numbers, a uint8"
                    f" picture (frames, {MIN_PICTURE} or more, {MIN_PICTURE} or more), or a grid"
                    " named 'grid' beside a vector named 'global'."
                )
        self.joint = nn.Sequential(nn.Linear(num_features, hidden_size), nn.ReLU(inplace=True))

    def leading(self, observations: Mapping[str, Tensor]) -> torch.Size:
        """The axes before a part's own: batch, or batch and time."""
        name, shape = next(iter(self.shapes.items()))
        found = observations[name].shape
        return found[: len(found) - len(shape)]

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Observations (..., *shape) as float32 (N, hidden_size), leading axes made one."""
        found = []
        for name, net in self.nets.items():
            part = observations[name].reshape(-1, *self.shapes[name])
            found.append(net(part.float() / 255 if part.dtype == torch.uint8 else part))
        features: Tensor = self.joint(found[0] if len(found) == 1 else torch.cat(found, -1))
        return features


def _is_picture(part: gym.Space[Any]) -> bool:
    return (
        isinstance(part, gym.spaces.Box)
        and part.dtype == np.uint8
        and len(part.shape) == 3
        and min(part.shape[1:]) >= MIN_PICTURE
    )


def _picture_net(num_frames: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(num_frames, 16, 8, stride=4),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
    )
