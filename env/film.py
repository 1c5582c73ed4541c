"""A replay as moving and still pictures: mp4, and a film strip of its moments.

Drawn from the file, never while a policy plays. Needs PyAV for videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from env.drawing import Pixels, draw
from env.errors import BadInputError
from env.files import in_one_piece
from env.pico_park import Frame, PicoPark
from env.replay import Replay, play

TICKS_PER_SECOND = 10
_PAPER, _INK = (16, 20, 28), (231, 235, 243)


def frames(replay: Replay) -> Iterator[Frame]:
    """What stands where before the first tick and after every one, the end included: T + 1."""
    return (frame for _, frame in played(replay))


def played(replay: Replay) -> Iterator[tuple[PicoPark, Frame]]:
    """The simulator beside each of these frames."""
    for tick, sim in enumerate(play(replay)):
        if not isinstance(sim, PicoPark):
            raise BadInputError(f"games of {replay.game} can't be drawn.")
        if tick == 0:
            sim.keep_ended()
        yield sim, sim.frame(0, ended=tick == replay.num_ticks)


def write_video(
    replay: Replay, path: Path, *, scale: int = 16, ticks_per_second: int = TICKS_PER_SECOND
) -> Path:
    """Writes an mp4 that browsers play as it comes: H.264, yuv420p, its index at the front.

    Args:
        replay: what to show; the whole level is in the picture.
        path: of the file.
        scale: pixels a tile; at most 4,096 pixels of width are used.
        ticks_per_second: speed.
    """
    import av

    with (
        in_one_piece(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = None
        last = None
        for frame in frames(replay):
            fitting = max(2, min(scale, 4096 // frame.tiles.shape[1]))
            last = _even(draw(frame, scale=fitting))
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(ticks_per_second))
                stream.height, stream.width = last.shape[:2]
                stream.pix_fmt = "yuv420p"
                # Flat tiles that jump: a wider search for motion finds nothing, and at this size
                # threads cost more than they give.
                stream.options = {"preset": "veryfast", "crf": "23", "me": "dia", "subq": "1"}
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(last, format="rgb24")))
        assert stream is not None and last is not None
        for _ in range(ticks_per_second):  # the end stays a second
            container.mux(stream.encode(av.VideoFrame.from_ndarray(last, format="rgb24")))
        container.mux(stream.encode())
    return path


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
    pictures = [
        draw(frame, scale=scale) for tick, frame in enumerate(frames(replay)) if tick in ticks
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
