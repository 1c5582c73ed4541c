"""A fused LSTM over segments in which episodes may start anywhere.

An `nn.LSTM` call knows no episodes: what it remembers flows across their boundaries. Masking the
state means leaving the fused call at every boundary; an input that shuts the forget gate clears c
but not h, which still reaches the gates through the recurrent weights. What works exactly inside
one fused call is a **dummy step** before each episode start, whose gates are all held shut:

    i = f = o = sigmoid(-10,000) = 0   =>   c' = 0 * c + 0 * g = 0,   h' = 0 * tanh(c') = 0

The gates are frozen by one extra input, 1 in the dummy step and 0 elsewhere, whose weights are
constants and no parameters. Rows with fewer starts than others are filled up at their end with
steps that hold c (f = 1, i = o = 0), so that the final state is right as well. sigmoid is exactly
0 or 1 there, and so is its derivative 0: neither value nor gradient crosses an episode start.

Microseconds a step on one core of an AMD EPYC (Zen 4) with torch 2.13, B = 32, T = 64, sizes 128,
forward / forward and backward; one episode start in 60 to 150 steps:

                                 no start inside   4 rows together   rows alone   many (54 starts)
    nn.LSTM, no resets (wrong)       2.8 /  9.1       2.8 /  9.1      3.0 /  9.7      3.0 / 10.0
    dummy steps (this file)          3.0 /  9.2       3.2 / 10.4      3.5 / 10.5      3.2 / 10.1
    cut where any row starts         3.2 /  9.3       3.2 / 10.6      4.6 / 15.1      5.7 / 18.2
    split rows, padded               3.2 / 10.0       5.0 / 15.0      5.1 / 15.9      8.1 / 31.1
    split rows, packed               3.4 / 10.3       5.3 / 23.1      5.7 / 24.2      5.5 / 26.1
    Python loop over time            5.4 / 21.2       5.6 / 22.7      5.4 / 21.1      5.4 / 22.6
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
"""An LSTM's state: `h` and `c`, float32 (B, L) each."""

# Large enough for exactly 0 and 1 in float32, bfloat16 and float16, whatever the other inputs to
# a gate add to it; finite, so that 0 * BIG is 0.
_SHUT = 1e4


def zero_state(num_rows: int, lstm_size: int, *, like: Tensor | None = None) -> State:
    """The state that every episode starts with: zeros (num_rows, lstm_size), h and c.

    Args:
        num_rows: Rows of the batch.
        lstm_size: Width of the state.
        like: A tensor whose dtype and device to take; float32 on the CPU if None.
    """
    make = torch.zeros if like is None else like.new_zeros
    return {"h": make((num_rows, lstm_size)), "c": make((num_rows, lstm_size))}


def unroll(
    lstm: nn.LSTM, features: Tensor, state: State, episode_start: Tensor | None = None
) -> tuple[Tensor, State]:
    """Runs an LSTM over segments, forgetting everything at every episode start.

    One fused call, whatever starts where; without starts after the first step it is `nn.LSTM`
    itself. T = 1 is the step of acting: the fused call is as fast there as the cell's arithmetic
    written out (256 rows: 3.2 against 3.6 microseconds a row).

    Args:
        lstm: One layer, one direction, `batch_first`, with biases, no dropout.
        features: float (B, T, H).
        state: Before the first step; `h` and `c`, float (B, L) each.
        episode_start: bool (B, T), true where a step is the first of its episode: what was
            remembered before it doesn't reach it or anything later, also for the first step and
            `state`. None: no episode starts.

    Returns:
        outputs: float (B, T, L), h after every step.
        final_state: After the last step.
    """
    h, c = state["h"], state["c"]
    if episode_start is None:
        return _run(lstm, features, h, c)
    # `where`, not a product, so that not even a NaN survives.
    forget = episode_start[:, :1]
    h = torch.where(forget, 0.0, h)
    c = torch.where(forget, 0.0, c)
    starts_before = episode_start[:, 1:].cumsum(1)
    num_dummies = int(starts_before[:, -1].max()) if starts_before.shape[1] else 0
    if num_dummies == 0:
        return _run(lstm, features, h, c)

    num_rows, num_steps, width = features.shape
    num_slots = num_steps + num_dummies
    # Step t of a row goes to slot t plus the number of dummy steps up to t.
    slot = torch.arange(num_steps, device=features.device).repeat(num_rows, 1)
    slot[:, 1:] += starts_before
    rows = torch.arange(num_rows, device=features.device)[:, None]
    step_to_slot = (rows * num_slots + slot).flatten()
    # Slots without a step copy step 0: their gates are shut, so it counts for nothing.
    slot_to_step = step_to_slot.new_zeros(num_rows * num_slots)
    slot_to_step[step_to_slot] = torch.arange(num_rows * num_steps, device=features.device)
    inputs = features.flatten(0, 1).index_select(0, slot_to_step)

    empty = torch.ones_like(slot_to_step, dtype=torch.bool)
    empty[step_to_slot] = False
    hold = torch.arange(num_slots, device=features.device) > slot[:, -1:]
    reset = empty.view(num_rows, num_slots) & ~hold
    switches = torch.stack([reset, hold], -1).to(features.dtype)

    outputs, final = _run(
        lstm,
        torch.cat([inputs.view(num_rows, num_slots, width), switches], -1),
        h,
        c,
        weight_ih=torch.cat([lstm.weight_ih_l0, _switch_weights(lstm)], 1),
    )
    outputs = outputs.flatten(0, 1).index_select(0, step_to_slot)
    outputs = outputs.view(num_rows, num_steps, lstm.hidden_size)
    return outputs, {"h": outputs[:, -1], "c": final["c"]}


def _switch_weights(lstm: nn.LSTM) -> Tensor:
    """Constant input weights (4 L, 2) of the switches `reset` and `hold`, gates i, f, g, o."""
    gates = lstm.weight_ih_l0.new_tensor([[-1, -1], [-1, 1], [0, 0], [-1, -1]]) * _SHUT
    return gates.repeat_interleave(lstm.hidden_size, 0)


def _run(
    lstm: nn.LSTM, inputs: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor | None = None
) -> tuple[Tensor, State]:
    """The fused call itself, with other input weights if given."""
    initial = (h[None].contiguous(), c[None].contiguous())
    if weight_ih is None:
        outputs, (h, c) = lstm(inputs, initial)
    else:
        weights = [weight_ih, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0]
        # biases, layers, dropout, training, bidirectional, batch_first
        outputs, h, c = torch.lstm(
            inputs, initial, weights, True, 1, 0.0, lstm.training, False, True
        )
    return outputs, {"h": h[0], "c": c[0]}
