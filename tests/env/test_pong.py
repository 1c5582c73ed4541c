"""What Pong promises beside its physics (see test_pong_against_reference.py)."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import pytest

from env import BadInputError, Level, Pong, PongConfig, PongRewards
from env.conformance import CHECKS, random_actions
from env.pong import NUM_PIXELS, Position, opponents
from tests.env import pong_reference as reference

SHORT = PongConfig(points_to_win=1, max_ticks=300)
"""Games that end often."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "config",
    [SHORT, PongConfig(preset="classic", observation="pixels", frames=3, max_ticks=250)],
    ids=["coordinates", "pixels"],
)
def test_conformance(check: Any, config: PongConfig) -> None:
    check(lambda num_envs, seed: Pong(num_envs, config, seed=seed))


def test_the_terms_are_the_simulators() -> None:
    assert Pong(1).term_names == PongRewards.terms()


# -- serving


def positions(sim: Pong) -> list[Position]:
    return [sim.frame(i) for i in range(sim.num_envs)]


def test_serves_are_legal_and_go_to_each_side_alike() -> None:
    sim = Pong(40_000, seed=1)
    sim.reset()
    served = positions(sim)
    to_the_right = sum(one.vx > 0 for one in served) / len(served)
    assert abs(to_the_right - 0.5) < 0.01
    heights = np.array([one.paddle_y for one in served])
    assert np.abs(heights).max() <= 165 and np.abs(heights.mean(axis=0)).max() < 2
    assert heights.std() == pytest.approx(330 / np.sqrt(12), rel=0.01)  # uniform
    seats = np.array([int(one.vx > 0) for one in served])
    spots = np.array([370 * one.vy / abs(one.vx) for one in served])
    spots -= heights[np.arange(len(served)), seats]
    assert np.abs(spots).max() < 35.01 and spots.std() == pytest.approx(70 / np.sqrt(12), rel=0.01)
    for one in served[:500]:
        reference.check_serve(reference.DUEL, reference.State(**_state(one)))


def _state(one: Position) -> dict[str, Any]:
    named = dataclasses.asdict(one)
    named["ticks"], named["rally_ticks"] = named.pop("tick"), named.pop("rally_tick")
    named["scores"] = named.pop("score")
    return named


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_that_is_served_to_can_be_fixed(side: Any) -> None:
    sim = Pong(200, PongConfig(serve_to=side), seed=2)
    sim.reset()
    assert all((one.vx > 0) == (side == "right") for one in positions(sim))


# -- points, replays, ends


def about_to_pass(seat: int, **changes: Any) -> Position:
    side = 2 * seat - 1
    return Position(**{"x": side * 395.0, "y": 100.0, "vx": side * 10.0, "vy": 0.0, **changes})


def test_a_point_counts_if_the_scorer_touched_the_ball() -> None:
    sim = Pong(4, seed=3)
    sim.reset()
    for seat in (0, 1):
        sim.place(2 * seat, about_to_pass(seat, touched=(True, True)))
        sim.place(2 * seat + 1, about_to_pass(seat, touched=(seat == 0, seat == 1)))
    sim.step(np.zeros((4, 2), np.int32))
    assert [one.score for one in positions(sim)] == [(0, 1), (0, 0), (1, 0), (0, 0)]
    assert sim.rewards.tolist() == [[-1, 1], [0, 0], [1, -1], [0, 0]]
    for one in positions(sim):
        reference.check_serve(reference.DUEL, reference.State(**_state(one)))


def test_after_a_point_the_new_serve_is_seen_in_every_frame() -> None:
    sim = Pong(1, PongConfig(frames=4), seed=3)
    sim.reset()
    sim.place(0, about_to_pass(1, touched=(True, True)))
    sim.step(np.zeros((1, 2), np.int32))
    seen = sim.observations["coordinates"][0]
    assert (seen[:, :, :2] == 0).all(), "the old ball is seen"
    assert (seen == seen[:, :1]).all()
    sim.step(np.zeros((1, 2), np.int32))
    seen = sim.observations["coordinates"][0]
    assert (seen[:, :3, 0] == 0).all() and (seen[:, 3, 0] != 0).all()


def test_games_end_by_points_and_by_time() -> None:
    sim = Pong(3, PongConfig(points_to_win=5, max_ticks=1000), seed=4)
    sim.reset()
    sim.place(0, about_to_pass(1, touched=(True, True), score=(4, 2)))
    sim.place(1, Position(vx=1.0, vy=0.0, score=(1, 3), tick=999))
    sim.place(2, about_to_pass(0, touched=(True, True), score=(2, 1), tick=999))
    sim.step(np.zeros((3, 2), np.int32))
    assert sim.terminated.tolist() == [True, False, False]
    assert sim.truncated.tolist() == [False, True, True]
    ends = sim.episodes()
    names = [(sim.outcome_names[e["outcome"]], sim.cause_names[e["cause"]]) for e in ends]
    assert names == [("left_wins", "points"), ("right_wins", "time"), ("draw", "time")]
    assert np.abs(sim.final_observations["coordinates"]).max() <= 1
    assert [one.score for one in positions(sim)] == [(0, 0)] * 3


def test_a_rally_that_lasts_too_long_is_replayed() -> None:
    sim = Pong(1, PongConfig(rally_limit=50), seed=5)
    sim.reset()
    sim.place(0, Position(vx=1.0, vy=0.0, rally_tick=49, tick=60, touched=(True, True)))
    sim.step(np.zeros((1, 2), np.int32))
    after = sim.frame(0)
    assert after.rally_tick == 0 and after.x == 0 and after.score == (0, 0) and after.tick == 61
    sim.place(0, Position(vx=1.0, vy=0.0, tick=19_999))
    sim.step(np.zeros((1, 2), np.int32))
    assert sim.episodes()["limited"].tolist() == [1]


# -- seats


@pytest.mark.parametrize("observation", ["coordinates", "pixels"])
@pytest.mark.parametrize("preset", ["duel", "classic"])
def test_mirrored_seats_give_mirrored_histories_bit_for_bit(preset: Any, observation: Any) -> None:
    handicap = PongConfig(
        preset=preset, observation=observation, frames=2, points_to_win=3, max_ticks=3000,
        left_paddle_length=40.0, right_paddle_speed=7.5, left_sees_opponent=False,
    )  # fmt: skip
    sims = [Pong(8, handicap, seed=0), Pong(8, handicap.swapped(), seed=0)]
    for sim, how in zip(sims, ("plain", "mirrored"), strict=True):
        sim.reset(levels=[Level(seed=i, difficulty=how) for i in range(8)])
    rng = np.random.default_rng(6)
    num_ended, scored = 0, 0.0
    for _ in range(4000):
        actions = random_actions(sims[0], rng)
        sims[0].step(actions)
        sims[1].step(np.ascontiguousarray(actions[:, ::-1]))
        name = observation
        seen = [sim.observations[name] for sim in sims]
        assert (seen[0] == seen[1][:, ::-1]).all()
        assert (sims[0].rewards == sims[1].rewards[:, ::-1]).all()
        assert (sims[0].truncated == sims[1].truncated).all()
        num_ended += int((sims[0].truncated | sims[0].terminated).sum())
        scored += float(np.abs(sims[0].rewards).sum())
    for one, other in zip(positions(sims[0]), positions(sims[1]), strict=True):
        assert (one.x, one.y, one.vx, one.vy) == (-other.x, other.y, -other.vx, other.vy)
        assert one.paddle_y == other.paddle_y[::-1] and one.score == other.score[::-1]
    assert num_ended > 0 and scored > 0


def test_coordinates_are_the_seats_own() -> None:
    sim = Pong(1, PongConfig(right_sees_velocity=False, right_sees_opponent=False))
    sim.reset()
    sim.place(0, Position(x=200.0, y=95.0, vx=-25.0, vy=12.5, paddle_y=(-165.0, 82.5)))
    seen = sim.observations["coordinates"][0, :, 0]
    assert seen[0] == pytest.approx([0.5, 0.5, -1.0, 0.5, -1.0, 0.5])
    assert seen[1] == pytest.approx([-0.5, 0.5, 0.5, 0.0, 0.0, 0.0])


def test_pictures_are_averages_of_the_court() -> None:
    sim = Pong(1, PongConfig(observation="pixels", left_sees_opponent=False))
    sim.reset()
    here = Position(x=-123.4, y=56.7, vx=1.0, vy=0.0, paddle_y=(-60.0, 101.5))
    sim.place(0, here)
    left, right = sim.observations["pixels"][0, :, 0].astype(float) / 255
    fine = 20  # samples a pixel, each way
    x = (np.arange(NUM_PIXELS * fine) + 0.5) / fine * 800 / NUM_PIXELS - 400
    y = 200 - (np.arange(NUM_PIXELS * fine) + 0.5) / fine * 400 / NUM_PIXELS
    x, y = np.meshgrid(x, y)
    ball = (x - here.x) ** 2 + (y - here.y) ** 2 <= 100
    own = (np.abs(x + 375) <= 5) & (np.abs(y - here.paddle_y[0]) <= 35)
    other = (np.abs(x - 375) <= 5) & (np.abs(y - here.paddle_y[1]) <= 35)

    def averaged(what: Any) -> Any:
        return what.reshape(NUM_PIXELS, fine, NUM_PIXELS, fine).mean(axis=(1, 3))

    assert np.abs(left - averaged(ball | own)).max() < 0.05
    assert np.abs(right - averaged(ball | own | other)[:, ::-1]).max() < 0.05
    assert right.sum() == pytest.approx(averaged(ball | own | other).sum(), rel=0.01)


# -- scripted opponents


def play(config: PongConfig, by: tuple[Any, Any], num_games: int = 20) -> Any:
    sim = Pong(num_games, config, seed=7)
    sim.reset()
    ended: list[Any] = []
    while sum(len(one) for one in ended) < num_games:
        for _ in range(1000):
            sim.step(sim.script(by))
        ended.append(sim.episodes())
    return np.concatenate(ended)


def test_a_tracker_never_misses_in_classic() -> None:
    config = PongConfig(preset="classic", max_ticks=5000)
    found = play(config, ("tracker", "random"))
    assert found["misses_left"].sum() == 0 and found["misses_right"].sum() > 20


@pytest.mark.parametrize(
    "better, worse",
    [("predictor", "tracker"), ("tracker", "slow_tracker"), ("slow_tracker", "random")],
)
def test_the_ladder_has_an_order(better: str, worse: str) -> None:
    config = PongConfig(points_to_win=7)
    for by, won in (((better, worse), 0), ((worse, better), 1)):
        found = play(config, by, num_games=100)  # type: ignore[arg-type]
        assert (found["outcome"] == won).mean() > 0.6


def test_scripts_are_a_game_each() -> None:
    sim = Pong(5, seed=8)
    sim.reset()
    names = opponents()
    by = np.zeros((5, 2), np.int32)
    by[:, 0] = range(5)
    given = np.full((5, 2), 2, np.int32)
    found = sim.script(by, given).copy()
    assert found[0].tolist() == [2, 2] and (found[:, 1] == 2).all()
    for i, name in enumerate(names[1:], start=1):
        assert found[i, 0] == sim.script((name, "nobody"))[i, 0]  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="numbered 0 to 4"):
        sim.script(by + 1)
    with pytest.raises(BadInputError, match="did you mean 'tracker'"):
        sim.script(("traker", "random"))  # type: ignore[arg-type]


# -- bad input


@pytest.mark.parametrize(
    "given, said",
    [
        ({"preset": "duell"}, "did you mean 'duel'"),
        ({"observation": "pixel"}, "did you mean 'pixels'"),
        ({"serve_to": "up"}, "serve_to"),
        ({"frames": 17}, "frames is 17; it must lie between 1 and 16"),
        ({"frames": 1.5}, "frames is 1.5; it must be a whole number"),
        ({"ball_speed": 0}, "ball_speed is 0; it must lie between 0.1 and 200"),
        ({"ball_speed": float("nan")}, "ball_speed is nan"),
        ({"ball_speed": "fast"}, "ball_speed is 'fast'; it must be a number"),
        ({"max_gain": 50.0}, "ball_speed \\* max_gain is 500"),
        ({"left_paddle_length": 400.0}, "paddle_length of the left seat is 400"),
        ({"aim": "yes"}, "aim is 'yes'; it must be true or false"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        PongConfig(**given)


def test_a_position_that_cant_be_is_refused() -> None:
    sim = Pong(1)
    with pytest.raises(BadInputError, match="reset it first"):
        sim.place(0, Position(vx=1.0, vy=0.0))
    sim.reset()
    before = sim.state_hash(0)
    for wrong in (
        {"x": 401.0}, {"y": 191.0}, {"y": float("nan")}, {"vx": 1e9}, {"paddle_y": (0.0, 166.0)},
        {"score": (21, 0)}, {"score": (-1, 0)}, {"rally_tick": 5}, {"tick": 20_000},
    ):  # fmt: skip
        with pytest.raises(BadInputError, match="can't stand so"):
            sim.place(0, Position(**{"vx": 1.0, "vy": 0.0, **wrong}))  # type: ignore[arg-type]
    assert sim.state_hash(0) == before
    with pytest.raises(BadInputError, match="Pong has no maps"):
        sim.reset(maps=["o"])


# -- histories

GOLDEN = {
    "duel": "574eaa4b9bb30dad",
    "classic": "e1e6c8f59536a469",
    "pixels": "2b1f299babc264c8",
}


def history(config: PongConfig) -> str:
    """States, observations, rewards and records of some games, as one hash."""
    sim = Pong(3, config, seed=9)
    sim.reset()
    rng, digest = np.random.default_rng(9), hashlib.sha256()
    by = np.array([[0, 4], [2, 0], [0, 0]], np.int32)
    for _ in range(3000):
        sim.step(sim.script(by, random_actions(sim, rng)))
        digest.update(np.array([sim.state_hash(i) for i in range(3)], np.uint64).tobytes())
        for part in sim.observations.values():
            digest.update(part.tobytes())
        digest.update(sim.rewards.tobytes())
    digest.update(sim.episodes().tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", GOLDEN)
def test_this_build_plays_the_recorded_histories(name: str) -> None:
    configs = {
        "duel": PongConfig(points_to_win=3, frames=2),
        "classic": PongConfig(preset="classic", points_to_win=3),
        "pixels": PongConfig(observation="pixels", points_to_win=3),
    }
    assert history(configs[name]) == GOLDEN[name]
