"""Advantages against sums written out by hand, and the two limits that the formulas promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from algorithms.advantages import estimate

GAMMA, LAMBDA = 0.97, 0.9


def random_segments(seed: int, rows: int = 6, steps: int = 24) -> dict[str, torch.Tensor]:
    """Rewards, values, ends of both kinds, waiting rows, off-policy ratios."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g)

    ends = torch.rand((rows, steps), generator=g) < 0.15
    cut = torch.rand((rows, steps), generator=g) < 0.4
    return {
        "rewards": normal(rows, steps),
        "values": normal(rows, steps),
        "bootstrap": normal(rows),
        "final_values": normal(rows, steps),
        "terminated": ends & ~cut,
        "truncated": ends & cut,
        "active": torch.rand((rows, steps), generator=g) < 0.8,
        "ratios": normal(rows, steps).exp(),
    }


def by_hand(data: dict[str, torch.Tensor], mode: str, rho_clip: float, c_clip: float) -> Any:
    """V-trace as its paper prints it: v_s = V_s + sum over t >= s of gamma^(t-s) (prod c) delta."""
    d = {name: one.double().numpy() for name, one in data.items()}
    ratios = np.where(d["active"] > 0, d["ratios"], 1.0)
    if mode == "gae":
        ratios = np.ones_like(ratios)
    rho, c = np.minimum(ratios, rho_clip), LAMBDA * np.minimum(ratios, c_clip)
    rows, steps = d["rewards"].shape
    ended = (d["terminated"] + d["truncated"]) > 0

    def next_value(i: int, t: int) -> float:
        if d["terminated"][i, t]:
            return 0.0
        if d["truncated"][i, t]:
            return d["final_values"][i, t]
        return d["bootstrap"][i] if t == steps - 1 else d["values"][i, t + 1]

    def error(i: int, t: int) -> float:
        return d["rewards"][i, t] + GAMMA * next_value(i, t) - d["values"][i, t]

    def correction(i: int, s: int) -> float:
        total, weight = 0.0, 1.0
        for t in range(s, steps):
            total += weight * rho[i, t] * error(i, t)
            if ended[i, t]:
                break
            weight *= GAMMA * c[i, t]
        return total

    targets, advantages = np.zeros((rows, steps)), np.zeros((rows, steps))
    for i in range(rows):
        for t in range(steps):
            own = correction(i, t)
            targets[i, t] = d["values"][i, t] + own
            follows = t < steps - 1 and not ended[i, t]
            later = correction(i, t + 1) if follows else 0.0
            advantages[i, t] = own if mode == "puff" else error(i, t) + GAMMA * LAMBDA * later
    return advantages, targets


@pytest.mark.parametrize("mode", ["gae", "vtrace", "puff"])
@pytest.mark.parametrize("clips", [(1.0, 1.0), (1.5, 1.2)])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_sums_written_out(mode: Any, clips: tuple[float, float], seed: int) -> None:
    data = random_segments(seed)
    found = estimate(
        **data, gamma=GAMMA, lambda_=LAMBDA, mode=mode, rho_clip=clips[0], c_clip=clips[1]
    )
    advantages, targets = by_hand(data, mode, *clips)
    np.testing.assert_allclose(found.advantages.numpy(), advantages, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.targets.numpy(), targets, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["vtrace", "puff"])
def test_with_ratios_of_one_all_modes_are_gae(mode: Any) -> None:
    data = random_segments(7) | {"ratios": torch.ones(6, 24)}
    gae = estimate(**data, gamma=GAMMA, lambda_=LAMBDA, mode="gae")
    found = estimate(**data, gamma=GAMMA, lambda_=LAMBDA, mode=mode)
    torch.testing.assert_close(found, gae)
    torch.testing.assert_close(gae.targets, data["values"] + gae.advantages)


def test_with_lambda_one_it_is_the_papers_policy_advantage() -> None:
    data = random_segments(8)
    found = estimate(**data, gamma=GAMMA, lambda_=1.0)
    ended = data["terminated"] | data["truncated"]
    for t in range(23):
        following = torch.where(
            data["terminated"][:, t], torch.zeros(6),
            torch.where(data["truncated"], data["final_values"], found.targets.roll(-1, 1))[:, t],
        )  # fmt: skip
        expected = data["rewards"][:, t] + GAMMA * following - data["values"][:, t]
        torch.testing.assert_close(found.advantages[:, t], expected)
    assert ended.any()


def test_the_last_steps_reward_counts() -> None:
    data = random_segments(9)
    more = dict(data, rewards=data["rewards"].clone())
    more["rewards"][:, -1] += 1.0
    one, two = (estimate(**d, gamma=GAMMA, lambda_=LAMBDA) for d in (data, more))
    torch.testing.assert_close(two.advantages[:, -1], one.advantages[:, -1] + 1.0)


def test_what_a_waiting_row_did_has_no_ratio() -> None:
    data = random_segments(10)
    other = dict(data, ratios=torch.where(data["active"], data["ratios"], torch.tensor(99.0)))
    torch.testing.assert_close(
        estimate(**data, gamma=GAMMA, lambda_=LAMBDA),
        estimate(**other, gamma=GAMMA, lambda_=LAMBDA),
    )


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="'gea' is unknown"):
        estimate(**random_segments(0), gamma=1, lambda_=1, mode="gea")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        estimate(**random_segments(0), gamma=1, lambda_=1, rho_clip=0.5)
