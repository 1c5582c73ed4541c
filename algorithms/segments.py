"""A module's rollout on the learner's device, and which of its segments a minibatch draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from algorithms import AdvantageMode
from algorithms.advantages import Advantages, estimate
from algorithms.rollout import Rollout


class SegmentBuffer:
    """Segments with the newest ratios and values known.

    Ratios are 1 and values the behaviour policy's until a segment has been visited in this
    iteration; bootstrap and truncation values stay those of the rollout.
    """

    def __init__(
        self,
        rollout: Rollout,
        device: Any,
        *,
        gamma: float,
        lambda_: float,
        mode: AdvantageMode,
        rho_clip: float,
        c_clip: float,
    ) -> None:
        """Moves a rollout to the device; its arrays are read, never written."""

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: move(one) for name, one in value.items()}
            return _tensor(value).to(device)

        self.observations: dict[str, Tensor] = move(rollout.observations)
        self.states: dict[str, Tensor] = move(rollout.states)
        self.actions: Tensor = move(rollout.actions)
        self.log_probabilities: Tensor = move(rollout.log_probabilities)
        self.behaviour_values: Tensor = move(rollout.values)
        self.episode_start: Tensor = move(rollout.episode_start)
        self.active: Tensor = move(rollout.active)
        self.owned: Tensor = move(rollout.owned)
        # Recursions run over time: (T, R) in memory makes every step of theirs contiguous.
        self._rewards = _by_time(move(rollout.rewards))
        self._terminated = _by_time(move(rollout.terminated))
        self._truncated = _by_time(move(rollout.truncated))
        self._final_values = _by_time(move(rollout.final_values))
        self._active = _by_time(self.active)
        self._bootstrap: Tensor = move(rollout.bootstrap)
        self.values = _by_time(self.behaviour_values.clone())
        self.ratios = _by_time(torch.ones_like(self.behaviour_values))
        self.num_rows, self.num_steps = self.actions.shape
        self._settings: dict[str, Any] = {
            "gamma": gamma,
            "lambda_": lambda_,
            "mode": mode,
            "rho_clip": rho_clip,
            "c_clip": c_clip,
        }
        self._is_fixed = mode == "gae"
        self._estimated: Advantages | None = None

    def advantages(self) -> Advantages:
        """Advantages and targets, (R, T), from the newest ratios and values; under `gae` from those
        of the rollout."""
        if self._estimated is None:
            self._estimated = estimate(
                self._rewards,
                self.values,
                self._bootstrap,
                self._final_values,
                self._terminated,
                self._truncated,
                self._active,
                self.ratios,
                **self._settings,
            )
        return self._estimated

    def visit(self, rows: Tensor, ratios: Tensor, values: Tensor) -> None:
        """Notes what the network now says of these segments, (len(rows), T) each."""
        self.ratios[rows] = ratios
        self.values[rows] = values
        if not self._is_fixed:
            self._estimated = None


def _by_time(value: Tensor) -> Tensor:
    """The same (R, T) numbers, laid out with a row of memory a step."""
    return value.t().contiguous().t()


def _tensor(array: Any) -> Tensor:
    """Without a copy; arrays from Ray's object store are read-only, and so is what we do."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def priorities(advantages: Tensor, active: Tensor, alpha: float, epsilon: float) -> Tensor:
    """Probability of each segment (after Schaul et al. 2016, proportional variant).

        w_i = (sum over active t of |A_it|)^alpha + epsilon,    p_i = w_i / sum w

    Args:
        advantages: float32 (R, T).
        active: bool (R, T).
        alpha: 0: all alike; the larger, the more the large advantages count.
        epsilon: keeps every segment possible.

    Returns:
        float32 (R,), sums to 1.
    """
    weights = (advantages.abs() * active).sum(1).pow(alpha) + epsilon
    return weights / weights.sum()


def importance(probabilities: Tensor, chosen: Tensor, beta: float) -> Tensor:
    """Weights (S p_i)^-beta of the chosen segments, mean 1: float32 (len(chosen),)."""
    weights = (len(probabilities) * probabilities[chosen]).pow(-beta)
    return weights / weights.mean()


def permutations(
    num_rows: int, size: int, num_epochs: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Minibatches of `size` rows, every row exactly once an epoch; the last may be smaller."""
    for _ in range(num_epochs):
        yield from torch.split(torch.randperm(num_rows, generator=generator), size)


def count_minibatches(num_rows: int, size: int, num_epochs: int) -> int:
    """How many minibatches an iteration has."""
    return num_epochs * math.ceil(num_rows / size)
