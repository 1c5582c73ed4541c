"""The convolution without planes gives what planes and `nn.Conv2d` give, at every step."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
from torch import Tensor

from models import GridEncoder, build_encoder, parse_grid_channels
from models.grid_conv import convolve, find_rows, make_table

NUM_VALUES = (2, 2, 8, 16, 5)
SHAPE = (5, 14, 25)


@pytest.fixture
def parsed(channels):
    return parse_grid_channels({"grid_channels": channels}, len(channels))


def random_grid(num_samples: int) -> Tensor:
    """Every byte of every channel, about half of the cells empty."""
    grid = torch.stack([torch.randint(0, n, (num_samples, *SHAPE[1:])) for n in NUM_VALUES], 1)
    return (grid * (torch.rand(num_samples, 1, *SHAPE[1:]) < 0.5)).to(torch.uint8)


def by_layers(encoder: GridEncoder) -> GridEncoder:
    """The same weights, in ordinary layers."""
    plain = copy.deepcopy(encoder)
    plain.fused = None
    return plain


def run(encoder: GridEncoder, grid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Features, and the gradients of something that isn't linear in them."""
    encoder.zero_grad()
    features = encoder(grid)
    weights = torch.linspace(-1, 1, features.numel()).view_as(features)
    (features.square() * weights + features).mean().backward()
    return features.detach(), {name: p.grad.clone() for name, p in encoder.named_parameters()}


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    """Close on the scale of the largest: entries that nearly cancel carry the sum's rounding."""
    difference, scale = (found - expected).abs().max(), expected.abs().max()
    assert difference <= 1e-5 * scale, f"{what}: {difference} of {scale}"


@pytest.mark.parametrize("num_planes", [8, 0])
@pytest.mark.parametrize("name", ["small", "blog"])
def test_one_step_gives_the_features_and_gradients_of_layers(parsed, name, num_planes):
    encoder = build_encoder(name, SHAPE, parsed, num_planes=num_planes)
    with torch.no_grad():
        encoder.body[0].bias.normal_()
    assert encoder.fused is not None
    grid = random_grid(60)
    assert [int(grid[:, i].max()) + 1 for i in range(5)] == list(NUM_VALUES)
    features, gradients = run(encoder, grid)
    expected_features, expected_gradients = run(by_layers(encoder), grid)
    assert_close(features, expected_features, "features")
    assert gradients.keys() == expected_gradients.keys()
    assert len(gradients) == (5 if num_planes else 4)
    for key, gradient in gradients.items():
        assert_close(gradient, expected_gradients[key], key)


@pytest.mark.parametrize("shape", [(2, 5, 5), (2, 3, 3), (2, 17, 6), (2, 6, 31)])
@pytest.mark.parametrize("name", ["small", "blog"])
def test_grids_of_other_sizes(name, shape):
    listed = [{"name": "flag", "kind": "flag"}]
    listed.append({"name": "kind", "kind": "category", "num_values": 200})
    encoder = build_encoder(name, shape, parse_grid_channels({"grid_channels": listed}, 2))
    flags = torch.randint(0, 2, (30, 1, *shape[1:]))
    grid = torch.cat([flags, torch.randint(0, 200, flags.shape)], 1).to(torch.uint8)
    features, gradients = run(encoder, grid)
    expected_features, expected_gradients = run(by_layers(encoder), grid)
    assert_close(features, expected_features, "features")
    for key, gradient in gradients.items():
        assert_close(gradient, expected_gradients[key], key)


def test_a_grid_that_is_a_view_is_read_as_it_looks(parsed):
    """Axes swapped or every second row: what counts are the values."""
    encoder = build_encoder("small", SHAPE, parsed)
    grid = random_grid(12)
    expected = encoder(grid)
    swapped = grid.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    assert not swapped.is_contiguous() and torch.equal(encoder(swapped), expected)
    assert torch.equal(encoder(grid[::2]), encoder(grid[::2].contiguous()))


def test_changed_weights_count_at_once(parsed):
    """After an optimizer's step, new weights and `.to()`, when acting as well: nothing is kept."""
    encoder = build_encoder("small", SHAPE, parsed)
    grid = random_grid(20)

    def assert_fresh() -> Tensor:
        with torch.no_grad():
            features = encoder(grid)
            assert_close(features, by_layers(encoder)(grid), "features")
        return features

    seen = [assert_fresh()]
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.01, maximize=True)
    for _ in range(2):
        optimizer.zero_grad()
        encoder(grid).square().mean().backward()
        optimizer.step()
        seen.append(assert_fresh())
    encoder.load_state_dict(build_encoder("small", SHAPE, parsed).state_dict())
    seen.append(assert_fresh())
    encoder.planes.weight.data.mul_(2.0)
    seen.append(assert_fresh())
    encoder.to(torch.float64).to(torch.float32)
    encoder.body[0].weight.data = encoder.body[0].weight.data * 0.5
    seen.append(assert_fresh())
    for earlier, later in itertools.pairwise(seen):
        assert (earlier - later).abs().max() > 1e-3


def test_other_number_types_take_the_layers(parsed):
    encoder = build_encoder("small", SHAPE, parsed)
    grid = random_grid(8)
    expected = encoder(grid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(grid)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)
    double = copy.deepcopy(encoder).double()(grid)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected, rtol=1e-5, atol=1e-5)


def test_more_combinations_than_a_table_holds_take_the_layers():
    listed = [{"name": str(i), "kind": "category", "num_values": 250} for i in range(2)]
    encoder = build_encoder("small", (2, 9, 9), parse_grid_channels({"grid_channels": listed}, 2))
    assert encoder.fused is None
    assert encoder(torch.randint(0, 250, (3, 2, 9, 9), dtype=torch.uint8)).shape[0] == 3


def test_threads_share_the_samples(parsed):
    """With any number of them outputs are the same bit for bit, gradients but for rounding and the
    same in every run."""
    encoder = build_encoder("small", SHAPE, parsed)
    grid = random_grid(300)

    def run_threads(num_threads: int) -> tuple[Tensor, Tensor, Tensor]:
        torch.set_num_threads(num_threads)  # the fixture sets it back
        rows, used = find_rows(encoder.fused, grid)
        planes = encoder.planes.of_combinations(used).detach()
        table = make_table(planes, encoder.body[0].weight.detach()).requires_grad_()
        bias = torch.linspace(-0.1, 0.1, 16).requires_grad_()
        out = convolve(encoder.fused, rows, table, bias)
        out.backward(out.detach() - 1.0)
        return out, table.grad, bias.grad

    alone, three, again = run_threads(1), run_threads(3), run_threads(3)
    assert torch.equal(alone[0], three[0])
    for one, first, second in zip(alone, three, again, strict=True):
        assert_close(first, one, "shared")
        assert torch.equal(first, second)
    with torch.inference_mode():
        assert encoder(grid).shape == (300, encoder.num_features)


def test_an_encoder_travels(parsed):
    """Pickled, with gradients off for some weights, for no samples at all."""
    encoder = build_encoder("small", SHAPE, parsed)
    grid = random_grid(5)
    assert torch.equal(pickle.loads(pickle.dumps(encoder))(grid), encoder(grid))
    assert encoder(grid[:0]).shape == (0, encoder.num_features)
    expected = run(encoder, grid)[1]["planes.weight"]
    encoder.body[0].requires_grad_(False)
    encoder.zero_grad(set_to_none=True)
    encoder.body[2].requires_grad_(False)
    features = encoder(grid)
    weights = torch.linspace(-1, 1, features.numel()).view_as(features)
    (features.square() * weights + features).mean().backward()
    assert encoder.body[0].bias.grad is None
    assert torch.equal(encoder.planes.weight.grad, expected)
