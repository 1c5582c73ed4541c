"""From a grid of bytes to a vector of features.

A channel's byte is a flag or a category, never a magnitude. `GridPlanes` looks every cell's bytes
up in a table and gives planes of floats; what follows is an ordinary CNN (or, as a baseline, an
MLP), so that the grid keeps its shape.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.config import EncoderName, GridChannel
from models.grid_conv import GridConvShape, convolve, find_rows, make_table

# Channels are looked up together as long as the table of their combinations has no more rows.
_MAX_TABLE_ROWS = 4096

# Large batches pass in pieces whose largest activation is about this big: it is still in a cache
# when the next layer reads it, and the C allocator doesn't hand it back to the system, as it does
# with blocks beyond 32 MiB, which then cost fresh pages in every step. Microseconds a sample,
# forward and backward, 512 samples of `blog`: 177 in one piece, 111 at 12 MiB, 98 at 4, 112 at 1.
# `small` doesn't mind (3.6 to 3.8).
_PIECE_BYTES = 4 << 20


class GridPlanes(nn.Module):
    """Turns bytes into planes of floats, one vector a cell.

    Each flag and each value of a category but 0, "nothing there", has a vector; a cell's planes
    are the sum of what is in it, so an empty cell is all zeros. With `num_planes` 0 the vectors
    are the unit vectors: one-hot planes. Otherwise they are learned, which is the one-hot planes
    followed by a linear 1x1 convolution, without ever writing the one-hot planes.

    All channels of a cell are looked up at once, as one number in a table of all combinations (of
    several such tables if there are too many). Microseconds a sample, 28 one-hot columns, one core
    of an AMD EPYC (Zen 4), 2,048 samples of 5 x 14 x 25: one-hot by comparison 26, in pieces 9;
    one-hot by table 22, in pieces 2.6; 8 learned planes by table 1.5, by `embedding_bag` 4.9.

    Args:
        channels: What the grid's channels mean, in its order.
        num_planes: Length of the learned vectors; 0 for one-hot planes.
    """

    def __init__(self, channels: Sequence[GridChannel], num_planes: int) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.num_onehot = sum(channel.num_values - 1 for channel in channels)
        self.num_planes = num_planes or self.num_onehot
        self.weight = None
        if num_planes:
            weight = torch.randn(self.num_onehot, num_planes) / math.sqrt(num_planes)
            self.weight = nn.Parameter(weight)
        self._groups = _group(self.channels)
        for index, group in enumerate(self._groups):
            # Not saved with the weights: it follows from the channels.
            self.register_buffer(f"_onehot_{index}", self._onehot(group), persistent=False)

    def tables(self) -> list[Tensor]:
        """The planes of every combination of bytes, float (rows, num_planes) for each group."""
        onehot = [getattr(self, f"_onehot_{index}") for index in range(len(self._groups))]
        return onehot if self.weight is None else [rows @ self.weight for rows in onehot]

    def of_combinations(self, rows: Tensor) -> Tensor:
        """The planes of some rows (U,) of the only table, float32 (U, num_planes)."""
        onehot = self._onehot_0[rows]
        return onehot if self.weight is None else onehot @ self.weight

    def forward(self, grid: Tensor, tables: Sequence[Tensor] | None = None) -> Tensor:
        """Looks a grid up.

        Args:
            grid: uint8 (N, C, height, width).
            tables: What `tables()` gave, to share it between pieces of a batch.

        Returns:
            float32 (N, num_planes, height, width), channels-last in memory.
        """
        tables = self.tables() if tables is None else tables
        found = [
            _Lookup.apply(table, self._row(grid, group))
            for table, group in zip(tables, self._groups, strict=True)
        ]
        # No `sum()`: it starts by adding 0, a pass over everything.
        return functools.reduce(torch.add, found).permute(0, 3, 1, 2)

    def check(self, grid: Tensor) -> None:
        """Refuses a grid (N, C, height, width) that isn't what the channels promise.

        The values are looked at on the CPU only (0.1 microseconds a sample), where that doesn't
        stall a queue of work.

        Raises:
            ValueError: The grid isn't uint8, or a value is too large for its channel.
        """
        if grid.dtype != torch.uint8:
            raise ValueError(
                f"the grid arrives as {grid.dtype}: hand it over as torch.uint8, unscaled, since"
                " its values are names and not magnitudes."
            )
        if grid.device.type != "cpu":
            return
        for index, channel in enumerate(self.channels):
            largest = int(grid[:, index].max())
            if largest >= channel.num_values:
                raise ValueError(
                    f"grid channel {channel.name!r} holds the value {largest} but is declared as a"
                    f" {channel.kind} of {channel.num_values} values: correct the environment's"
                    " list of channels or its observations."
                )

    def _row(self, grid: Tensor, group: Sequence[int]) -> Tensor:
        """Table row of every cell, int32 (N, height, width): bytes as digits of mixed base."""
        # A group has at most _MAX_TABLE_ROWS rows, or is a single byte: 16 bits are enough.
        row = grid[:, group[0]].to(torch.int16)
        for index in group[1:]:
            row = row.mul_(self.channels[index].num_values).add_(grid[:, index])
        return row.int()

    def _onehot(self, group: Sequence[int]) -> Tensor:
        """One-hot planes of every table row, float32 (rows, num_onehot)."""
        num_values = [channel.num_values for channel in self.channels]
        digits = torch.cartesian_prod(*[torch.arange(num_values[index]) for index in group])
        digits = digits.view(-1, len(group))  # cartesian_prod of one is flat
        columns = [
            F.one_hot(digits[:, group.index(index)], values)[:, 1:]
            if index in group
            else digits.new_zeros(len(digits), values - 1)
            for index, values in enumerate(num_values)
        ]
        return torch.cat(columns, 1).float()


def _group(channels: Sequence[GridChannel]) -> list[list[int]]:
    """Neighbouring channels in groups whose values have few enough combinations."""
    groups: list[list[int]] = []
    rows = 0
    for index, channel in enumerate(channels):
        if groups and rows * channel.num_values <= _MAX_TABLE_ROWS:
            groups[-1].append(index)
            rows *= channel.num_values
        else:
            groups.append([index])
            rows = channel.num_values
    return groups


class _Lookup(torch.autograd.Function):
    """`F.embedding` with a quicker way back on a CPU: 3.8 against 18 microseconds a sample."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, row: Tensor) -> Tensor:
        ctx.save_for_backward(row)
        ctx.table_shape = table.shape
        return F.embedding(row, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None
        (row,) = ctx.saved_tensors
        table = grad.new_zeros(ctx.table_shape)
        rows = grad.reshape(-1, grad.shape[-1])
        return table.index_put_((row.flatten().long(),), rows, accumulate=True), None


class GridEncoder(nn.Module):
    """Planes, then a network that ends in a vector.

    On a CPU the planes, a convolution that reads them and its ReLU are one step that makes no
    planes and computes in float32, see `models.grid_conv`; elsewhere they are ordinary layers. Both
    give the same features and gradients but for rounding.

    Args:
        planes: From bytes to floats.
        body: From float (N, planes, height, width) to float (N, num_features).
        piece_size: Samples that pass together on a CPU.
        num_features: Length of the vector.
        fused: Shape of that one step, which replaces the planes and the body's first two layers, a
            convolution and a ReLU; None for ordinary layers everywhere.
    """

    def __init__(
        self,
        planes: GridPlanes,
        body: nn.Sequential,
        *,
        piece_size: int,
        num_features: int,
        fused: GridConvShape | None = None,
    ) -> None:
        super().__init__()
        self.planes = planes
        self.body = body
        self.piece_size = piece_size
        self.num_features = num_features
        self.fused = fused

    def forward(self, grid: Tensor) -> Tensor:
        """Encodes uint8 (N, C, height, width) as float32 (N, num_features)."""
        pieces = self._in_one_step(grid) if self._can_fuse(grid) else self._by_layers(grid)
        features = list(pieces)
        return features[0] if len(features) == 1 else torch.cat(features)

    def _can_fuse(self, grid: Tensor) -> bool:
        return (
            self.fused is not None
            and grid.dtype == torch.uint8
            and grid.shape[1:] == self.fused.grid_shape
            and grid.device == self.body[0].weight.device == torch.device("cpu")
            and self.body[0].weight.dtype == torch.float32
        )

    def _in_one_step(self, grid: Tensor) -> Iterator[Tensor]:
        found = find_rows(self.fused, grid)
        if found is None:
            self.planes.check(grid)  # it says what is wrong
            raise AssertionError("a byte was refused that is a value of its channel")
        rows, used = found
        convolution, _, *rest = self.body
        with torch.autocast("cpu", enabled=False):
            table = make_table(self.planes.of_combinations(used), convolution.weight)
        for piece in rows.split(self.piece_size):
            features = convolve(self.fused, piece, table, convolution.bias)
            for layer in rest:
                features = layer(features)
            yield features

    def _by_layers(self, grid: Tensor) -> Iterator[Tensor]:
        self.planes.check(grid)
        tables = self.planes.tables()
        # What is one step elsewhere computes in float32 there; so it does here.
        exact, rest = (self.body[:2], self.body[2:]) if self.fused else (self.body[:0], self.body)
        for piece in grid.split(self.piece_size if grid.device.type == "cpu" else len(grid)):
            with torch.autocast(grid.device.type, enabled=False):
                features = exact(self.planes(piece, tables))
            yield rest(features)


def build_encoder(
    name: EncoderName,
    grid_shape: tuple[int, int, int],
    channels: Sequence[GridChannel],
    *,
    num_planes: int = 8,
    hidden_size: int = 128,
) -> GridEncoder:
    """Builds an encoder for grids of one shape.

    Microseconds a sample of 5 x 14 x 25, planes included, forward / forward and backward, 2,048
    samples, one core of an AMD EPYC (Zen 5): `small` 1.1 / 3.8, `mlp` 11 / 31,
    `blog` 35 / 137 (512 samples: 27 / 98). In ordinary layers `small` 3.5 / 17, `blog` 45 / 240.

    Args:
        name: `small`: 16 channels 5x5 stride 3, then 32 channels 3x3 stride 2, each with the least
            padding that leaves no cell unseen. `blog`: 64 channels 3x3 stride 1, then 64 channels
            3x3 stride 2. `mlp`: one layer on the flattened planes.
        grid_shape: (C, height, width).
        channels: What the grid's channels mean, in its order.
        num_planes: See `GridPlanes`.
        hidden_size: Width of the `mlp`'s layer.

    Raises:
        ValueError: The grid is too small for the encoder.
    """
    _, height, width = grid_shape
    planes = GridPlanes(channels, num_planes)
    depth = planes.num_planes
    if name == "mlp":
        body = nn.Sequential(nn.Flatten(), nn.Linear(depth * height * width, hidden_size), _relu())
        fused, widest = None, depth * height * width
    elif name == "blog":
        if min(height, width) < 3:
            raise ValueError(
                f"the blog encoder can't read a grid of {height} x {width}: it needs 3 x 3 or"
                " more, choose 'small' or 'mlp'."
            )
        body = nn.Sequential(
            nn.Conv2d(depth, 64, 3, padding=1),
            _relu(),
            nn.Conv2d(64, 64, 3, stride=2),
            _relu(),
            _FlattenCells(),
        )
        middle = height, width
    else:
        first = nn.Conv2d(depth, 16, 5, stride=3, padding=_least_padding((height, width), 5, 3))
        middle = first(torch.zeros(1, depth, height, width)).shape[2:]
        second = nn.Conv2d(16, 32, 3, stride=2, padding=_least_padding(middle, 3, 2))
        body = nn.Sequential(first, _relu(), second, _relu(), _FlattenCells())
    if name != "mlp":
        num_values = [channel.num_values for channel in channels]
        fused = GridConvShape.of(body[0], num_values, height, width)
        widest = int(body[0].out_channels) * math.prod(middle)
        if fused is None:  # the planes are made
            widest = max(widest, depth * height * width)
    with torch.no_grad():
        num_features = body(torch.zeros(1, depth, height, width)).shape[1]
    piece_size = max(1, _PIECE_BYTES // (4 * widest))
    return GridEncoder(planes, body, piece_size=piece_size, num_features=num_features, fused=fused)


class _FlattenCells(nn.Module):
    """Features (N, D, height, width) as (N, height * width * D), the order in which convolutions on
    a CPU leave them: 8 to 10% of an encoder's time went into the reordering of `nn.Flatten`."""

    def forward(self, features: Tensor) -> Tensor:
        return features.permute(0, 2, 3, 1).flatten(1)


def _least_padding(size: Sequence[int], kernel: int, stride: int) -> tuple[int, ...]:
    """The least padding per axis with which a strided convolution leaves no cell unseen."""
    padding = []
    for cells in size:
        windows = max(0, math.ceil((cells - kernel) / stride)) + 1
        padding.append(math.ceil(((windows - 1) * stride + kernel - cells) / 2))
    return tuple(padding)


def _relu() -> nn.ReLU:
    return nn.ReLU(inplace=True)
