"""Games as pictures: the same colours, marks and shapes wherever a game is drawn.

Every colour of a cat has a mark beside it, a shape on the cat and on its blocks, for those who
can't tell the colours apart. Needs Pillow; nothing else in this room does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from env.pico_park import WALL_TILE, Frame

COLOURS = (
    "#e69f00",  # orange
    "#56b4e9",  # sky blue
    "#00b386",  # green
    "#f5e663",  # yellow
    "#4a7dd6",  # blue
    "#e2653a",  # vermilion
    "#d78fbb",  # pink
    "#a7a7a7",  # grey
)
"""Of seats, told apart by most colour-blind people (after Okabe and Ito 2008)."""
MARKS = ("disc", "triangle", "square", "diamond", "plus", "star", "bar", "cross")
"""Of seats."""
SKY, WALL, WALL_EDGE, GONE = "#1d2433", "#596273", "#454d5c", "#0d1017"
KEY, DOOR, DOOR_OPEN, INK = "#ffd75e", "#9a6b43", "#e9f5d0", "#12151c"
_FREE = 0
_SMOOTH = 4
"""Shapes are drawn this many times larger first."""

Pixels = NDArray[np.uint8]


def draw(frame: Frame, *, scale: int = 16, screen_width: int | None = None) -> Pixels:
    """A game as a picture.

    Args:
        frame: what stands where.
        scale: pixels a tile.
        screen_width: columns of the screen, to show no more than it; None: the whole level.

    Returns:
        uint8 (height * scale, columns * scale, 3).
    """
    length = frame.tiles.shape[1]
    first = 0 if screen_width is None else frame.left
    count = length if screen_width is None else min(screen_width, length - first)
    tiles = np.ascontiguousarray(frame.tiles[:, first : first + count])
    image = _background(tiles.tobytes(), count, scale).copy()

    def put(sprite: NDArray[np.float32], row: int, column: int) -> None:
        if not first <= column < first + count:
            return
        y, x = row * scale, (column - first) * scale
        patch = image[y : y + scale, x : x + scale]
        alpha = sprite[..., 3:]
        patch[:] = patch * (1 - alpha) + sprite[..., :3] * alpha

    put(_sprite("open" if frame.door_is_open else "door", 0, scale), *frame.door)
    if frame.key is not None:
        put(_sprite("key", 0, scale), *frame.key)
    for row, column, owner in frame.bullets:
        put(_sprite("bullet", owner, scale), row, column)
    for seat, cat in enumerate(frame.cats):
        if cat.status == "playing":
            put(_sprite("cat", seat, scale), cat.row, cat.column)
            if cat.holds_key:
                put(_sprite("held", seat, scale), cat.row, cat.column)
        elif cat.status == "dead":
            put(_sprite("dead", seat, scale), cat.row, cat.column)
    if screen_width is None:
        _show_screen(image, frame.left, scale)
    return image


@functools.lru_cache(maxsize=2)
def _background(tiles: bytes, columns: int, scale: int) -> Pixels:
    """Tiles alone, which seldom change from one frame to the next."""
    atlas = _tile_atlas(scale)
    grid = np.frombuffer(tiles, np.uint8).reshape(-1, columns)
    image: Pixels = atlas[grid].transpose(0, 2, 1, 3, 4).reshape(-1, columns * scale, 3)
    return image


def _show_screen(image: Pixels, left: int, scale: int) -> None:
    """What the screen's edge has passed lies in the dark."""
    if left:
        gone = image[:, : left * scale]
        gone[:] = gone // 3
        edge = image[:, left * scale - 1 : left * scale + 1]
        edge[:] = (235, 94, 94)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _shade(colour: str, factor: float) -> tuple[int, int, int]:
    """Darker below 1, lighter above."""
    red, green, blue = (
        round(part * factor) if factor < 1 else round(255 - (255 - part) / factor)
        for part in _rgb(colour)
    )
    return red, green, blue


@functools.cache
def _tile_atlas(scale: int) -> Pixels:
    """uint8 (10, scale, scale, 3): each kind of tile."""
    atlas = np.zeros((10, scale, scale, 3), np.uint8)
    atlas[_FREE] = _rgb(SKY)
    atlas[WALL_TILE] = _rgb(WALL)
    edge = max(1, scale // 12)
    atlas[WALL_TILE, -edge:] = _rgb(WALL_EDGE)
    atlas[WALL_TILE, :, -edge:] = _rgb(WALL_EDGE)
    for seat, colour in enumerate(COLOURS):
        image, pen, size = _canvas(scale)
        pen.rectangle((0, 0, size, size), fill=_shade(colour, 0.55))
        rim = size / 12
        pen.rounded_rectangle(
            (rim, rim, size - rim, size - rim), radius=size / 8, fill=_shade(colour, 0.8)
        )
        _mark(pen, seat, size / 2, size / 2, size * 0.23, _shade(colour, 1.6))
        atlas[seat + 1] = np.asarray(_small(image, scale).convert("RGB"))
    return atlas


@functools.cache
def _sprite(kind: str, seat: int, scale: int) -> NDArray[np.float32]:
    """float32 (scale, scale, 4): red, green, blue of 0 to 255 and alpha of 0 to 1."""
    image, pen, size = _canvas(scale)
    shapes: dict[str, Callable[[Any, int, float], None]] = {
        "cat": _cat,
        "held": _held_key,
        "dead": _dead,
        "key": _key,
        "door": functools.partial(_door, is_open=False),
        "open": functools.partial(_door, is_open=True),
        "bullet": _bullet,
    }
    shapes[kind](pen, seat, size)
    pixels = np.asarray(_small(image, scale), np.float32).copy()
    pixels[..., 3] /= 255
    return pixels


def _canvas(scale: int) -> tuple[Image.Image, Any, float]:
    size = scale * _SMOOTH
    image = Image.new("RGBA", (size, size))
    return image, ImageDraw.Draw(image), float(size)


def _small(image: Image.Image, scale: int) -> Image.Image:
    return image.resize((scale, scale), Image.Resampling.LANCZOS)


def _mark(pen: Any, seat: int, x: float, y: float, r: float, fill: Any) -> None:
    """The seat's mark around (x, y)."""
    kind = MARKS[seat]
    if kind == "disc":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif kind == "triangle":
        pen.polygon([(x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8)], fill=fill)
    elif kind == "square":
        pen.rectangle((x - r * 0.85, y - r * 0.85, x + r * 0.85, y + r * 0.85), fill=fill)
    elif kind == "diamond":
        pen.polygon([(x, y - r * 1.1), (x + r, y), (x, y + r * 1.1), (x - r, y)], fill=fill)
    elif kind == "plus":
        pen.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=fill)
        pen.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=fill)
    elif kind == "star":
        points = []
        for k in range(10):
            radius = r * (1.15 if k % 2 == 0 else 0.5)
            turn = math.pi * k / 5 - math.pi / 2
            points.append((x + radius * math.cos(turn), y + radius * math.sin(turn)))
        pen.polygon(points, fill=fill)
    elif kind == "bar":
        pen.rectangle((x - r * 1.1, y - r * 0.4, x + r * 1.1, y + r * 0.4), fill=fill)
    else:
        width = round(r * 0.55)
        pen.line((x - r, y - r, x + r, y + r), fill=fill, width=width)
        pen.line((x - r, y + r, x + r, y - r), fill=fill, width=width)


def _cat(pen: Any, seat: int, size: float) -> None:
    """A cat that looks at us: ears, face, eyes, the mark on its belly."""
    colour, dark = COLOURS[seat], _shade(COLOURS[seat], 0.45)
    line = max(1, round(size / 28))
    for side in (0.17, 0.59):
        tip = side + (0.02 if side < 0.5 else 0.22)
        ear = [(side, 0.34), (tip, 0.04), (side + 0.24, 0.24)]
        if side > 0.5:
            ear = [(side, 0.24), (tip, 0.04), (side + 0.24, 0.34)]
        pen.polygon([(a * size, b * size) for a, b in ear], fill=colour, outline=dark, width=line)
    body = (0.1 * size, 0.2 * size, 0.9 * size, 0.96 * size)
    pen.rounded_rectangle(body, radius=size * 0.3, fill=colour, outline=dark, width=line)
    for eye in (0.34, 0.66):
        box = (eye - 0.075, 0.34, eye + 0.075, 0.5)
        pen.ellipse([one * size for one in box], fill=INK)
        glint = (eye - 0.01, 0.36, eye + 0.05, 0.42)
        pen.ellipse([one * size for one in glint], fill="#ffffff")
    _mark(pen, seat, size / 2, size * 0.72, size * 0.15, INK)


def _held_key(pen: Any, seat: int, size: float) -> None:
    """A small key over the cat's head."""
    pen.ellipse((0.36 * size, 0, 0.54 * size, 0.18 * size), outline=KEY, width=round(size / 16))
    pen.line((0.54 * size, 0.09 * size, 0.86 * size, 0.09 * size), fill=KEY, width=round(size / 16))
    pen.line((0.8 * size, 0.09 * size, 0.8 * size, 0.2 * size), fill=KEY, width=round(size / 16))


def _dead(pen: Any, seat: int, size: float) -> None:
    """A cross where a cat died, and whose it is."""
    width = round(size / 8)
    for ends in ((0.16, 0.16, 0.84, 0.84), (0.16, 0.84, 0.84, 0.16)):
        pen.line([one * size for one in ends], fill="#eb5e5e", width=width)
    box = (0.3 * size, 0.3 * size, 0.7 * size, 0.7 * size)
    pen.ellipse(box, fill=_shade(COLOURS[seat], 0.8))
    _mark(pen, seat, size / 2, size / 2, size * 0.12, INK)


def _key(pen: Any, seat: int, size: float) -> None:
    width = round(size / 9)
    pen.ellipse((0.08 * size, 0.3 * size, 0.48 * size, 0.7 * size), outline=KEY, width=width)
    pen.line((0.46 * size, 0.5 * size, 0.94 * size, 0.5 * size), fill=KEY, width=width)
    for tooth in (0.74, 0.88):
        pen.line((tooth * size, 0.5 * size, tooth * size, 0.7 * size), fill=KEY, width=width)


def _door(pen: Any, seat: int, size: float, *, is_open: bool) -> None:
    frame = (0.12 * size, 0.04 * size, 0.88 * size, size)
    pen.rounded_rectangle(
        frame,
        radius=size * 0.25,
        fill=DOOR_OPEN if is_open else DOOR,
        outline="#5a3d24",
        width=round(size / 12),
    )
    if not is_open:
        pen.ellipse((0.62 * size, 0.5 * size, 0.76 * size, 0.64 * size), fill=KEY)


def _bullet(pen: Any, seat: int, size: float) -> None:
    box = (0.2 * size, 0.38 * size, 0.8 * size, 0.62 * size)
    pen.rounded_rectangle(
        box, radius=size * 0.12, fill=COLOURS[seat], outline="#ffffff", width=round(size / 24)
    )
