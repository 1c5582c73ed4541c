"""Reads a drawn game back: which pixels a picture has, whoever drew it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from env.drawing import COLOURS, SKY, WALL
from env.pico_park import Frame

NEAR = 40.0
"""Euclidean distance in RGB within which a pixel has a colour: what videos lose, and edges."""
LEAST = 0.2
"""Share of a tile's pixels, below which nothing fills it."""


def expected(frame: Frame, columns: int | None = None) -> str:
    """What a picture must show: walls, blocks and cats by their signs, else dots.

    Args:
        frame: what stands where.
        columns: so many from the screen's left edge on; None: all.
    """
    signs = {0: ".", 9: "#"} | {colour + 1: "abcdefgh"[colour] for colour in range(8)}
    rows = [[signs[int(tile)] for tile in row] for row in frame.tiles]
    for seat, cat in enumerate(frame.cats):
        if cat.status == "playing":
            rows[cat.row][cat.column] = str(seat)
    return "\n".join("".join(row[frame.left :][:columns]) for row in rows)


def read(image: NDArray[np.uint8], frame: Frame, columns: int | None = None) -> str:
    """What a picture of a level shows, tile by tile.

    Args:
        image: (height, width, 3) of square tiles.
        frame: of which only sizes and the screen's edge are used.
        columns: as in `expected`.
    """
    height, length = frame.tiles.shape
    scale = image.shape[0] / height
    end = length if columns is None else min(length, frame.left + columns)
    lines = []
    for row in range(height):
        line = ""
        for column in range(frame.left, end):
            y, x = round(row * scale), round(column * scale)
            line += _sign(image[y : y + round(scale), x : x + round(scale)])
        lines.append(line)
    return "\n".join(lines)


def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float64)


FILLS = np.array(
    [_rgb(SKY), _rgb(WALL), *(_rgb(one) * shade for one in COLOURS for shade in (1, 0.8))]
)


def _sign(tile: NDArray[np.uint8]) -> str:
    """The sign of what most pixels are of; eyes, marks, bullets, keys and doors count as air."""
    # The rim belongs to the screen's edge and to what a video smears.
    rim = max(1, round(len(tile) / 8))
    inner = tile[rim:-rim, rim:-rim].reshape(-1, 1, 3)
    distances = np.linalg.norm(inner - FILLS, axis=2)
    nearest = distances.argmin(axis=1)[distances.min(axis=1) < NEAR]
    shares = np.bincount(nearest, minlength=len(FILLS)) / len(distances)
    of_seats = shares[2:].reshape(-1, 2).sum(axis=1)
    seat = int(of_seats.argmax())
    if max(of_seats[seat], shares[1]) < max(LEAST, shares[0]):
        return "."
    if shares[1] > of_seats[seat]:
        return "#"
    # A block fills its corners, a cat has air around it: they vote, since some lie under a mark.
    inset = len(tile) // 20  # tiles of a broken size begin between pixels
    ends = [inset, inset + 1, -2 - inset, -1 - inset]
    corners = tile[ends][:, ends].reshape(-1, 1, 3)
    fills = np.array([_rgb(SKY), _rgb(COLOURS[seat]) * 0.55])
    is_block = np.linalg.norm(corners - fills, axis=2).argmin(axis=1).mean() > 0.5
    return "abcdefgh"[seat] if is_block else str(seat)
