"""Videos and film strips show what the simulator says, at the tick that they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from env.batch import Level
from env.drawing import draw
from env.film import film_strip, frames, moments_of, write_video
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.replay import Replay, record

from .picture_reader import expected, read

BAR = 18
"""Pixels above each picture of a strip, with its tick."""


@pytest.fixture(scope="module", params=["gauntlet", "curtains"])
def replay(request: pytest.FixtureRequest) -> Replay:
    """A random game that goes on when cats die."""
    config = PicoParkConfig(preset=request.param, on_death="continue")
    level = Level(seed=2)
    sim = PicoPark(1, config, seed=0)
    sim.reset(levels=[level])
    rng = np.random.default_rng(2)
    actions: list[NDArray[np.int64]] = []
    while not actions or not sim.terminated[0]:
        actions.append(rng.choice([0, 1, 2, 3, 3, 3, 4, 5], 4))
        sim.step(actions[-1][None])
    return record("pico_park", config, PicoParkRewards(), level, np.array(actions))


def test_a_picture_can_be_read_back(replay: Replay) -> None:
    for frame in frames(replay):
        assert read(draw(frame, scale=16), frame) == expected(frame), frame.tick


def test_a_video_has_a_picture_of_every_tick_and_shows_its_state(
    replay: Replay, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    path = write_video(replay, tmp_path / "a.mp4", ticks_per_second=5)
    with av.open(str(path)) as container:
        pictures = [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]
    assert len(pictures) == replay.num_ticks + 1 + 5, "the end stays a second"
    for frame, picture in zip(frames(replay), pictures, strict=False):
        assert read(picture[: 16 * len(frame.tiles)], frame) == expected(frame), frame.tick
    last = pictures[replay.num_ticks]
    assert np.abs(pictures[-1].astype(int) - last).mean() < 2


def test_a_strip_shows_the_ticks_that_it_names(replay: Replay) -> None:
    strip = film_strip(replay, moments=5, scale=10)
    ticks = moments_of(replay, 5)
    assert ticks[0] == 0 and ticks[-1] == replay.num_ticks and len(ticks) == 5
    shown = [frame for frame in frames(replay) if frame.tick in ticks]
    height = len(strip) // len(ticks)
    for index, frame in enumerate(shown):
        picture = strip[index * height + BAR : (index + 1) * height]
        assert read(picture, frame) == expected(frame), frame.tick
