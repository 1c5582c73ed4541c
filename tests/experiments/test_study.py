"""Experiments read back from their folders: whole, interrupted, moved, damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from env.errors import BadInputError
from experiments import recipe as recipes
from experiments.history import append_row
from experiments.recipes import find_recipe
from experiments.study import RECIPE_FILE, TRIAL_FILE, Study, load_study, note_trial, read_trial
from experiments.trial import build_recipe

NAMED = ("base:", "no memory: model.lstm=false")


def make(folder: Path, name: str = "sweep-20260101-000000") -> Path:
    """An experiment of two variants with two seeds; the last trial never got to an evaluation."""
    recipe = recipes.replace(
        find_recipe("smoke"), {"sweep.space": (), "sweep.variants": NAMED, "sweep.num_seeds": 2}
    )
    experiment = folder / "smoke" / name
    experiment.mkdir(parents=True)
    (experiment / RECIPE_FILE).write_text(json.dumps(recipes.to_dict(recipe)))
    for index in range(4):
        config = {"variant": ("base", "no memory")[index // 2], "run.seed": index % 2}
        trial = experiment / f"abc_0000{index}"
        trial.mkdir()
        whole = build_recipe({"recipe": recipes.to_dict(recipe), **config})
        note_trial(trial, trial.name, config, whole)
        append_row(trial, {"env_steps": 512, "train/return": 0.5})
        if index < 3:
            kept = trial / "episodes" / "000000001024.npz"
            kept.parent.mkdir()
            kept.touch()
            row = {"env_steps": 1024, "eval/win_rate": 0.25 * index, "episodes": str(kept)}
            append_row(trial, {**row, "done": True})
    return experiment


def check(study: Study) -> None:
    assert study.name == "smoke" and len(study.trials) == 4
    assert [(one.variant, one.seed) for one in study.trials] == [
        ("base", 0), ("base", 1), ("no memory", 0), ("no memory", 1)
    ]  # fmt: skip
    assert study.varied == ("model.lstm",)
    first, last = study.trials[0], study.trials[-1]
    assert first.is_whole and not last.is_whole
    assert first.final["eval/win_rate"] == 0 and last.final == {}
    assert first.recipe is not None and first.recipe.model.lstm
    assert last.recipe is not None and not last.recipe.model.lstm


def test_a_study_is_found_by_folder_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make(tmp_path / "results")
    check(load_study(str(experiment)))
    check(load_study(str(experiment.parent)))
    monkeypatch.chdir(tmp_path)
    check(load_study("smoke"))
    assert load_study("smoke").folder.name == experiment.name


def test_the_newest_sweep_counts(tmp_path: Path) -> None:
    make(tmp_path)
    newest = make(tmp_path, "sweep-20260102-000000")
    make(tmp_path, "train-20260103-000000")
    assert load_study(str(tmp_path / "smoke")).folder == newest


def test_a_folder_that_has_moved_still_has_its_files(tmp_path: Path) -> None:
    experiment = make(tmp_path / "here")
    moved = tmp_path / "there"
    shutil.move(experiment, moved)
    study = load_study(str(moved))
    check(study)
    kept = study.trials[0].kept("episodes")
    assert kept is not None and kept.is_relative_to(moved)
    assert study.trials[0].kept("replays") is None and study.trials[3].kept("episodes") is None


def test_why_a_trial_was_stopped_is_told(tmp_path: Path) -> None:
    trial = make(tmp_path) / "abc_00000"
    (trial / "stopped.json").write_text('{"reason": "it blew up"}')
    assert read_trial(trial).error == "it blew up"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"trial_id": "a"}', '{"trial_id": "a", "config": []}', "[" * 100_000]
)
def test_a_trial_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    experiment = make(tmp_path)
    (experiment / "abc_00000" / TRIAL_FILE).write_text(text)
    with pytest.raises(BadInputError, match=r"abc_00000/trial.json can't be read"):
        load_study(str(experiment))


def test_a_trial_of_another_version_is_left_out_and_named(tmp_path: Path) -> None:
    experiment = make(tmp_path)
    path = experiment / "abc_00000" / TRIAL_FILE
    data = json.loads(path.read_text())
    data["recipe"]["rewards"]["bogus"] = 1
    path.write_text(json.dumps(data))
    study = load_study(str(experiment))
    assert [one.trial_id for one in study.trials] == ["abc_00001", "abc_00002", "abc_00003"]
    assert len(study.foreign) == 1
    assert str(path) in study.foreign[0] and "bogus" in study.foreign[0]


def test_half_a_character_in_a_name_is_replaced(tmp_path: Path) -> None:
    experiment = make(tmp_path)
    path = experiment / "abc_00000" / TRIAL_FILE
    data = json.loads(path.read_text())
    data["config"]["variant"] = "b\ud800x"
    path.write_text(json.dumps(data))
    assert load_study(str(experiment)).trials[0].variant == "b?x"


@pytest.mark.parametrize(
    "damage",
    [
        b'{"env_steps": "x", "eval/win_rate": 1}\n',
        b'{"env_steps": NaN, "eval/win_rate": 1}\n',
        b'{"eval/win_rate": 1}\n',
        b"\xff\xfe\x00\n",
        b"[" * 100_000 + b"\n",
        b'{"env_steps": 20',
    ],
)
def test_damaged_reports_are_skipped(tmp_path: Path, damage: bytes) -> None:
    trial = make(tmp_path) / "abc_00001"
    with (trial / "history.jsonl").open("ab") as file:
        file.write(damage)
    found = read_trial(trial)
    assert [one["env_steps"] for one in found.history] == [512, 1024]


@pytest.mark.parametrize("said", [5, ["a"], "", "/", "."])
def test_what_is_no_path_is_not_kept(tmp_path: Path, said: Any) -> None:
    trial = make(tmp_path) / "abc_00001"
    append_row(trial, {"env_steps": 2048, "eval/win_rate": 1, "episodes": said})
    assert read_trial(trial).kept("episodes") is None


def test_what_is_no_study_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match="make sweep"):
        load_study("smoke")
    make(tmp_path / "results")
    with pytest.raises(BadInputError, match="did you mean 'smoke'"):
        load_study("smok")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match=r"holds no experiment"):
        load_study("empty")


def test_a_trial_notes_itself_in_one_piece(tmp_path: Path) -> None:
    recipe: Any = find_recipe("smoke")
    note_trial(tmp_path, "a", {"run.seed": 3}, recipe)
    assert [one.name for one in tmp_path.iterdir()] == [TRIAL_FILE]
    found = read_trial(tmp_path)
    assert found.trial_id == "a" and found.recipe == recipe and found.history == ()
