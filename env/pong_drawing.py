"""Pong as pictures: the court, two paddles in the colours of their seats, the ball, the score."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from env.drawing import COLOURS, SKY, Pixels
from env.pong import BACK, FACE, HALF_HEIGHT, HALF_WIDTH, RADIUS, PongConfig, Position

UNITS_A_TILE = 16
"""A picture's scale is pixels a tile, as other games have it."""
COLUMNS, ROWS = 50, 25
"""Of the court, tiles."""
_SMOOTH = 4
"""The ball is drawn this many times larger first."""
_BALL, _NET, _SCORE = "#f2f4f8", "#454d5c", "#9aa5b8"


def draw_court(position: Position, config: PongConfig, *, scale: int = 16) -> Pixels:
    """A game as a picture.

    Args:
        position: what stands where.
        config: for the paddles' lengths.
        scale: pixels a tile of 16 units.

    Returns:
        uint8 (25 * scale, 50 * scale, 3).
    """
    unit = scale / UNITS_A_TILE
    image = _court(position.score, scale).copy()
    height, width = image.shape[:2]
    lengths = config.to_native().paddle_length
    for seat, side in enumerate((-1, 1)):
        left = HALF_WIDTH + min(side * FACE, side * BACK)
        top = HALF_HEIGHT - position.paddle_y[seat] - lengths[seat] / 2
        rows = slice(round(top * unit), round((top + lengths[seat]) * unit))
        columns = slice(round(left * unit), round((left + BACK - FACE) * unit))
        image[rows, columns] = ImageColor.getrgb(COLOURS[seat])
    ball = _ball(scale)
    size = len(ball)
    row = round((HALF_HEIGHT - position.y) * unit - size / 2)
    column = round((HALF_WIDTH + position.x) * unit - size / 2)
    # A ball that is out is seen in part.
    rows = slice(max(0, row), max(0, min(height, row + size)))
    columns = slice(max(0, column), max(0, min(width, column + size)))
    part = ball[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]
    patch = image[rows, columns]
    patch[:] = patch * (1 - part) + np.array(ImageColor.getrgb(_BALL)) * part
    return image


@functools.lru_cache(maxsize=4)
def _court(score: tuple[int, int], scale: int) -> Pixels:
    """What stays as it is during a rally."""
    unit = scale / UNITS_A_TILE
    image = Image.new("RGB", (COLUMNS * scale, ROWS * scale), SKY)
    pen = ImageDraw.Draw(image)
    for y in range(5, 400, 20):
        pen.rectangle(
            ((HALF_WIDTH - 1) * unit, y * unit, (HALF_WIDTH + 1) * unit, (y + 10) * unit),
            fill=_NET,
        )
    font = ImageFont.load_default(size=max(6.0, 36 * unit))
    for points, x in zip(score, (-60, 60), strict=True):
        place = ((HALF_WIDTH + x) * unit, 34 * unit)
        pen.text(place, str(points), fill=_SCORE, font=font, anchor="mm")
    return np.asarray(image)


@functools.cache
def _ball(scale: int) -> NDArray[np.float32]:
    """float32 (size, size, 1): the share of each pixel that it covers."""
    size = max(2, round(2 * RADIUS * scale / UNITS_A_TILE))
    image = Image.new("L", (size * _SMOOTH, size * _SMOOTH))
    ImageDraw.Draw(image).ellipse((0, 0, size * _SMOOTH - 1, size * _SMOOTH - 1), fill=255)
    small = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, np.float32)[..., None] / np.float32(255)
