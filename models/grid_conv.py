"""The first convolution of a grid of named bytes, without ever making its planes.

What a cell adds to the outputs that see it depends on the combination of its bytes alone. With the
combinations that occur in a batch (a few dozen) in a table,

    table[u, k] = planes[u] @ weight[k]     (U, K, O): combination, kernel offset, output
    out[p] = relu(bias + sum of table[u of the cell at offset k from p, k] over k)

the convolution is loads and adds (`native/grid_conv.h`), and the way back adds gradients into the
table, from where matrix products carry them on. Microseconds a sample of 5 x 14 x 25 on one core of
an AMD EPYC (Zen 5), numbering of combinations / forward / backward: 16 outputs, 5 x 5 cells, stride
3: 0.28 / 0.35 / 0.5; 64 outputs, 3 x 3, stride 1: 0.28 / 3.6 / 7.4. With planes and `nn.Conv2d`
these layers took 13 of the 17 microseconds of the encoder `small`. The table is made anew in every
call, 15 to 20 microseconds for up to 64 combinations, so none can be out of date.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_T = TypeVar("_T")

# Fewer samples than this aren't worth another thread.
_SAMPLES_A_THREAD = 64


@functools.cache
def _native() -> ModuleType:
    """The compiled library, `.ffi` and `.lib`; built on first use if need be."""
    from native import build

    return build.load()


@dataclass(frozen=True, kw_only=True)
class GridConvShape:
    """Sizes of a convolution, see `grid_conv_shape` in `native/grid_conv.h`."""

    num_values: tuple[int, ...]
    """Values that each channel's byte can take, in the grid's order."""
    height: int
    """Cells."""
    width: int
    """Cells."""
    kernel: tuple[int, int]
    """Cells along both axes."""
    stride: int
    """Cells, the same along both axes."""
    padding: tuple[int, int]
    """Empty cells added at each end of both axes."""
    num_outputs: int
    """Features a position; a multiple of 16."""

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return len(self.num_values), self.height, self.width

    @property
    def out_size(self) -> tuple[int, int]:
        """Rows and columns of outputs."""
        rows, columns = (
            (cells + 2 * padding - kernel) // self.stride + 1
            for cells, padding, kernel in zip(
                (self.height, self.width), self.padding, self.kernel, strict=True
            )
        )
        return rows, columns

    @classmethod
    def of(
        cls, convolution: nn.Conv2d, num_values: Sequence[int], height: int, width: int
    ) -> GridConvShape | None:
        """The shape of a convolution, without dilation and groups, that reads a grid's planes.

        None if the C code doesn't do it: too many combinations of bytes, outputs that aren't a
        multiple of 16, or strides that differ.
        """
        native = _native().lib
        if (
            math.prod(num_values) > native.GRID_CONV_MAX_ROWS
            or convolution.out_channels % native.GRID_CONV_BLOCK
            or convolution.stride[0] != convolution.stride[1]
        ):
            return None
        return cls(
            num_values=tuple(num_values),
            height=height,
            width=width,
            kernel=convolution.kernel_size,
            stride=convolution.stride[0],
            padding=convolution.padding,
            num_outputs=convolution.out_channels,
        )


@functools.cache
def _in_c(shape: GridConvShape) -> Any:
    sizes = {
        "num_channels": len(shape.num_values),
        "height": shape.height,
        "width": shape.width,
        "kernel_rows": shape.kernel[0],
        "kernel_columns": shape.kernel[1],
        "stride": shape.stride,
        "pad_rows": shape.padding[0],
        "pad_columns": shape.padding[1],
        "num_outputs": shape.num_outputs,
    }
    return _native().ffi.new("grid_conv_shape *", sizes)


def find_rows(shape: GridConvShape, grid: Tensor) -> tuple[Tensor, Tensor] | None:
    """Numbers the combinations of bytes that occur in a grid.

    Args:
        shape: Sizes; the kernel and its outputs play no part.
        grid: uint8 (N, C, height, width).

    Returns:
        rows: int16 (N, height + padding, width + padding), each cell's number; 0 where it is empty.
        used: int64 (U,), each number's bytes as digits of the mixed base `num_values`.

        None if a byte is no value of its channel.
    """
    ffi, lib = _native().ffi, _native().lib
    grid = grid.contiguous()
    size = (shape.height + 2 * shape.padding[0], shape.width + 2 * shape.padding[1])
    rows = torch.empty((len(grid), *size), dtype=torch.int16)
    used = torch.empty(lib.GRID_CONV_MAX_ROWS, dtype=torch.int32)
    scratch = torch.empty(lib.GRID_CONV_MAX_ROWS + shape.height * shape.width, dtype=torch.int16)
    num_used = ffi.new("int32_t *")
    status = lib.grid_conv_rows(
        _in_c(shape),
        shape.num_values,
        _pointer("uint8_t *", grid),
        len(grid),
        _pointer("uint16_t *", rows),
        _pointer("int32_t *", used),
        num_used,
        _pointer("uint16_t *", scratch),
    )
    if status == lib.GRID_CONV_BAD_BYTE:
        return None
    assert status == lib.GRID_CONV_OK, f"{shape} makes no sense"
    return rows, used[: num_used[0]].long()


def make_table(planes: Tensor, weight: Tensor) -> Tensor:
    """What a cell adds, float32 (U, K, O), from its planes (U, D) and a weight (O, D, ., .)."""
    num_outputs, depth = weight.shape[:2]
    offsets = weight.permute(1, 2, 3, 0).reshape(depth, -1)
    return (planes @ offsets).view(len(planes), -1, num_outputs)


def convolve(shape: GridConvShape, rows: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """The convolution and its ReLU, from `find_rows` and `make_table`.

    Differentiable in table and bias. With several torch threads each takes its part of the samples,
    and their gradients are added up in a fixed order.

    Args:
        shape: Sizes.
        rows: int16 (N, height + padding, width + padding), contiguous, each below U.
        table: float32 (U, K, O), zero for number 0.
        bias: float32 (O,).

    Returns:
        float32 (N, O, rows, columns), channels-last in memory.
    """
    return _Convolve.apply(shape, rows, table, bias).permute(0, 3, 1, 2)


class _Convolve(torch.autograd.Function):
    """`convolve` with outputs (N, rows, columns, O)."""

    @staticmethod
    def forward(
        ctx: Any, shape: GridConvShape, rows: Tensor, table: Tensor, bias: Tensor
    ) -> Tensor:
        table, bias = table.contiguous(), bias.contiguous()
        out = table.new_empty((len(rows), *shape.out_size, shape.num_outputs))

        def run(part: slice) -> None:
            _native().lib.grid_conv_forward(
                _in_c(shape),
                _pointer("uint16_t *", rows[part]),
                part.stop - part.start,
                _pointer("float *", table),
                _pointer("float *", bias),
                _pointer("float *", out[part]),
            )

        _in_parts(len(rows), run)
        ctx.save_for_backward(rows, out)
        ctx.shape, ctx.table_shape = shape, table.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, Tensor]:
        rows, out = ctx.saved_tensors
        grad = grad.contiguous()

        def run(part: slice) -> tuple[Tensor, Tensor]:
            table, bias = grad.new_zeros(ctx.table_shape), grad.new_zeros(ctx.shape.num_outputs)
            _native().lib.grid_conv_backward(
                _in_c(ctx.shape),
                _pointer("uint16_t *", rows[part]),
                part.stop - part.start,
                _pointer("float *", out[part]),
                _pointer("float *", grad[part]),
                _pointer("float *", table),
                _pointer("float *", bias),
            )
            return table, bias

        tables, biases = zip(*_in_parts(len(rows), run), strict=True)
        return None, None, functools.reduce(torch.add, tables), functools.reduce(torch.add, biases)


def _pointer(kind: str, tensor: Tensor) -> Any:
    return _native().ffi.cast(kind, tensor.data_ptr())


@functools.cache
def _pool(num_threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="grid_conv")


def _in_parts(num_samples: int, run: Callable[[slice], _T]) -> list[_T]:
    """Calls `run` on each thread's part of the samples; what it gave, in their order."""
    threads = max(1, min(torch.get_num_threads(), num_samples // _SAMPLES_A_THREAD))
    ends = [num_samples * i // threads for i in range(threads + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]
    if threads == 1:
        return [run(parts[0])]
    return list(_pool(threads, os.getpid()).map(run, parts))
