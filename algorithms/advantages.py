"""Advantages and value targets over rectangular segments.

Shapes: R rows (a seat of a game), T steps. Episodes may end inside a segment; a row may wait (its
cat is out or dead, its action does nothing) and still keeps its rewards, its values and its place
in the recursion.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import torch
from torch import Tensor

from algorithms import AdvantageMode


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
    # Time first: a step of the recursion then reads neighbouring memory, if the caller has laid
    # the rows out so (`algorithms.segments.SegmentBuffer` does).
    rewards, values, final_values = rewards.t(), values.t(), final_values.t()
    terminated, ended = terminated.t(), (terminated | truncated).t()
    following = torch.cat([values[1:], bootstrap[None]])
    following = torch.where(truncated.t(), final_values, following).masked_fill(terminated, 0.0)
    errors = rewards + gamma * following - values
    inside = (gamma * lambda_) * (~ended).float()  # nothing flows back across an end
    if ratios is None or mode == "gae":
        deltas, decay = errors, inside
    else:
        ratios = ratios.masked_fill(~active, 1.0).t()
        deltas, decay = ratios.clamp(max=rho_clip) * errors, ratios.clamp(max=c_clip) * inside
    corrections = torch.empty_like(errors)  # v_t - V_t
    later = torch.zeros_like(bootstrap)
    for delta, factor, correction in zip(
        reversed(deltas.unbind()),
        reversed(decay.unbind()),
        reversed(corrections.unbind()),
        strict=True,
    ):
        later = torch.addcmul(delta, factor, later, out=correction)
    targets = values + corrections
    if mode == "puff":
        return Advantages(corrections.t(), targets.t())
    advantages = errors.clone()
    advantages[:-1] += inside[:-1] * corrections[1:]
    return Advantages(advantages.t(), targets.t())
