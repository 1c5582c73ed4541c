"""The fused unroll forgets exactly at episode starts, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models import unroll, zero_state

B, T, H, L = 9, 33, 20, 16


def random_starts(share: float) -> torch.Tensor:
    return torch.rand(B, T) < share


def random_state(scale: float = 1.0) -> dict[str, torch.Tensor]:
    return {"h": torch.randn(B, L) * scale, "c": torch.randn(B, L) * scale}


def step_by_step(lstm, features, state, starts):
    """What should come out: one step at a time, the state zeroed where an episode starts."""
    outputs = []
    for t in range(features.shape[1]):
        keep = (~starts[:, t, None]).float()
        h, c = state["h"] * keep, state["c"] * keep
        out, (h, c) = lstm(features[:, t : t + 1], (h[None], c[None]))
        state = {"h": h[0], "c": c[0]}
        outputs.append(out)
    return torch.cat(outputs, 1), state


@pytest.fixture
def lstm() -> nn.LSTM:
    return nn.LSTM(H, L, batch_first=True)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("grad", [True, False])
def test_equals_the_loop_over_time(lstm, share, grad):
    features, state, starts = torch.randn(B, T, H), random_state(), random_starts(share)
    with torch.set_grad_enabled(grad):
        expected, expected_state = step_by_step(lstm, features, state, starts)
        outputs, final = unroll(lstm, features, state, starts)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-6)
    for key in ("h", "c"):
        torch.testing.assert_close(final[key], expected_state[key], rtol=0, atol=1e-6)


def test_gradients_equal_the_loop_over_time(lstm):
    features, state, starts = torch.randn(B, T, H), random_state(), random_starts(0.05)
    assert starts[:, 1:].any()
    upstream = torch.randn(B, T, L)
    grads = []
    for run in (step_by_step, unroll):
        lstm.zero_grad()
        inputs = features.clone().requires_grad_()
        first = {key: value.clone().requires_grad_() for key, value in state.items()}
        outputs, final = run(lstm, inputs, first, starts)
        ((outputs * upstream).sum() + final["c"].sum() + final["h"].sum()).backward()
        tensors = [inputs, *first.values(), *lstm.parameters()]
        grads.append([tensor.grad.clone() for tensor in tensors])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_a_foreign_state_makes_no_difference_after_a_start(lstm, grad):
    """Difference exactly 0, however large the state, wherever the episode starts."""
    features = torch.randn(B, T, H)
    starts = torch.zeros(B, T, dtype=torch.bool)
    first_start = torch.arange(B) * 4  # row 0: at the very first step
    starts[torch.arange(B), first_start] = True
    starts[3, 20] = True
    after = torch.arange(T) >= first_start[:, None]
    with torch.set_grad_enabled(grad):
        ours, our_state = unroll(lstm, features, random_state(), starts)
        theirs, their_state = unroll(lstm, features, random_state(1e3), starts)
    assert (ours - theirs)[after].abs().max() == 0
    assert (ours - theirs)[~after].abs().max() > 0.01
    for key in ("h", "c"):
        assert (our_state[key] - their_state[key]).abs().max() == 0


def test_features_before_a_start_make_no_difference_and_get_no_gradient(lstm):
    features = torch.randn(B, T, H, requires_grad=True)
    starts = torch.zeros(B, T, dtype=torch.bool)
    starts[:, 10] = True
    outputs, final = unroll(lstm, features, random_state(), starts)
    foreign = features.detach().clone()
    foreign[:, :10] = 100.0
    again, again_final = unroll(lstm, foreign, random_state(), starts)
    assert (outputs - again)[:, 10:].abs().max() == 0
    assert (final["c"] - again_final["c"]).abs().max() == 0
    outputs[:, 10:].sum().backward()
    assert features.grad[:, :10].abs().max() == 0
    assert features.grad[:, 10:].abs().min(-1).values.max() > 0


def test_the_first_step_can_start_an_episode_after_a_spoilt_state(lstm):
    spoilt = {"h": torch.full((B, L), torch.nan), "c": torch.full((B, L), torch.inf)}
    starts = torch.zeros(B, T, dtype=torch.bool)
    starts[:, 0] = True
    features = torch.randn(B, T, H)
    outputs, _ = unroll(lstm, features, spoilt, starts)
    expected, _ = unroll(lstm, features, zero_state(B, L))
    assert torch.equal(outputs, expected)


def test_no_start_inside_is_the_plain_lstm_call(lstm, monkeypatch):
    """The common case pays for nothing."""
    features, state = torch.randn(B, T, H), random_state()
    expected, (h, c) = lstm(features, (state["h"][None], state["c"][None]))
    monkeypatch.setattr(torch, "lstm", None)  # the way with dummy steps
    starts = torch.zeros(B, T, dtype=torch.bool)
    for given in (None, starts):
        outputs, final = unroll(lstm, features, state, given)
        assert torch.equal(outputs, expected)
        assert torch.equal(final["h"], h[0]) and torch.equal(final["c"], c[0])
    starts[::2, 0] = True
    unroll(lstm, features, state, starts)
    starts[0, 5] = True
    with pytest.raises(TypeError):
        unroll(lstm, features, state, starts)


def test_one_step_equals_the_cells_arithmetic(lstm):
    features, state = torch.randn(B, H), random_state()
    outputs, final = unroll(lstm, features[:, None], state)
    h, c = torch.lstm_cell(
        features,
        (state["h"], state["c"]),
        lstm.weight_ih_l0,
        lstm.weight_hh_l0,
        lstm.bias_ih_l0,
        lstm.bias_hh_l0,
    )
    torch.testing.assert_close(outputs[:, 0], h, rtol=0, atol=1e-6)
    torch.testing.assert_close(final["c"], c, rtol=0, atol=1e-6)
    fresh, _ = unroll(lstm, features[:, None], state, torch.ones(B, 1, dtype=torch.bool))
    expected, _ = unroll(lstm, features[:, None], zero_state(B, L))
    assert torch.equal(fresh, expected)
