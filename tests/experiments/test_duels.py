"""Games of two sides: who won what from which side, the metrics, the verb, a training run."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from env.errors import BadInputError
from env.pong import PongConfig, PongRewards
from env.replay import load, verify
from experiments import cli
from experiments import recipe as recipes
from experiments.duels import RUNGS, Duel, Player, duel, duel_metrics, typical_replays
from experiments.history import read_history
from experiments.policy import build_module, load_policy
from experiments.recipe import PongRecipe
from experiments.recipes import find_recipe
from experiments.space import parse_dimension

SHORT = PongConfig(points_to_win=3, max_ticks=3000)


def scripted(first: str, second: str, num_games: int = 9, **more: Any) -> Duel:
    players = (Player(name=first), Player(name=second))
    return duel(*players, SHORT, num_games=num_games, **more)


def test_the_better_one_wins_from_either_side() -> None:
    for one, other, share in (("predictor", "random", 1.0), ("random", "predictor", 0.0)):
        found = scripted(one, other)
        assert found.share == share and found.num_games == 9
        assert len(found.as_left.records) == 5 and len(found.as_right.records) == 4
        assert found.won("left").mean() == found.won("right").mean() == share
        points = found.of_first("score").sum(), found.of_second("score").sum()
        assert points[0 if share else 1] == 27


def test_both_sides_play_the_same_serves() -> None:
    found = scripted("tracker", "tracker", num_games=8, first_seed=5)
    for games in (found.as_left, found.as_right):
        assert (games.records["level_seed"] & np.uint64((1 << 63) - 1)).tolist() == [5, 6, 7, 8]
        assert (games.records["level_seed"] >> np.uint64(63)).tolist() == [1] * 4  # held out


def test_a_policy_meets_a_script_and_itself() -> None:
    module = build_module(find_recipe("pong"))
    own = Player(name="policy", module=module)
    found = duel(own, Player(name="predictor"), SHORT, num_games=4, seed=1, keep_tracks=True)
    assert found.losses == 4
    for games, seat in ((found.as_left, 1), (found.as_right, 0)):
        thoughts = games.tracks[0].probabilities
        assert thoughts is not None and (thoughts[:, seat] == 0).all()
        assert np.allclose(thoughts[:, 1 - seat].sum(axis=1), 1, atol=0.01)
    again = duel(own, Player(name="predictor"), SHORT, num_games=4, seed=1)
    assert (again.as_left.records == found.as_left.records).all()
    twin = duel(own, own, SHORT, num_games=4, seed=1)
    assert twin.num_games == 4


def test_metrics_are_the_players_own() -> None:
    duels = {name: scripted("predictor", name) for name in ("random", "tracker")}
    found = duel_metrics(duels, PongRewards(hit=0.5))
    assert found["eval/win_rate"] == 1 and found["eval/win_rate_low"] > 0.8
    assert found["eval/points_random"] > 0.95 and found["eval/objective"] > 0.95
    assert found["behaviour/miss_rate"] < 0.1 < found["behaviour/still_share"]
    assert found["behaviour/side_gap"] == 0
    hits = np.concatenate([one.of_first("hits") for one in duels.values()]).mean()
    assert found["reward/hit"] == pytest.approx(0.5 * hits)
    assert found["reward/point_won"] == pytest.approx(3.0)
    assert found["rating/elo"] > RUNGS["tracker"] and found["rating/elo_low"] > RUNGS["random"]
    worse = duel_metrics({"predictor": scripted("random", "predictor")}, PongRewards())
    assert worse["rating/elo"] < RUNGS["predictor"] and worse["eval/win_rate"] == 0
    assert worse["behaviour/miss_rate"] > 0.3


def test_replays_of_a_win_and_a_loss_are_kept(tmp_path: Path) -> None:
    found = scripted("tracker", "slow_tracker", num_games=20, keep_tracks=True)
    kept = typical_replays({"slow_tracker": found}, SHORT, PongRewards(), {"run": "mine"})
    assert set(kept) == {"slow_tracker-won", "slow_tracker-lost"}
    for name, replay in kept.items():
        assert replay.record["outcome"] == ("left_wins" if name.endswith("won") else "right_wins")
        assert verify(replay) is None and replay.source["right"] == "slow_tracker"


def test_a_player_without_a_module_must_be_scripted() -> None:
    with pytest.raises(BadInputError, match="did you mean 'tracker'"):
        Player(name="traker")


# -- recipes


def test_a_recipe_of_pong_says_whose_it_is() -> None:
    recipe = find_recipe("pong")
    data = json.loads(json.dumps(recipes.to_dict(recipe)))
    assert data["game"] == "pong" and recipes.from_dict(data) == recipe
    changed = recipes.replace(recipe, {"env.left_paddle_length": 40, "league.past_share": 0.2})
    assert isinstance(changed, PongRecipe) and changed.env.left_paddle_length == 40.0
    assert parse_dimension("rewards.hit", recipe).high == 0.5  # Pong's own usual range
    with pytest.raises(BadInputError, match="did you mean 'pong'"):
        recipes.from_dict({"name": "x", "game": "pongg"})


@pytest.mark.parametrize(
    "change, said",
    [
        ({"opponents": ("nobody",)}, "unknown opponent 'nobody'"),
        ({"opponents": ()}, "opponents are none"),
        ({"algorithm": "ppo"}, "self-play takes segment_ppo"),
        ({"curriculum.mode": "ladder"}, "are Pico Park's"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        recipes.replace(find_recipe("pong"), change)


# -- the verb


def call(folder: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = cli.main(words)
    return status, out.getvalue(), err.getvalue()


def test_a_match_is_told_and_its_replays_kept(tmp_path: Path) -> None:
    words = ("match", "tracker", "slow_tracker", "--num-games", "12")
    status, out, _ = call(tmp_path, *words, "--out", "seen")
    assert status == 0 and "tracker against slow_tracker: 12" in out
    assert (tmp_path / "seen" / "game-won.html").stat().st_size > 10_000
    assert verify(load(tmp_path / "seen" / "game-won.replay")) is None
    _, plain, _ = call(tmp_path, *words, "--json", "true")
    found = json.loads(plain)
    assert found["wins"] + found["losses"] + found["draws"] == 12 and found["wins"] > 6
    assert found["win_rate_low"] < found["win_rate"] < found["win_rate_high"]


@pytest.mark.parametrize(
    "words, said",
    [
        (("traker", "random"), "there is no run 'traker'"),
        (("random", "pico_park"), "pico_park plays pico_park, which has no sides"),
        (("random", "tracker", "--num-games", "1"), "num_games is 1"),
        (("random", "tracker", "--preset", "dual"), "did you mean 'duel'"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    status, _, err = call(tmp_path, "match", *words)
    assert status == 2 and said in err and err.count("\n") == 1


# -- training


def test_a_run_is_judged_rated_and_kept(ray: Any, tmp_path: Path) -> None:
    flags = {
        "run.env-steps": "40000", "run.report-env-steps": "10000", "ppo.num-envs": "32",
        "run.checkpoint-env-steps": "20000", "evaluation.every-env-steps": "20000",
        "evaluation.num-levels": "2", "evaluation.num-final-levels": "4",
        "league.snapshot-env-steps": "10000", "env.points-to-win": "2", "env.max-ticks": "600",
    }  # fmt: skip
    words = [text for name, value in flags.items() for text in (f"--{name}", value)]
    status, out, err = call(tmp_path, "train", "pong", *words, "--opponents", "random", "tracker")
    assert status == 0 and err == ""
    assert "clowder match" in out and "Elo" in out
    (trial,) = {one.parent.parent for one in tmp_path.glob("results/pong/*/*/checkpoint_*/policy")}
    last = read_history(trial)[-1]
    assert last["rating/elo_low"] <= last["rating/elo"] <= last["rating/elo_high"]
    assert last["train/league_snapshots"] >= 2
    assert "eval/win_rate_tracker" in last and "eval/win_rate_predictor" not in last
    assert list(trial.glob("replays/*/random-*.replay"))
    policy = sorted(trial.glob("checkpoint_*/policy"))[-1]
    recipe = load_policy(policy).recipe
    assert isinstance(recipe, PongRecipe) and recipe.env.points_to_win == 2
    status, out, _ = call(tmp_path, "match", str(policy), "random", "--num-games", "2")
    assert status == 0 and "to 2, sides alternated" in " ".join(out.split())
    status, _, err = call(tmp_path, "evaluate", str(policy))
    assert status == 2 and "plays pong and is no team" in err
