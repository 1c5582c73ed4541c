"""Replays of an evaluation: the games that are worth watching, exactly as they were played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from algorithms import play
from algorithms.play import NetworkActor
from env.pico_park import PicoParkConfig, PicoParkRewards
from env.replay import load, verify
from experiments.evaluate import RandomActor, ScriptedActor, play_levels
from experiments.policy import build_module
from experiments.recipe import Recipe
from experiments.replays import choose, make_replays, save_replays

MEADOW = PicoParkConfig(preset="meadow", num_agents=2)
pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


def network() -> NetworkActor:
    module = build_module(Recipe(name="any", env=MEADOW)).eval()
    return NetworkActor({"team": module}, greedy=False, seed=0)


@pytest.mark.parametrize("make", [network, ScriptedActor, lambda: RandomActor(seed=0)])
@pytest.mark.parametrize("num_games", [3, 256])
def test_tracks_play_the_same_games_again(
    make: object, num_games: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "MAX_GAMES", num_games)
    seeds = [7, 3, 11, 0, 2, 9, 4]
    games = play_levels(make(), MEADOW, seeds, keep_tracks=True)  # type: ignore[operator]
    assert [len(one.actions) for one in games.tracks] == games.records["length"].tolist()
    everything = {str(i): i for i in range(len(seeds))}
    replays = make_replays(games, everything, MEADOW, PicoParkRewards(), seeds)
    for index, replay in enumerate(replays.values()):
        record = games.records[index]
        assert replay.level.seed == seeds[index] and replay.level.held_out
        assert replay.record["cause"] == games.cause_names[record["cause"]]
        assert replay.record["length"] == record["length"] and verify(replay) is None
        assert np.array_equal(np.array(list(replay.record["terms"].values())).T, record["terms"])


def test_thoughts_are_those_of_the_policy() -> None:
    games = play_levels(network(), MEADOW, range(4), keep_tracks=True)
    for track in games.tracks:
        assert track.probabilities is not None and track.values is not None
        assert track.probabilities.shape == (*track.actions.shape, 6)
        np.testing.assert_allclose(track.probabilities.astype(float).sum(-1), 1, atol=4e-3)
        assert track.values.shape == track.actions.shape
    games = play_levels(RandomActor(seed=0), MEADOW, range(4), keep_tracks=True)
    assert all(one.probabilities is None and one.values is None for one in games.tracks)


def test_tracks_are_kept_only_if_asked_for() -> None:
    assert play_levels(RandomActor(seed=0), MEADOW, range(2)).tracks == ()


def test_every_cause_has_its_game_and_victories_too() -> None:
    config = PicoParkConfig(preset="gauntlet")
    games = play_levels(ScriptedActor(), config, range(60), keep_tracks=True)
    chosen = choose(games)
    causes = {games.cause_names[one] for one in games.records["cause"]}
    assert {"victory"} < causes  # it loses some of these
    for cause in causes:
        index = chosen[f"{cause}-typical"]
        assert games.cause_names[games.records["cause"][index]] == cause
    lengths = games.records["length"]
    assert lengths[chosen["victory-shortest"]] == lengths[games.wins].min()
    lost = np.flatnonzero(~games.wins)
    assert games.records["exits"][chosen["worst"]] == games.records["exits"][lost].min()


def test_without_failures_none_is_kept() -> None:
    games = play_levels(ScriptedActor(), MEADOW, range(5), keep_tracks=True)
    assert set(choose(games)) == {"victory-typical", "victory-shortest"}


def test_they_are_files_of_their_names(tmp_path: Path) -> None:
    games = play_levels(ScriptedActor(), MEADOW, range(3), keep_tracks=True)
    replays = make_replays(
        games, choose(games), MEADOW, PicoParkRewards(), range(3), source={"run": "scripted"}
    )
    paths = save_replays(replays, tmp_path / "replays")
    assert {one.name for one in paths} == {"victory-typical.replay", "victory-shortest.replay"}
    assert load(paths[0]).source == {"run": "scripted"}
