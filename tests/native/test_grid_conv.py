"""The convolution of named bytes in C against the same sums in numpy, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from native import build

NATIVE = build.load()
LANES = [lanes for lanes in (4, 8, 16) if lanes <= NATIVE.lib.grid_conv_lanes()]
NUM_VALUES = (2, 2, 8, 16, 5)

# height, width, kernel rows and columns, stride, padding of rows and columns, outputs
SHAPES = [
    (14, 25, 5, 5, 3, 0, 1, 16),
    (14, 25, 3, 3, 1, 1, 1, 64),
    (1, 1, 1, 1, 1, 0, 0, 16),
    (3, 7, 3, 2, 2, 2, 0, 48),
    (6, 5, 6, 5, 4, 0, 0, 80),
    (2, 9, 4, 3, 1, 1, 3, 32),
    (4, 4, 1, 4, 5, 0, 0, 112),
]


def make_shape(sizes: Sequence[int], num_channels: int = len(NUM_VALUES), lanes: int = 0) -> Any:
    return NATIVE.ffi.new("grid_conv_shape *", [num_channels, *sizes, lanes])


def pointer(kind: str, array: NDArray[Any]) -> Any:
    assert array.flags.c_contiguous
    return NATIVE.ffi.cast(f"{kind} *", array.ctypes.data)


def random_grid(
    rng: np.random.Generator, num_samples: int, sizes: Sequence[int]
) -> NDArray[np.uint8]:
    """Every byte of every channel, a third of the cells empty."""
    grid = np.stack(
        [rng.integers(0, values, (num_samples, *sizes[:2])) for values in NUM_VALUES], 1
    )
    return (grid * (rng.random((num_samples, 1, *sizes[:2])) < 0.67)).astype(np.uint8)


def find_rows(
    grid: NDArray[np.uint8], sizes: Sequence[int], num_values: Sequence[int] = NUM_VALUES
) -> tuple[int, NDArray[np.uint16], NDArray[np.int32]]:
    """Status, rows and the combinations used."""
    height, width, _, _, _, pad_rows, pad_columns, _ = sizes
    most = NATIVE.lib.GRID_CONV_MAX_ROWS
    # Values that aren't zero, so that what is left unwritten shows.
    rows = np.full(
        (len(grid), height + 2 * pad_rows, width + 2 * pad_columns), 60_000, dtype=np.uint16
    )
    used = np.full(most, -1, dtype=np.int32)
    scratch = np.full(most + height * width, 7, dtype=np.uint16)
    num_used = NATIVE.ffi.new("int32_t *")
    status = NATIVE.lib.grid_conv_rows(
        make_shape(sizes, len(num_values)),
        list(num_values),
        pointer("uint8_t", grid),
        len(grid),
        pointer("uint16_t", rows),
        pointer("int32_t", used),
        num_used,
        pointer("uint16_t", scratch),
    )
    return status, rows, used[: num_used[0]]


def forward(
    sizes: Sequence[int],
    rows: NDArray[np.uint16],
    table: NDArray[np.float32],
    bias: NDArray[np.float32],
    lanes: int = 0,
) -> NDArray[np.float32]:
    shape = make_shape(sizes, lanes=lanes)
    size = NATIVE.lib.grid_conv_out_rows(shape), NATIVE.lib.grid_conv_out_columns(shape)
    out = np.full((len(rows), *size, sizes[-1]), np.nan, dtype=np.float32)
    arguments = pointer("float", table), pointer("float", bias), pointer("float", out)
    status = NATIVE.lib.grid_conv_forward(shape, pointer("uint16_t", rows), len(rows), *arguments)
    assert status == NATIVE.lib.GRID_CONV_OK
    return out


def backward(
    sizes: Sequence[int],
    rows: NDArray[np.uint16],
    out: NDArray[np.float32],
    grad_out: NDArray[np.float32],
    grad_table: NDArray[np.float32],
    grad_bias: NDArray[np.float32],
    lanes: int = 0,
) -> None:
    floats = [pointer("float", array) for array in (out, grad_out, grad_table, grad_bias)]
    status = NATIVE.lib.grid_conv_backward(
        make_shape(sizes, lanes=lanes), pointer("uint16_t", rows), len(rows), *floats
    )
    assert status == NATIVE.lib.GRID_CONV_OK


def windows(sizes: Sequence[int], rows: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """What every output sees, (N, R, Q, K)."""
    _, _, kernel_rows, kernel_columns, stride, _, _, _ = sizes
    view = np.lib.stride_tricks.sliding_window_view(rows, (kernel_rows, kernel_columns), (1, 2))
    view = view[:, ::stride, ::stride]
    return view.reshape(*view.shape[:3], -1)


@pytest.mark.parametrize("sizes", SHAPES)
def test_rows_number_the_combinations_as_they_are_met(sizes: tuple[int, ...]) -> None:
    grid = random_grid(np.random.default_rng(1), 9, sizes)
    status, rows, used = find_rows(grid, sizes)
    assert status == NATIVE.lib.GRID_CONV_OK
    combinations = np.zeros(grid[:, 0].shape, dtype=np.int64)
    for channel, values in enumerate(NUM_VALUES):
        combinations = combinations * values + grid[:, channel]
    padding = [(0, 0), (sizes[5], sizes[5]), (sizes[6], sizes[6])]
    assert np.array_equal(used[rows], np.pad(combinations, padding))
    in_order = dict.fromkeys([0, *combinations.flatten().tolist()])
    assert used.tolist() == list(in_order)


def test_every_combination_may_occur() -> None:
    num_values = (16, 256)
    grid = np.stack(np.divmod(np.arange(4096)[::-1], 256)).astype(np.uint8).reshape(1, 2, 64, 64)
    status, rows, used = find_rows(grid, (64, 64, 1, 1, 1, 0, 0, 16), num_values)
    assert status == NATIVE.lib.GRID_CONV_OK
    assert np.array_equal(used[rows].flatten(), np.arange(4096)[::-1])
    assert len(used) == 4096 == NATIVE.lib.GRID_CONV_MAX_ROWS


@pytest.mark.parametrize("channel", range(5))
@pytest.mark.parametrize("excess", [0, 1, "most"])
def test_a_byte_that_is_no_value_is_refused(channel: int, excess: int | str) -> None:
    sizes = SHAPES[0]
    grid = random_grid(np.random.default_rng(2), 3, sizes)
    for place in ((0, 0, 0), (1, 7, 16), (2, 13, 24)):
        wrong = grid.copy()
        byte = 255 if excess == "most" else NUM_VALUES[channel] + int(excess)
        wrong[place[0], channel, place[1], place[2]] = byte
        assert find_rows(wrong, sizes)[0] == NATIVE.lib.GRID_CONV_BAD_BYTE
        wrong[place[0], channel, place[1], place[2]] = NUM_VALUES[channel] - 1
        assert find_rows(wrong, sizes)[0] == NATIVE.lib.GRID_CONV_OK


@pytest.mark.parametrize("sizes", SHAPES)
def test_outputs_are_the_sums_of_the_table_in_their_order(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    _, rows, used = find_rows(random_grid(rng, 5, sizes), sizes)
    num_offsets, num_outputs = sizes[2] * sizes[3], sizes[-1]
    table = rng.standard_normal((len(used), num_offsets, num_outputs), dtype=np.float32)
    bias = rng.standard_normal(num_outputs, dtype=np.float32)
    seen = windows(sizes, rows)
    expected = np.broadcast_to(bias, (*seen.shape[:3], num_outputs))
    for offset in range(num_offsets):
        expected = expected + table[seen[..., offset], offset]
    expected = np.maximum(expected, 0)
    assert (expected > 0).any() and (expected == 0).any()
    for lanes in (0, *LANES):
        assert np.array_equal(forward(sizes, rows, table, bias, lanes), expected), lanes


@pytest.mark.parametrize("sizes", SHAPES)
def test_gradients_are_added_where_the_output_is_above_zero(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    _, rows, used = find_rows(random_grid(rng, 3, sizes), sizes)
    num_offsets, num_outputs = sizes[2] * sizes[3], sizes[-1]
    seen = windows(sizes, rows)
    out = rng.standard_normal((*seen.shape[:3], num_outputs), dtype=np.float32).clip(0)
    grad_out = rng.standard_normal(out.shape, dtype=np.float32)
    start_table = rng.standard_normal((len(used), num_offsets, num_outputs), dtype=np.float32)
    start_bias = rng.standard_normal(num_outputs, dtype=np.float32)
    expected_table, expected_bias = start_table.copy(), start_bias.copy()
    for place in np.ndindex(seen.shape[:3]):
        counts = np.where(out[place] > 0, grad_out[place], np.float32(0))
        expected_bias += counts
        expected_table[seen[place], np.arange(num_offsets)] += counts
    for lanes in (0, *LANES):
        table, bias = start_table.copy(), start_bias.copy()
        backward(sizes, rows, out, grad_out, table, bias, lanes)
        assert np.array_equal(table, expected_table), lanes
        assert np.array_equal(bias, expected_bias), lanes


def test_what_is_no_number_is_not_hidden() -> None:
    sizes = (1, 1, 1, 1, 1, 0, 0, 16)
    rows = np.zeros((1, 1, 1), dtype=np.uint16)
    table = np.zeros((1, 1, 16), dtype=np.float32)
    bias = np.array([np.nan, np.inf, -np.inf, 1.0] * 4, dtype=np.float32)
    for lanes in LANES:
        out = forward(sizes, rows, table, bias, lanes)[0, 0, 0]
        assert np.array_equal(out, np.array([np.nan, np.inf, 0, 1] * 4), equal_nan=True)


def test_no_samples_are_no_work() -> None:
    sizes = SHAPES[0]
    status, rows, used = find_rows(np.zeros((0, 5, 14, 25), dtype=np.uint8), sizes)
    assert status == NATIVE.lib.GRID_CONV_OK and used.tolist() == [0]
    table, bias = np.ones((1, 25, 16), dtype=np.float32), np.ones(16, dtype=np.float32)
    out = forward(sizes, rows, table, bias)
    backward(sizes, rows, out, out, table, bias)
    assert (table == 1).all() and (bias == 1).all()


@pytest.mark.parametrize(
    ("index", "value"),
    [
        *[(0, 0), (0, 5000), (1, -1), (2, 0), (2, 15), (3, 28)],
        *[(4, 0), (5, -1), (6, 2**31 - 1), (7, 0), (7, 24), (7, -16)],
    ],
)
def test_a_shape_without_sense_is_refused(index: int, value: int) -> None:
    sizes = list(SHAPES[0])
    sizes[index] = value
    shape, null = make_shape(sizes), NATIVE.ffi.NULL
    bad = NATIVE.lib.GRID_CONV_BAD_ARGUMENT
    values = list(NUM_VALUES)
    assert NATIVE.lib.grid_conv_rows(shape, values, null, 1, null, null, null, null) == bad
    assert NATIVE.lib.grid_conv_forward(shape, null, 1, null, null, null) == bad
    assert NATIVE.lib.grid_conv_backward(shape, null, 1, null, null, null, null) == bad


@pytest.mark.parametrize("values", [(17, 241), (0, 2), (2, 257), (256, 256, 256)])
def test_too_many_combinations_are_refused(values: tuple[int, ...]) -> None:
    shape, null = make_shape(SHAPES[0], len(values)), NATIVE.ffi.NULL
    status = NATIVE.lib.grid_conv_rows(shape, list(values), null, 1, null, null, null, null)
    assert status == NATIVE.lib.GRID_CONV_BAD_ARGUMENT
