"""The simulator in C and the plain-Python reference play the same ticks, from any angle.

Balls are placed at random, mostly about a paddle, and played for some ticks with random actions.
Every tick is compared: far from walls and paddles, where a ball only flies on, by numpy; else by
the reference. CLOWDER_PONG_TICKS says how many (`make reference` plays 10 million).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from env import Pong, PongConfig
from env.batch import native
from tests.env import pong_reference as reference

NUM_TICKS = int(os.environ.get("CLOWDER_PONG_TICKS", "200000"))
NUM_GAMES = 1000
TICKS_A_PLACEMENT = 10
NUM_SHARDS = 4
TOLERANCE = 2e-3
"""Of the ball's place after a tick, units; float32 has steps of 3e-5 there, and contacts add up."""
NEAR = 1e-4
"""Three of these steps."""
FLAT = np.dtype(
    [
        ("x", "f4"), ("y", "f4"), ("vx", "f4"), ("vy", "f4"), ("paddle_y", "f4", 2),
        ("score", "i4", 2), ("touched", "i4", 2), ("rally_tick", "i4"), ("tick", "i4"),
    ]
)  # fmt: skip
"""A `pong_frame`."""
CONFIGS = (
    PongConfig(max_ticks=1_000_000),
    PongConfig(preset="classic", max_ticks=1_000_000),
    PongConfig(ball_speed=60.0, left_paddle_speed=11.0, paddle_length=33.0),
    PongConfig(preset="classic", ball_speed=37.0, paddle_length=120.0, speed_gain=0.1, max_gain=5),
)  # fmt: skip


def settings_of(config: PongConfig) -> reference.Settings:
    """The reference's settings; its paddles are of one length."""
    c = config.to_native()
    return reference.Settings(
        paddle_length=c.paddle_length[0],
        paddle_speeds=(c.paddle_speed[0], c.paddle_speed[1]),
        ball_speed=c.ball_speed,
        speed_gain=c.speed_gain,
        max_gain=c.max_gain,
        aim=bool(c.aim),
        aim_slope=c.aim_slope,
        points_to_win=c.points_to_win,
        rally_limit=c.rally_limit,
        max_ticks=c.max_ticks,
    )


class Watched:
    """Many games whose positions are read and written all at once."""

    def __init__(self, config: PongConfig, seed: int) -> None:
        self.sim = Pong(NUM_GAMES, config, seed=seed)
        self.sim.reset()
        self.frames = native().ffi.new("pong_frame[]", NUM_GAMES)
        self._flat = np.frombuffer(native().ffi.buffer(self.frames), FLAT)
        self.rng = np.random.default_rng(seed)
        self.c = config.to_native()

    def look(self) -> NDArray[Any]:
        show, batch = native().lib.pong_show, self.sim._batch
        for i in range(NUM_GAMES):
            show(batch, i, 0, self.frames + i)
        return self._flat.copy()

    def scatter(self) -> None:
        """Balls anywhere, mostly about a paddle, at any angle and speed."""
        rng, n, flat = self.rng, NUM_GAMES, self._flat
        limits = [200 - self.c.paddle_length[seat] / 2 for seat in (0, 1)]
        for seat in (0, 1):
            flat["paddle_y"][:, seat] = rng.uniform(-limits[seat], limits[seat], n)
        speed = self.c.ball_speed * rng.uniform(1, self.c.max_gain, n)
        angle = rng.uniform(0, 2 * np.pi, n)
        flat["vx"], flat["vy"] = speed * np.cos(angle), speed * np.sin(angle)
        flat["x"], flat["y"] = rng.uniform(-400, 400, n), rng.uniform(-190, 190, n)
        near, seat = rng.random(n) < 0.8, rng.integers(0, 2, n)
        side = np.where(seat, 1, -1)
        height = flat["paddle_y"][np.arange(n), seat] + rng.uniform(-80, 80, n)
        flat["x"] = np.where(near, side * rng.uniform(300, 390, n), flat["x"])
        flat["y"] = np.where(near, np.clip(height, -190, 190), flat["y"])
        flat["vx"] = np.where(near, side * np.abs(flat["vx"]), flat["vx"])
        flat["touched"] = rng.integers(0, 2, (n, 2))
        flat["rally_tick"] = flat["tick"] = flat["score"] = 0
        for i in range(n):
            assert native().lib.pong_place(self.sim._batch, i, self.frames + i) == 0


def state_of(row: Any) -> reference.State:
    return reference.State(
        paddle_y=(float(row["paddle_y"][0]), float(row["paddle_y"][1])),
        x=float(row["x"]),
        y=float(row["y"]),
        vx=float(row["vx"]),
        vy=float(row["vy"]),
        scores=(int(row["score"][0]), int(row["score"][1])),
        touched=(bool(row["touched"][0]), bool(row["touched"][1])),
        rally_ticks=int(row["rally_tick"]),
        ticks=int(row["tick"]),
    )


def agrees(game: reference.ReferencePong, events: reference.Events, after: Any, terms: Any) -> bool:
    """Whether the simulator came to what the reference came to."""
    expected = game.state
    hits = [sum(hit.seat == seat for hit in events.hits) for seat in (0, 1)]
    point = [int(events.point == seat) for seat in (0, 1)]
    same = (
        [int(terms[seat][2]) for seat in (0, 1)] == hits
        and [int(terms[seat][0]) for seat in (0, 1)] == point
        and [int(terms[seat][1]) for seat in (0, 1)] == point[::-1]
        and (int(after["score"][0]), int(after["score"][1])) == expected.scores
    )
    if events.serve_needed:
        reference.check_serve(game.settings, state_of(after))
        return same
    wanted = (expected.x, expected.y, expected.vx, expected.vy)
    apart = max(
        abs(float(after[k]) - w) for k, w in zip(["x", "y", "vx", "vy"], wanted, strict=True)
    )
    return (
        same
        and apart < TOLERANCE
        and (bool(after["touched"][0]), bool(after["touched"][1])) == expected.touched
        and int(after["rally_tick"]) == expected.rally_ticks
    )


def check_tick(
    settings: reference.Settings, before: Any, actions: Any, after: Any, terms: Any
) -> dict[str, int]:
    """One tick against the reference; returns what happened in it.

    The reference computes with Python's floats first; where it comes to something else than the
    simulator, its exact fractions judge, and where those do, it must have been a close call.
    """
    moves = [int(one) for one in actions]
    for arithmetic in ("float32", "exact"):
        game = reference.ReferencePong(settings, state_of(before), arithmetic)
        events = game.step(moves)
        if agrees(game, events, after, terms):
            return {
                "hits": len(events.hits),
                "ends and corners": sum(abs(hit.offset) == 1 for hit in events.hits),
                "run into": sum(hit.time == 0 for hit in events.hits),
                "bounces": len(events.bounces),
                "hit and wall": int(bool(events.hits and events.bounces)),
                "points": int(events.point is not None),
                "replays": int(events.replay is not None),
            }
    close = reference.close_call(settings, state_of(before), moves)
    close = close or within_rounding(settings, state_of(before), moves, after)
    assert close, f"{settings}\nbefore {before}\nactions {moves}\nafter {after}\n{game.state}"
    return {"close calls": 1}


def within_rounding(
    settings: reference.Settings, state: reference.State, moves: list[int], after: Any
) -> bool:
    """Whether a ball a few of float32's steps aside would end as far from the exact end as the
    simulator's: a steep one that grazes a paddle is turned where its last bit says."""
    ends = []
    for dx, dy in ((0, 0), (NEAR, 0), (-NEAR, 0), (0, NEAR), (0, -NEAR)):
        game = reference.ReferencePong(settings, replace(state, x=state.x + dx, y=state.y + dy))
        game.step(moves)
        ends.append([game.state.x, game.state.y, game.state.vx, game.state.vy])
    spread = np.abs(np.array(ends[1:]) - ends[0]).max(axis=0) + TOLERANCE
    found = np.array([after[name] for name in ("x", "y", "vx", "vy")], float)
    return bool((np.abs(found - ends[0]) <= spread).all())


def flies_freely(before: NDArray[Any]) -> NDArray[np.bool_]:
    """Where neither wall nor paddle can be reached in the tick."""
    x, y = before["x"] + before["vx"], before["y"] + before["vy"]
    free: NDArray[np.bool_] = (np.abs(x) < 359) & (np.abs(y) < 189)
    return free


@pytest.mark.parametrize("shard", range(NUM_SHARDS))
def test_every_tick_is_the_references(shard: int) -> None:
    config = CONFIGS[shard % len(CONFIGS)]
    watched, settings = Watched(config, shard), settings_of(config)
    counts: dict[str, int] = {}
    speeds = np.array([watched.c.paddle_speed[seat] for seat in (0, 1)], np.float32)
    limits = np.array([200 - watched.c.paddle_length[seat] / 2 for seat in (0, 1)], np.float32)
    for tick in range(max(NUM_TICKS // NUM_SHARDS // NUM_GAMES, TICKS_A_PLACEMENT)):
        if tick % TICKS_A_PLACEMENT == 0:
            watched.scatter()
        before = watched.look()
        actions = watched.rng.integers(0, 3, (NUM_GAMES, 2), dtype=np.int32)
        watched.sim.step(actions)
        after, terms = watched.look(), watched.sim.terms
        served = after["rally_tick"] == 0
        moved = before["paddle_y"] + np.array([0, 1, -1], np.float32)[actions] * speeds
        moved = np.clip(moved, -limits, limits)
        assert (served[:, None] | (after["paddle_y"] == moved)).all(), "a paddle moved otherwise"
        assert (np.abs(after["y"]) <= 190).all() and (np.abs(after["x"]) <= 400).all()
        free = flies_freely(before)
        rest = free & ~served
        for axis in ("x", "y"):
            assert (after[axis][rest] == (before[axis] + before["v" + axis])[rest]).all()
            assert (after["v" + axis][rest] == before["v" + axis][rest]).all()
        assert (terms[free][:, :, :3] == 0).all(), "something happened in the middle of the court"
        for i in np.flatnonzero(~free):
            found = check_tick(settings, before[i], actions[i], after[i], terms[i])
            for name, count in found.items():
                counts[name] = counts.get(name, 0) + count
    print(counts)
    assert counts.pop("close calls", 0) <= 1e-3 * NUM_TICKS
    assert min(counts.values()) > 0, f"something never happened: {counts}"
