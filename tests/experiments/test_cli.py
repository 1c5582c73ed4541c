"""The command line: a mistake is one sentence and status 2, help explains every field."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from env.pico_park import PicoPark
from experiments import cli
from experiments.cli import parse_recipe, split_resume
from experiments.overrides import flag_of
from experiments.recipe import flatten, replace
from experiments.recipes import RECIPES, find_recipe

ROOT = Path(__file__).parents[2]


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence that these words get."""
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("clowder: ") and err.endswith("\n") and err.count("\n") == 1
    return err


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


# -- mistakes


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            "xyz",
            "unknown verb 'xyz'; there are: compare, doctor, evaluate, match, play, replay, "
            "report, rescore, sweep, train",
        ),
        ("trian smoke", "did you mean 'train'"),
        ("train smok", "did you mean 'smoke'"),
        ("train smoke --rewards.own-blok 1", "did you mean '--rewards.own-block'"),
        ("train smoke --own-block 1", "did you mean '--rewards.own-block'"),
        ("train smoke --rewards.own-block nan", "own_block is nan"),
        ("train smoke --rewards.own-block inf", "own_block is inf"),
        ("train smoke --rewards.own-block=-inf", "own_block is -inf"),
        ("train smoke --rewards.own-block abc", "--rewards.own-block: 'abc' is not a number"),
        ("train smoke --rewards.own-block=", "--rewards.own-block: '' is not a number"),
        ("train smoke --rewards.own-block", "--rewards.own-block lacks its value"),
        ("train smoke --rewards.own-block --run.seed 1", "--rewards.own-block lacks its value"),
        ("train smoke --env.num-agents 1", "num_agents is 1; it must lie between 2 and 8"),
        ("train smoke --env.num-agents 9", "num_agents is 9; it must lie between 2 and 8"),
        ("train smoke --env.num-agents four", "'four' is not a whole number"),
        ("train smoke --env.num-agents 2.5", "'2.5' is not a whole number"),
        ("train smoke --env.num-agents 3 4", "'4' belongs to no flag"),
        ("train smoke --env.preset medow", "did you mean 'meadow'"),
        ("train smoke --env.all-colours maybe", "'maybe' is not true or false"),
        ("train smoke --model.encoder resnet", "unknown --model.encoder 'resnet'"),
        ("train smoke --model.hidden-size 0", "hidden_size is 0"),
        ("train smoke --ppo.gamma 2", "gamma is 2.0; it must lie in 0 to 1"),
        ("train smoke --run.env-steps 0", "env_steps is 0"),
        ("train smoke --evaluation.presets gates gatse", "did you mean 'gates'"),
        ("train smoke stray", "'stray' belongs to no flag"),
        ("train smoke -x", "'-x' belongs to no flag"),
        ("train smoke --resume", "--resume lacks its value"),
        ("train smoke --resume perhaps", "unknown resume mode 'perhaps'"),
        ("train smoke --resume=mst", "did you mean 'must'"),
        ("train smoke --run.tracking-uri ./mlruns", "sqlite:///mlflow.db"),
        ("train smoke --run.tracking-uri localhost:5000", "http://localhost:5000"),
        ("train smoke --run.tracking-uri sqlite:////nowhere/mlflow.db", "does not exist"),
        ("sweep pico_park", "varies nothing"),
        ("sweep smoke --sweep.space", "varies nothing"),
        ("sweep smoke --sweep.space rewards.own-blok=1,2", "did you mean 'rewards.own_block'"),
        ("sweep smoke --sweep.space rewards.alive=0:1", "a grid needs listed values"),
        ("sweep smoke --sweep.search bayes", "unknown --sweep.search 'bayes'"),
    ],
)
def test_a_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str, reason: str
) -> None:
    assert reason in refusal(capsys, *words.split())
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_bad_address_in_the_environment_is_a_mistake_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert "mlruns" in refusal(capsys, "train", "smoke")


def test_a_file_system_that_refuses_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(words: list[str]) -> int:
        raise OSError(28, "No space left on device", "/data/picture.png")

    monkeypatch.setitem(cli.VERBS, "train", fail)
    assert cli.main(["train", "smoke"]) == 1
    assert capsys.readouterr().err == (
        "clowder: /data/picture.png can't be used (No space left on device); "
        "what was written before is kept: mend that, and repeat the command.\n"
    )


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.VERBS, "train", interrupt)
    assert cli.main(["train", "smoke"]) == 130


# -- overrides


def test_flags_set_the_fields_that_they_name() -> None:
    words = shlex.split(
        "smoke --rewards.own-block -0.5 --rewards.alive=1e-3 --env.num_agents 3 --env.length none "
        "--env.all-colours TRUE --ppo.lambda 0.9 --model.lstm false --run.env-steps 1e6 "
        "--sweep.space rewards.alive=0,1 rewards.key --run.study again --resume never"
    )
    recipe, resume = parse_recipe("sweep", words)
    expected = {
        "rewards.own_block": -0.5,
        "rewards.alive": 1e-3,
        "env.num_agents": 3,
        "env.length": None,
        "env.all_colours": True,
        "ppo.lambda_": 0.9,
        "model.lstm": False,
        "run.env_steps": 1_000_000,
        "sweep.space": ("rewards.alive=0,1", "rewards.key"),
        "run.study": "again",
    }
    assert recipe == replace(find_recipe("smoke"), expected)
    assert resume == "never"


def test_a_long_seed_keeps_its_digits() -> None:
    recipe, _ = parse_recipe("train", ["smoke", "--run.seed", str(2**62 + 1)])
    assert recipe.run.seed == 2**62 + 1


@pytest.mark.parametrize(
    ("words", "resume", "rest"),
    [
        ("smoke", "auto", "smoke"),
        ("smoke --resume never --run.seed 1", "never", "smoke --run.seed 1"),
        ("smoke --run.seed 1 --resume=must", "must", "smoke --run.seed 1"),
    ],
)
def test_the_mode_of_resuming_is_split_off(words: str, resume: str, rest: str) -> None:
    assert split_resume(words.split()) == (resume, rest.split())


# -- help


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is printed, without frames and line breaks."""
    assert cli.main(words) == 0
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_help_explains_every_field(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    text = shown(capsys, verb, "smoke", "--help")
    for name in flatten(find_recipe("smoke")):
        assert re.search(rf"{flag_of(name)}_? ", text), name
    for sentence in (
        "To the shooter whose bullet destroys a block.",
        "Cats in the team, 2 to 8; each has a colour of its own.",
        "Held-out levels played at the end, sampled and greedy; what rankings go by.",
        "Games that a runner plays side by side.",
        "Width of the layer that reads the `global` vector.",
        "Env steps between checkpoints, which are what an interruption loses at most",
        "A minute of everything on tiny levels",
        "continues an unfinished run of this study",
    ):
        assert sentence in text
    assert f"clowder {verb} smoke" in text


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_names_verbs_and_recipes(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    text = shown(capsys, *words)
    for name in (*cli.VERBS, *RECIPES):
        assert name in text


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_has_a_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert f"clowder {verb}" in shown(capsys, verb, "--help")


@pytest.mark.parametrize("words", [[], ["train"], ["sweep"], ["evaluate"]])
def test_too_few_words_print_the_usage(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert cli.main(words) == 2
    assert "usage: clowder" in capsys.readouterr().out


HEAVY = ("ray", "torch", "mlflow", "matplotlib", "tyro")


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], HEAVY),
        (["train", "smoke", "--help"], HEAVY[:4]),
        (["report", "study", "--help"], HEAVY[:4]),
        (["compare", "one", "other", "--help"], HEAVY[:4]),
    ],
)
def test_help_imports_nothing_heavy(tmp_path: Path, words: list[str], heavy: list[str]) -> None:
    script = (
        "import sys, json, clowder\n"
        f"assert clowder.main({words!r}) == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not set(heavy) & set(json.loads(done.stdout.splitlines()[-1]))


def test_the_script_returns_the_status_of_its_verb(tmp_path: Path) -> None:
    for words, status in ((["--help"], 0), ([], 2), (["fly"], 2)):
        done = subprocess.run(
            [sys.executable, ROOT / "clowder.py", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status
        assert "Traceback" not in done.stderr


# -- judging


def test_evaluate_judges_the_scripted_team(capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split("evaluate scripted --presets meadow gates --num-levels 20 --json True")
    assert cli.main(words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [one["preset"] for one in rows] == ["meadow", "gates"]
    assert all(one["eval/win_rate"] > 0.9 and one["num_levels"] == 20 for one in rows)


@pytest.fixture(scope="module")
def trained_team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy, untrained, which says that it was trained on a few levels."""
    from experiments.policy import build_module, save_levels, save_policy

    folder = tmp_path_factory.mktemp("team")
    recipe = find_recipe("smoke")
    save_policy(folder, build_module(recipe).state_dict(), recipe, 1)
    save_levels(folder, np.array([[7, 0], [8, 1], [9, 0], [10, 0]], np.uint64))
    return folder


def test_evaluate_hides_one_thing_after_the_other(
    capsys: pytest.CaptureFixture[str], trained_team: Path
) -> None:
    words = ["evaluate", str(trained_team), "--num-levels", "3", "--hide"]
    assert cli.main([*words, "all", "--json", "true"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [one["hidden"] for one in rows] == ["nothing", *PicoPark.ablations, "memory"]
    assert ["eval/win_rate_greedy" in one for one in rows] == [True] + [False] * (len(rows) - 1)
    assert cli.main([*words, "memory", "bullets"]) == 0
    text = capsys.readouterr().out
    assert text.index("nothing") < text.index("memory") < text.index("bullets")


def test_evaluate_plays_trained_levels(
    capsys: pytest.CaptureFixture[str], trained_team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments import evaluate_cli

    played = []
    play = evaluate_cli.play_levels

    def spy(actor: Any, config: Any, seeds: Any, **options: Any) -> Any:
        played.append((list(seeds), options))
        return play(actor, config, seeds, **options)

    monkeypatch.setattr(evaluate_cli, "play_levels", spy)
    words = ["evaluate", str(trained_team), "--levels", "trained", "--num-levels"]
    assert cli.main([*words, "2"]) == 0
    assert played == [([9, 10], {"held_out": False})] * 2
    assert "2 levels that it was trained on" in capsys.readouterr().out
    assert "3 are of meadow; give --num-levels" in refusal(capsys, *words, "4")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--hide eyes", "unknown thing to hide 'eyes'; there are: all, block_colours"),
        ("--levels mine", "unknown --levels 'mine'"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(
    capsys: pytest.CaptureFixture[str], trained_team: Path, words: str, reason: str
) -> None:
    assert reason in refusal(capsys, "evaluate", str(trained_team), *words.split())


@pytest.mark.parametrize("words", ["--hide memory", "--levels trained"])
def test_a_baseline_was_never_trained(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert "was never trained" in refusal(capsys, "evaluate", "scripted", *words.split())
