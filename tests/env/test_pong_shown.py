"""Pong in replays, pictures and the player's page, and through RLlib's and PettingZoo's doors."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test
from ray.rllib.utils.pre_checks.env import check_multiagent_environments

from env import Level, Pong, PongConfig, PongRewards, make
from env.film import film_strip, frames, write_video
from env.pettingzoo import parallel_env
from env.player import headline, make_page
from env.replay import Replay, load, record, verify

CONFIG = PongConfig(points_to_win=2, left_sees_opponent=False, right_paddle_length=120.0)


def a_game(config: PongConfig = CONFIG, by: Any = ("predictor", "random")) -> Replay:
    """A game between scripted opponents, to its end."""
    sim, level = Pong(1, config, seed=0), Level(seed=3)
    sim.reset(levels=[level])
    actions: list[Any] = []
    while not actions or not (sim.terminated[0] or sim.truncated[0]):
        actions.append(sim.script(by)[0].copy())
        sim.step(actions[-1][None])
    return record("pong", config, PongRewards(hit=0.1), level, np.array(actions))


def test_a_replay_plays_as_it_was_played(tmp_path: Path) -> None:
    replay = a_game()
    again = load(replay.save(tmp_path / "game.replay"))
    assert verify(again) is None
    assert again.record["score_left"] == 2 and again.ending.startswith("left wins 2 : ")
    assert headline(again).startswith("duel, level 3: left wins 2 : ")


def test_pictures_show_ball_and_paddles(tmp_path: Path) -> None:
    replay = a_game()
    strip = film_strip(replay, moments=2, scale=8)
    assert strip.shape == (2 * (200 + 18), 400, 3)
    first = strip[18:218].astype(int)
    start = next(iter(frames(replay)))
    bright = np.argwhere(first.min(axis=2) > 200)
    assert np.abs(bright.mean(axis=0) - [100, 200]).max() < 2, "the ball is served from the centre"
    for seat, x in ((0, 12), (1, 387)):
        column = first[:, x]
        paddle = np.flatnonzero(np.abs(column - first[0, 20]).sum(axis=1) > 150)
        assert paddle.mean() == pytest.approx((200 - start.paddle_y[seat]) / 2, abs=2)
        assert len(paddle) == pytest.approx((70, 120)[seat] / 2, abs=2)
    video = write_video(replay, tmp_path / "game.mp4", scale=4)
    assert video.stat().st_size > 1000


def test_the_page_holds_every_place_and_point() -> None:
    replay = a_game()
    found = re.search(r'id="data">(.*?)</script>', make_page(replay), re.S)
    assert found is not None
    data = json.loads(found.group(1))
    places = np.frombuffer(base64.b64decode(data["places"]), "<i2").reshape(-1, 6)
    shown = list(frames(replay))
    assert len(places) == len(shown) == replay.num_ticks + 1
    for row, frame in zip(places, shown, strict=True):
        assert row[:4] / 32 == pytest.approx([frame.x, frame.y, *frame.paddle_y], abs=0.02)
        assert tuple(row[4:]) == frame.score
    won = [one for one in data["events"] if one[2] == "point_won"]
    assert len(won) == replay.record["score_left"] + replay.record["score_right"]
    hits = sum(1 for one in data["terms"] if data["termNames"][one[2]] == "hit")
    assert hits == replay.record["hits_left"] + replay.record["hits_right"]


def test_rllibs_and_pettingzoos_own_checks() -> None:
    check_multiagent_environments(make("pong", seed=1))
    pixels = {"observation": "pixels", "frames": 2, "max_ticks": 300}
    check_multiagent_environments(make("pong", seed=1, config=pixels))
    short = {"points_to_win": 1, "max_ticks": 400}
    parallel_api_test(parallel_env("pong", seed=1, config=short), num_cycles=2000)
    parallel_seed_test(lambda: parallel_env("pong", config=short), num_cycles=300)
