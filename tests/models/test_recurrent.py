"""The module keeps RLlib's contract, and learns from what it acted on."""

from __future__ import annotations

import pytest
import torch
from ray.rllib.core.columns import Columns

from models import EPISODE_START

B, T = 8, 16


def log_probs(logits: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1)


def some_starts() -> torch.Tensor:
    """Rows of a game start together, inside and at the first step; some rows never do."""
    starts = torch.zeros(B, T, dtype=torch.bool)
    starts[0:4, 5] = True
    starts[2, 9] = True
    starts[4:6, 0] = True
    return starts


def carried_states(model) -> dict[str, torch.Tensor]:
    return {key: torch.randn_like(value) for key, value in model.initial_states(B).items()}


@pytest.mark.parametrize("encoder", ["small", "mlp"])
@pytest.mark.parametrize("lstm", [True, False])
def test_the_learner_says_what_the_actor_said(make_model, make_observations, encoder, lstm):
    """Log-probabilities and values within 1e-5, with episode starts inside the segment."""
    model = make_model(sharp=True, encoder=encoder, lstm=lstm)
    observations, starts, states = make_observations(B, T), some_starts(), carried_states(model)
    batch = {Columns.OBS: observations, Columns.STATE_IN: states, EPISODE_START: starts}

    acted, values, now = [], [], states
    for t in range(T):
        seen = {key: value[:, t] for key, value in observations.items()}
        logits, value, now = model.act(seen, now, starts[:, t])
        acted.append(logits)
        values.append(value)
    learned = model.forward_train(batch)

    logits = torch.stack(acted, 1)
    assert logits.std() > 0.3  # else the comparison would say little
    torch.testing.assert_close(
        log_probs(learned[Columns.ACTION_DIST_INPUTS]), log_probs(logits), rtol=0, atol=1e-5
    )
    learned_values = model.compute_values(batch, learned[Columns.EMBEDDINGS])
    torch.testing.assert_close(learned_values, torch.stack(values, 1), rtol=0, atol=1e-5)
    for key in now:
        torch.testing.assert_close(learned[Columns.STATE_OUT][key], now[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize("encoder", ["small", "mlp"])
def test_bfloat16_acts_and_learns_alike(make_model, make_observations, encoder):
    """Near float32 but not it; acting and learning within bfloat16's rounding of each other."""
    exact = make_model(sharp=True, encoder=encoder)
    model = make_model(sharp=True, encoder=encoder, precision="bfloat16")
    model.load_state_dict(exact.state_dict())
    observations, states = make_observations(B, T), carried_states(model)
    batch = {Columns.OBS: observations, Columns.STATE_IN: states, EPISODE_START: some_starts()}

    learned = model.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    seen = {key: value[:, 0] for key, value in observations.items()}
    acted, *_ = model.act(seen, states, some_starts()[:, 0])
    in_float32 = exact.forward_train(batch)[Columns.ACTION_DIST_INPUTS]

    assert learned.dtype == acted.dtype == torch.float32
    torch.testing.assert_close(log_probs(learned[:, 0]), log_probs(acted), rtol=0, atol=0.02)
    torch.testing.assert_close(log_probs(learned), log_probs(in_float32), rtol=0, atol=0.1)
    assert not torch.equal(learned, in_float32)
    learned.sum().backward()
    assert all(one.grad.dtype == torch.float32 for one in model.encoder.parameters())


def test_a_foreign_state_changes_nothing_after_an_episode_start(make_model, make_observations):
    """Difference 0, learning and acting."""
    model = make_model(sharp=True)
    observations, starts = make_observations(B, T), some_starts()
    after = starts.cumsum(1).bool()
    answers = [
        model.forward_train(
            {Columns.OBS: observations, Columns.STATE_IN: states, EPISODE_START: starts}
        )
        for states in (carried_states(model), carried_states(model))
    ]
    difference = answers[0][Columns.ACTION_DIST_INPUTS] - answers[1][Columns.ACTION_DIST_INPUTS]
    assert difference[after].abs().max() == 0
    assert difference[~after].abs().max() > 1e-3
    seen = {key: value[:, 0] for key, value in observations.items()}
    acted = [model.act(seen, carried_states(model), starts[:, 0]) for _ in range(2)]
    assert (acted[0][0] - acted[1][0])[starts[:, 0]].abs().max() == 0
    assert (acted[0][1] - acted[1][1])[starts[:, 0]].abs().max() == 0
    assert (acted[0][0] - acted[1][0])[~starts[:, 0]].abs().max() > 1e-3


def test_values_need_no_second_pass(make_model, make_observations, monkeypatch):
    model = make_model()
    batch = {
        Columns.OBS: make_observations(B, T),
        Columns.STATE_IN: carried_states(model),
        EPISODE_START: some_starts(),
    }
    answer = model.forward_train(batch)
    alone = model.compute_values(batch)
    assert alone.shape == (B, T)
    monkeypatch.setattr(model, "encoder", None)
    assert torch.equal(model.compute_values(batch, answer[Columns.EMBEDDINGS]), alone)


def test_stateful_or_not(make_model, make_observations):
    remembering, present = make_model(lstm_size=96), make_model(lstm=False)
    assert remembering.is_stateful() and not present.is_stateful()
    assert {k: v.shape for k, v in remembering.get_initial_state().items()} == {
        "h": (96,),
        "c": (96,),
    }
    assert present.get_initial_state() == present.initial_states(3) == {}
    answer = present.forward_exploration({Columns.OBS: make_observations(B)})
    assert set(answer) == {Columns.ACTION_DIST_INPUTS}  # all that an episode should store
    assert answer[Columns.ACTION_DIST_INPUTS].shape == (B, 6)


def test_acting_as_rllib_does(make_model, make_observations):
    """One time step with its axis, or none: the same; without a graph."""
    model = make_model(sharp=True)
    states, observations = carried_states(model), make_observations(B)
    logits, _, after = model.act(observations, states)
    with_axis = {key: value[:, None] for key, value in observations.items()}
    for forward in (model.forward_inference, model.forward_exploration):
        answer = forward({Columns.OBS: with_axis, Columns.STATE_IN: states})
        assert set(answer) == {Columns.ACTION_DIST_INPUTS, Columns.STATE_OUT}
        assert torch.equal(answer[Columns.ACTION_DIST_INPUTS][:, 0], logits)
        assert torch.equal(answer[Columns.STATE_OUT]["c"], after["c"])
        assert not answer[Columns.ACTION_DIST_INPUTS].requires_grad


def test_parameter_counts(make_model, capsys):
    """`blog` has the original experiment's 0.77 M."""
    counts = {
        f"{encoder}{'' if lstm else ' without lstm'}": sum(
            parameter.numel() for parameter in make_model(encoder=encoder, lstm=lstm).parameters()
        )
        for encoder in ("small", "blog", "mlp")
        for lstm in (True, False)
    }
    with capsys.disabled():
        print("\nparameters:", ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    assert counts["blog"] == pytest.approx(0.77e6, rel=0.01)
    assert counts["small"] == 178_455


def test_every_action_is_about_equally_likely_at_first(make_model, make_observations):
    answer = make_model().forward_inference(
        {Columns.OBS: make_observations(64), Columns.STATE_IN: make_model().initial_states(64)}
    )
    probabilities = answer[Columns.ACTION_DIST_INPUTS].softmax(-1)
    assert (probabilities - 1 / 6).abs().max() < 0.01


def test_every_parameter_learns_and_weights_travel(make_model, make_observations):
    model, other = make_model(), make_model()
    batch = {Columns.OBS: make_observations(B, T), Columns.STATE_IN: carried_states(model)}
    answer = model.forward_train(batch)
    values = model.compute_values(batch, answer[Columns.EMBEDDINGS])
    (answer[Columns.ACTION_DIST_INPUTS].square().sum() + values.square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    other.set_state(model.get_state())
    assert torch.equal(other.compute_values(batch), model.compute_values(batch))


def test_a_batch_that_lacks_something_is_refused(make_model, make_observations):
    model = make_model()
    observations, states = make_observations(B, T), model.initial_states(B)
    with pytest.raises(ValueError, match="no 'state_in' but the model remembers"):
        model.forward_train({Columns.OBS: observations})
    wrong = {
        Columns.OBS: observations,
        Columns.STATE_IN: states,
        EPISODE_START: torch.zeros(B, dtype=torch.bool),
    }
    with pytest.raises(ValueError, match=r"episode_start has shape \(8,\).*\(8, 16\)"):
        model.forward_train(wrong)
    with pytest.raises(ValueError, match="give it a batch axis"):
        model.act({key: value[0, 0] for key, value in observations.items()}, states)
