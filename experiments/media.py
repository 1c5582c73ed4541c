"""What a folder of replays looks like: pages to play them, film strips, videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from env.drawing import Pixels
from env.errors import BadInputError
from env.replay import SUFFIX, load

STRIPS = {"worst": "worst failure", "victory-typical": "victory"}
"""Replays of which a film strip is kept at every evaluation, and what the strips are called."""
VIDEOS = ("worst", "victory-shortest")
"""Replays of which a video is made, where one is wanted."""


@dataclass(kw_only=True)
class Media:
    """Files to keep, and pictures that are compared over time."""

    files: list[Path] = field(default_factory=list)
    """Replays, pages, videos."""
    strips: dict[str, Pixels] = field(default_factory=dict)
    """Film strips by name, uint8 (height, width, 3)."""


def make_media(folder: Path, into: Path, *, with_videos: bool) -> Media:
    """Draws every replay of a folder; one that can't be drawn is passed over.

    Args:
        folder: with replays.
        into: folder for pages and videos.
        with_videos: whether to make videos too.
    """
    from env.film import film_strip, write_video
    from env.player import write_page

    media = Media()
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            replay = load(path)
            page = write_page(replay, into / f"{path.stem}.html")
        except BadInputError:
            continue
        media.files += [path, page]
        if path.stem in STRIPS:
            media.strips[STRIPS[path.stem]] = film_strip(replay)
        if with_videos and path.stem in VIDEOS:
            media.files.append(write_video(replay, into / f"{path.stem}.mp4"))
    return media
