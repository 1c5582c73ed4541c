"""A replay as moving and still pictures: mp4, and a film strip of its moments.

Drawn from the file, never while a policy plays. Needs PyAV for videos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from env.batch import BatchedGame
from env.drawing import Pixels, draw
from env.errors import BadInputError
from env.files import in_one_piece
from env.games import find_game
from env.pong_drawing import COLUMNS, draw_court
from env.replay import Replay, play


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How a game is drawn."""

    draw: Callable[[Any, Any, int], Pixels]
    """From a frame, the game's config, and pixels a tile."""
    columns: Callable[[Any], int]
    """Tiles of a frame's width."""
    ticks_per_second: int
    """Speed of a video, and of the player at first."""


DRAWINGS: Mapping[str, Drawing] = {
    "pico_park": Drawing(
        draw=lambda frame, config, scale: draw(frame, scale=scale),
        columns=lambda frame: int(frame.tiles.shape[1]),
        ticks_per_second=10,
    ),
    "pong": Drawing(
        draw=lambda frame, config, scale: draw_court(frame, config, scale=scale),
        columns=lambda frame: COLUMNS,
        ticks_per_second=60,
    ),
}
MAX_WIDTH = 4096
"""Of a video, pixels."""
_PAPER, _INK = (16, 20, 28), (231, 235, 243)


def frames(replay: Replay) -> Iterator[Any]:
    """What stands where before the first tick and after every one, the end included: T + 1."""
    return (frame for _, frame in played(replay))


def played(replay: Replay) -> Iterator[tuple[BatchedGame, Any]]:
    """The simulator beside each of these frames."""
    for tick, sim in enumerate(play(replay)):
        if tick == 0:
            sim.keep_ended()
        yield sim, sim.frame(0, ended=tick == replay.num_ticks)


def write_video(
    replay: Replay, path: Path, *, scale: int = 16, ticks_per_second: int | None = None
) -> Path:
    """Writes an mp4 that browsers play as it comes: H.264, yuv420p, its index at the front.

    Args:
        replay: what to show; the whole level is in the picture.
        path: of the file.
        scale: pixels a tile; at most 4,096 pixels of width are used.
        ticks_per_second: speed; None: the game's usual one.
    """
    import av

    drawing, config = _drawing(replay)
    rate = ticks_per_second or drawing.ticks_per_second
    with (
        in_one_piece(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = None
        last = None
        for frame in frames(replay):
            fitting = max(2, min(scale, MAX_WIDTH // drawing.columns(frame)))
            last = _even(drawing.draw(frame, config, fitting))
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(rate))
                stream.height, stream.width = last.shape[:2]
                stream.pix_fmt = "yuv420p"
                # Flat tiles that jump: a wider search for motion finds nothing, and at this size
                # threads cost more than they give.
                stream.options = {"preset": "veryfast", "crf": "23", "me": "dia", "subq": "1"}
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(last, format="rgb24")))
        assert stream is not None and last is not None
        for _ in range(rate):  # the end stays a second
            container.mux(stream.encode(av.VideoFrame.from_ndarray(last, format="rgb24")))
        container.mux(stream.encode())
    return path


def _drawing(replay: Replay) -> tuple[Drawing, Any]:
    """How a replay's game is drawn, and its config."""
    if replay.game not in DRAWINGS:
        raise BadInputError(f"games of {replay.game} can't be drawn.")
    return DRAWINGS[replay.game], find_game(replay.game).config(**replay.config)


def _even(image: Pixels) -> Pixels:
    """Videos have even sizes."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def film_strip(replay: Replay, *, moments: int = 6, scale: int = 10) -> Pixels:
    """Some moments under each other, the first and the last among them, each with its tick.

    Args:
        replay: what to show.
        moments: at most so many pictures.
        scale: pixels a tile.

    Returns:
        uint8 (height, width, 3).
    """
    ticks = moments_of(replay, moments)
    drawing, config = _drawing(replay)
    pictures = [
        drawing.draw(frame, config, scale)
        for tick, frame in enumerate(frames(replay))
        if tick in ticks
    ]
    font = ImageFont.load_default(size=12)
    bar = 18
    height, width = pictures[0].shape[:2]
    image = Image.new("RGB", (width, len(ticks) * (height + bar)), _PAPER)
    pen = ImageDraw.Draw(image)
    for index, (tick, picture) in enumerate(zip(ticks, pictures, strict=True)):
        top = index * (height + bar)
        text = f"tick {tick}"
        if tick == replay.num_ticks:
            text += f": {replay.ending}"
        pen.text((4, top + 2), text, fill=_INK, font=font)
        image.paste(Image.fromarray(picture), (0, top + bar))
    return np.asarray(image)


def moments_of(replay: Replay, count: int) -> Sequence[int]:
    """Ticks that are spread evenly from the start to the end, without repeats."""
    return sorted({round(one) for one in np.linspace(0, replay.num_ticks, max(2, count))})
