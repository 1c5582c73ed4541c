"""Advantages and value targets over rectangular segments.

Shapes: R rows (a seat of a game), T steps. Episodes may end inside a segment; a row may wait (its
cat is out or dead, its action does nothing) and still keeps its rewards, its values and its place
in the recursion.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

AdvantageMode = Literal["gae", "vtrace", "puff"]


class Advantages(NamedTuple):
    """What the losses need of a segment."""

    advantages: Tensor
    """float32 (R, T)."""
    targets: Tensor
    """float32 (R, T): value targets v_t."""


@torch.no_grad()
def estimate(
    rewards: Tensor,
    values: Tensor,
    bootstrap: Tensor,
    final_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    active: Tensor,
    ratios: Tensor | None,
    *,
    gamma: float,
    lambda_: float,
    mode: AdvantageMode = "vtrace",
    rho_clip: float = 1.0,
    c_clip: float = 1.0,
) -> Advantages:
    """V-trace (Espeholt et al. 2018) with lambda in its traces.

    With ratios of 1 it is GAE (Schulman et al. 2016).

        delta_t = rho_t * (r_t + gamma * V_{t+1} - V_t)
        v_t     = V_t + delta_t + gamma * c_t * (v_{t+1} - V_{t+1})
        A_t     = r_t + gamma * V_{t+1} - V_t + gamma * lambda * (v_{t+1} - V_{t+1})

    with rho_t = min(ratio_t, rho_clip), c_t = lambda * min(ratio_t, c_clip). V_{t+1} is 0 after a
    termination and the value of the episode's own last observation after a truncation; v_{t+1} -
    V_{t+1} counts as 0 across every episode end and after the last step. A waiting row has ratio 1.

    Args:
        rewards: float32 (R, T), the reward of the action at t.
        values: float32 (R, T), newest known values.
        bootstrap: float32 (R,), value of the observation after the last step.
        final_values: float32 (R, T), where truncated the last observation's value; else unread.
        terminated, truncated: bool (R, T), the episode ended with this step.
        active: bool (R, T), in play when it acted.
        ratios: float32 (R, T), new over behaviour probability; None: 1 everywhere.
        gamma: discount a step.
        lambda_: trace decay.
        mode: `vtrace`, as above; `gae` holds ratios at 1; `puff`, A_t = v_t - V_t, the original
            system's form, which weighs by the ratio twice.
        rho_clip, c_clip: clips of the ratios, at least 1.

    Raises:
        ValueError: an unknown mode, or a clip below 1.
    """
    if mode not in get_args(AdvantageMode):
        raise ValueError(f"advantage mode {mode!r} is unknown; choose gae, vtrace or puff.")
    if rho_clip < 1 or c_clip < 1:
        raise ValueError(f"rho_clip {rho_clip} and c_clip {c_clip} must be at least 1.")
    following = torch.cat([values[:, 1:], bootstrap[:, None]], 1)
    following = torch.where(truncated, final_values, following).masked_fill(terminated, 0.0)
    errors = rewards + gamma * following - values
    if ratios is None or mode == "gae":
        rho = trace = torch.ones_like(values)
    else:
        ratios = ratios.masked_fill(~active, 1.0)
        rho, trace = ratios.clamp(max=rho_clip), ratios.clamp(max=c_clip)
    # What flows back from t + 1 to t: nothing across an end.
    decay = (gamma * lambda_) * trace.masked_fill(terminated | truncated, 0.0)
    corrections = torch.empty_like(values)  # v_t - V_t
    later = torch.zeros_like(bootstrap)
    for t in range(values.shape[1] - 1, -1, -1):
        later = rho[:, t] * errors[:, t] + decay[:, t] * later
        corrections[:, t] = later
    targets = values + corrections
    if mode == "puff":
        return Advantages(corrections, targets)
    inside = ~(terminated | truncated)[:, :-1]
    advantages = errors.clone()
    advantages[:, :-1] += gamma * lambda_ * corrections[:, 1:] * inside
    return Advantages(advantages, targets)
