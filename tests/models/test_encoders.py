"""Bytes are names, the grid keeps its shape, and pieces change nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models import build_encoder, parse_grid_channels
from models.encoders import GridPlanes, _least_padding

NUM_VALUES = (2, 2, 8, 16, 5)
SHAPE = (5, 14, 25)


@pytest.fixture
def parsed(channels):
    return parse_grid_channels({"grid_channels": channels}, len(channels))


def by_comparison(grid: torch.Tensor, num_values) -> torch.Tensor:
    """One-hot planes as one would write them down, without a table."""
    planes = [
        F.one_hot(grid[:, index].long(), values)[..., 1:] for index, values in enumerate(num_values)
    ]
    return torch.cat(planes, -1).permute(0, 3, 1, 2).float()


def test_onehot_planes_equal_a_comparison(parsed, make_observations):
    grid = make_observations(7)["grid"]
    planes = GridPlanes(parsed, 0)
    assert planes.num_planes == 28
    assert torch.equal(planes(grid), by_comparison(grid, NUM_VALUES))
    assert planes(torch.zeros_like(grid)).abs().max() == 0


def test_learned_planes_are_a_linear_map_of_onehot_planes(parsed, make_observations):
    """Value and gradient: so no plane depends on how large a category's number is."""
    grid = make_observations(7)["grid"]
    planes = GridPlanes(parsed, 8)
    out = planes(grid)
    weight = planes.weight.detach().clone().requires_grad_()
    expected = torch.einsum("nchw,cd->ndhw", by_comparison(grid, NUM_VALUES), weight)
    assert out.shape == (7, 8, 14, 25)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    upstream = torch.randn_like(out)
    out.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(planes.weight.grad, weight.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["small", "blog", "mlp"])
def test_renaming_categories_with_their_vectors_changes_nothing(parsed, make_observations, name):
    """A category's numbers are names: permuted, with the vectors permuted alike, nothing moves."""
    grid = make_observations(6)["grid"]
    encoder = build_encoder(name, SHAPE, parsed)
    before = encoder(grid)

    renamed = grid.clone()
    first_column = 2  # of channel 2, behind the two flags
    for channel in (2, 3, 4):
        num_names = NUM_VALUES[channel] - 1
        new_name = torch.randperm(num_names)
        table = torch.cat([torch.zeros(1, dtype=torch.long), new_name + 1])
        renamed[:, channel] = table[grid[:, channel].long()].to(torch.uint8)
        columns = slice(first_column, first_column + num_names)
        with torch.no_grad():
            old = encoder.planes.weight[columns].clone()
            encoder.planes.weight[columns][new_name] = old
        first_column += num_names
    assert not torch.equal(renamed, grid)
    assert torch.equal(encoder(renamed), before)


def test_many_categories_get_several_tables():
    listed = [{"name": str(i), "kind": "category", "num_values": 250} for i in range(3)]
    listed.insert(1, {"name": "flag", "kind": "flag"})
    parsed = parse_grid_channels({"grid_channels": listed}, 4)
    planes = GridPlanes(parsed, 0)
    assert [len(table) for table in planes.tables()] == [500, 250, 250]
    grid = torch.randint(0, 2, (3, 4, 5, 6), dtype=torch.uint8)
    grid[:, [0, 2, 3]] = torch.randint(0, 250, (3, 3, 5, 6), dtype=torch.uint8)
    assert torch.equal(planes(grid), by_comparison(grid, (250, 2, 250, 250)))


def test_the_cnn_sees_what_lies_beside_what_and_leaves_no_cell_unseen(parsed):
    """Every cell, the edges included, reaches the features."""
    for name in ("small", "blog"):
        torch.manual_seed(1)
        encoder = build_encoder(name, SHAPE, parsed)
        planes = torch.randn(1, encoder.planes.num_planes, 14, 25, requires_grad=True)
        encoder.body(planes).sum().backward()
        assert (planes.grad.abs().sum(1) > 0).all(), name
        assert any(isinstance(layer, torch.nn.Conv2d) for layer in encoder.body)
        # One convolution: far from the one cell that changed, nothing changes.
        changed = planes.detach().clone()
        changed[..., 0, 0] += 1.0
        convolution = encoder.body[0]
        moved = (convolution(changed) - convolution(planes.detach())).abs().sum(1)[0]
        assert moved[0, 0] > 0 and moved[2:].max() == 0 and moved[:, 2:].max() == 0


def test_least_padding_covers_every_cell():
    for cells in range(1, 40):
        for kernel, stride in ((5, 3), (3, 2), (3, 1)):
            (padding,) = _least_padding((cells,), kernel, stride)
            seen = (cells + 2 * padding - kernel) // stride * stride + kernel - padding
            assert seen >= cells and padding < kernel


def test_pieces_of_a_batch_change_nothing(parsed, make_observations):
    grid = make_observations(50)["grid"]
    encoder = build_encoder("small", SHAPE, parsed)
    whole = encoder(grid)
    whole.square().sum().backward()
    expected = encoder.planes.weight.grad.clone()
    encoder.zero_grad()
    encoder.piece_size = 16
    pieces = encoder(grid)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6)
    pieces.square().sum().backward()
    torch.testing.assert_close(encoder.planes.weight.grad, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_grid_that_breaks_its_promise_is_refused(parsed, make_observations, in_one_step):
    encoder = build_encoder("small", SHAPE, parsed)
    if not in_one_step:
        encoder.fused = None
    grid = make_observations(2)["grid"]
    with pytest.raises(ValueError, match=r"arrives as torch.float32: hand it over as torch.uint8"):
        encoder(grid.float())
    wrong = grid.clone()
    wrong[1, 4, 3, 3] = 5
    with pytest.raises(ValueError, match=r"'thing' holds the value 5 .* category of 5 values"):
        encoder(wrong)
    wrong = grid.clone()
    wrong[0, 0, 3, 3] = 255
    with pytest.raises(ValueError, match=r"'solid' holds the value 255 .* flag of 2 values"):
        encoder(wrong)
    with pytest.raises(ValueError, match="can't read a grid of 2 x 9"):
        build_encoder("blog", (5, 2, 9), parsed)
