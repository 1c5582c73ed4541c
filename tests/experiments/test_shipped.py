"""Shipped teams: found by name, judged on levels of their own, and the same when played again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from env.errors import BadInputError
from experiments import cli, shipped
from experiments.policy import CONFIG_FILE, WEIGHTS_FILE, build_module, save_policy
from experiments.recipes import find_recipe
from experiments.runs import find_policy

pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A shipped team, though untrained, in a folder of its own."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    monkeypatch.setattr(shipped, "NUM_LEVELS", 6)
    recipe = find_recipe("smoke")
    save_policy(tmp_path / "run", build_module(recipe).state_dict(), recipe, 1234)
    shipped.add("novices", str(tmp_path / "run"), ["meadow", "gates"])
    return "novices"


def change_figures(team: str, **values: Any) -> None:
    path = shipped.FOLDER / team / shipped.FIGURES_FILE
    known = json.loads(path.read_text())
    for row in known["rows"]:
        row.update(values)
    path.write_text(json.dumps(known))


def test_what_is_added_is_weights_config_and_figures(team: str) -> None:
    folder = shipped.FOLDER / team
    assert {one.name for one in folder.iterdir()} == {
        WEIGHTS_FILE,
        CONFIG_FILE,
        shipped.FIGURES_FILE,
    }
    known = shipped.figures(team)
    assert [row["preset"] for row in known["rows"]] == known["presets"] == ["meadow", "gates"]
    assert all("eval/win_rate_greedy" in row and row["num_levels"] == 6 for row in known["rows"])


def test_a_team_is_found_by_its_name(team: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shipped.names() == (team,)
    assert find_policy(team) == shipped.FOLDER / team
    with pytest.raises(BadInputError, match="nor shipped \\(novices\\)"):
        find_policy("experts")


def test_figures_are_of_levels_that_no_choice_was_made_by(
    team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments import evaluate_cli

    played: list[int] = []
    play = evaluate_cli.play_levels

    def spy(actor: Any, config: Any, seeds: Any, **options: Any) -> Any:
        played.extend(seeds)
        return play(actor, config, seeds, **options)

    monkeypatch.setattr(evaluate_cli, "play_levels", spy)
    shipped.judge(shipped.FOLDER / team, ["meadow"])
    assert set(played) == set(range(1_000_000, 1_000_006))


def test_played_again_it_is_the_same(team: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shipped.main(["check"]) == 0
    assert capsys.readouterr().out.count("as shipped, to the last game") == 2


def test_another_machine_may_differ_within_the_interval(
    team: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change_figures(team, **{"eval/episode_length": -1.0})
    assert shipped.main(["check", team]) == 0
    assert capsys.readouterr().out.count("within the shipped interval") == 2
    high = {"eval/win_rate": 0.9, "eval/win_rate_low": 0.8, "eval/win_rate_high": 0.95}
    change_figures(team, **high)
    assert shipped.main(["check", team]) == 1
    assert capsys.readouterr().out.count("NOT REPRODUCED") == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["check", "expert"], "unknown shipped team 'expert'; there are: novices"),
        (["add", "../out", "run", "meadow"], "can't name a team"),
        (["add", "experts", "nowhere", "meadow"], "there is no run 'nowhere'"),
        (["add", "experts", "novices", "medow"], "did you mean 'meadow'"),
    ],
)
def test_a_mistake_is_one_sentence(
    team: str, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    assert shipped.main(words) == 2
    err = capsys.readouterr().err
    assert reason in err and err.count("\n") == 1
    assert shipped.names() == (team,)


def test_the_help_of_evaluate_names_them(team: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "--help"]) == 0
    assert "shipped weights (novices)" in capsys.readouterr().out
