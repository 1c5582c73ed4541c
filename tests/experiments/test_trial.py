"""One trial in this process: what it reports, keeps, and goes on from."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray import tune

from env.errors import BadInputError
from env.pico_park import PicoParkRewards
from experiments import recipe as recipes
from experiments.building import MODULE
from experiments.metrics import FAMILIES, metrics_of, step_of, train_metrics
from experiments.policy import load_levels, load_policy
from experiments.recipes import find_recipe
from experiments.trial import CHECKPOINT, MANIFEST, POLICY, Trial, build_recipe, read_manifest

SMALL = {
    "env.length": 18,
    "evaluation.num_levels": 4,
    "evaluation.num_final_levels": 6,
    "evaluation.presets": ["gates"],
    "evaluation.every_env_steps": 700,
    "run.env_steps": 1000,
    "run.checkpoint_env_steps": 500,
}


def config_of(**varied: Any) -> dict[str, Any]:
    recipe = recipes.replace(find_recipe("smoke"), SMALL)
    # As it arrives in a trial: through JSON.
    return {"recipe": json.loads(json.dumps(recipes.to_dict(recipe))), **varied}


def weights_of(trial: Trial) -> dict[str, torch.Tensor]:
    return dict(trial.algorithm.get_module(MODULE).state_dict())


def learned_weights(trial: Trial) -> dict[str, torch.Tensor]:
    """Those of the learner itself, not of the copy that acts."""
    learner = trial.algorithm.learner_group._learner
    return dict(learner.module[MODULE].state_dict())


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def run(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A whole small trial, with a checkpoint after two steps and what it did afterwards."""
    threads = torch.get_num_threads()
    trial = Trial(config_of())
    folder = tmp_path_factory.mktemp("trial")
    before = {key: one.clone() for key, one in weights_of(trial).items()}
    results = [trial.train(), trial.train()]
    trial.save_checkpoint(str(folder / "middle"))
    weights = {key: one.clone() for key, one in weights_of(trial).items()}
    learned = {key: one.clone() for key, one in learned_weights(trial).items()}
    while not results[-1]["done"]:
        results.append(trial.train())
    final = {key: one.clone() for key, one in learned_weights(trial).items()}
    trial.save_checkpoint(str(folder / "end"))
    yield {
        "trial": trial,
        "results": results,
        "folder": folder,
        "before": before,
        "weights": weights,
        "learned": learned,
        "final": final,
    }
    trial.cleanup()
    torch.set_num_threads(threads)


def test_a_trials_recipe_is_the_base_with_its_own_fields() -> None:
    own = build_recipe(config_of(**{"rewards.alive": 0.02, "env.scroll_period": 5.0}))
    assert own.rewards.alive == 0.02 and own.env.scroll_period == 5
    assert own.rewards.victory == find_recipe("smoke").rewards.victory
    with pytest.raises(BadInputError, match=r"rewards\.alive"):
        build_recipe(config_of(**{"rewards.alvie": 1}))
    with pytest.raises(BadInputError, match="between 2 and 8"):
        build_recipe(config_of(**{"env.num_agents": 9}))


def test_it_asks_for_a_processor_for_itself_and_one_a_runner() -> None:
    request = Trial.default_resource_request(config_of(**{"ppo.num_env_runners": 2}))
    assert request.bundles == [{"CPU": 1.0}] * 3


def test_it_trains_by_env_steps(run: dict[str, Any]) -> None:
    steps = [step_of(one) for one in run["results"]]
    assert steps == sorted(set(steps))
    assert steps[-2] < 1000 <= steps[-1]
    assert [one["done"] for one in run["results"]] == [False] * (len(steps) - 1) + [True]


def test_it_learns_something_and_judges_the_learned_weights(run: dict[str, Any]) -> None:
    assert not are_equal(run["before"], run["weights"])
    # Evaluation and portable policy read the acting copy: it must be the newest.
    assert are_equal(run["weights"], run["learned"])


def test_evaluations_come_when_they_are_due_and_at_the_end(run: dict[str, Any]) -> None:
    due, expected = 0, []
    for result in run["results"]:
        expected.append(result["env_steps"] >= due or result["done"])
        if expected[-1]:
            due = (result["env_steps"] // 700 + 1) * 700
    assert ["eval/win_rate" in one for one in run["results"]] == expected
    assert 1 < sum(expected) < len(expected)


def test_the_last_evaluation_is_the_thorough_one(run: dict[str, Any]) -> None:
    *others, last = run["results"]
    for name in ("eval/win_rate_greedy", "eval/win_rate_gates"):
        assert name in last and not any(name in one for one in others)
    assert last["eval/win_rate"] * 6 == pytest.approx(round(last["eval/win_rate"] * 6))


def test_results_have_every_family(run: dict[str, Any]) -> None:
    last = metrics_of(run["results"][-1])
    for family in set(FAMILIES) - {"rating/"}:  # of games with opponents
        assert sum(name.startswith(family) for name in last) >= 2, family
    assert {f"reward/{name}" for name in PicoParkRewards.terms()} <= set(last)
    assert {
        "train/total_loss",
        "train/policy_loss",
        "train/value_loss",
        "train/entropy",
        "train/explained_variance",
        "train/gradient_norm",
        "train/learning_rate",
        "train/return",
        "train/episode_length",
        "train/win_rate",
        "time/env_steps_per_second",
        "time/agent_steps_per_second",
        "time/sampling_share",
        "time/learning_share",
        "time/evaluation_share",
        "time/cpu_share",
    } <= set(last)
    assert all(math.isfinite(value) for value in last.values())
    assert all("/" not in name or name in last for name in run["results"][-1])


def test_what_was_not_measured_is_missing(run: dict[str, Any]) -> None:
    for result in run["results"]:
        judged = "eval/win_rate" in result
        assert any(name.startswith(("behaviour/", "reward/")) for name in result) == judged
        assert "objective" in result


def test_the_learning_rate_falls(run: dict[str, Any]) -> None:
    rates = [one["train/learning_rate"] for one in run["results"]]
    ppo = find_recipe("smoke").ppo
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1]
    assert rates[-1] == pytest.approx(ppo.lr_end)


def test_train_metrics_leave_out_what_is_not_finite() -> None:
    result = {
        "learners": {MODULE: {"total_loss": math.nan, "vf_loss": 1.0}},
        "env_runners": {"episode_return_mean": math.inf, "episode_len_mean": 9.0},
    }
    assert train_metrics(result, find_recipe("smoke")) == {
        "train/value_loss": 1.0,
        "train/episode_length": 9.0,
    }


def test_the_training_return_is_per_cat() -> None:
    result = {"env_runners": {"episode_return_mean": 3.0, "episode_len_mean": 9.0}}
    assert train_metrics(result, find_recipe("smoke"))["train/return"] == 1.5


def test_checkpoints_are_asked_for_when_due_and_at_the_end(run: dict[str, Any]) -> None:
    asked = [one[tune.result.SHOULD_CHECKPOINT] for one in run["results"]]
    due, expected = 500, []
    for result in run["results"]:
        expected.append(result["env_steps"] >= due or result["done"])
        if result["env_steps"] >= due:
            due = (result["env_steps"] // 500 + 1) * 500
    assert asked == expected


# -- checkpoints


def test_a_manifest_names_every_file(run: dict[str, Any]) -> None:
    folder = run["folder"] / "middle"
    files = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
    assert set(read_manifest(folder)["files"]) == files - {MANIFEST}
    assert any(name.startswith(CHECKPOINT) for name in files)
    assert any(name.startswith(POLICY) for name in files)


def test_the_manifest_is_written_last(
    run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full when the policy is written leaves a checkpoint that is not whole."""
    from experiments import policy

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy, "save_policy", fail)
    with pytest.raises(OSError, match="No space"):
        run["trial"].save_checkpoint(str(tmp_path / "broken"))
    assert (tmp_path / "broken" / CHECKPOINT).is_dir()
    with pytest.raises(BadInputError, match="not whole"):
        read_manifest(tmp_path / "broken")


def damage_file(folder: Path, victim: str, damage: str) -> None:
    path = next(folder.rglob(victim))
    data = path.read_bytes()
    path.write_bytes(data[:-1] if damage == "cut" else b"")
    if damage == "gone":
        path.unlink()


@pytest.mark.parametrize("victim", ["weights.safetensors", "module_state.pkl", "policy.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_checkpoint_is_found_out(
    run: dict[str, Any], tmp_path: Path, victim: str, damage: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run["folder"] / "middle", folder)
    damage_file(folder, victim, damage)
    with pytest.raises(BadInputError, match="damaged") as caught:
        read_manifest(folder)
    assert victim in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_newest_checkpoint_is_passed_over(run: dict[str, Any], tmp_path: Path) -> None:
    """The trial goes on from the newest older one that is whole, and says so."""
    for number, name in enumerate(("middle", "end", "end")):
        shutil.copytree(run["folder"] / name, tmp_path / f"checkpoint_{number:06}")
    damage_file(tmp_path / "checkpoint_000001", MANIFEST, "empty")
    damage_file(tmp_path / "checkpoint_000002", "weights.safetensors", "cut")
    trial = Trial(config_of())
    try:
        trial.load_checkpoint(str(tmp_path / "checkpoint_000002"))
        assert are_equal(learned_weights(trial), run["learned"])
        result = trial.train()
    finally:
        trial.cleanup()
    steps = [one["env_steps"] for one in run["results"]]
    assert result["env_steps"] == steps[2]
    assert "000002 is damaged" in result["notice"] and "000000" in result["notice"]


def test_without_a_whole_checkpoint_a_trial_starts_anew(
    run: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(run["folder"] / "middle", tmp_path / "checkpoint_000000")
    damage_file(tmp_path / "checkpoint_000000", "policy.json", "gone")
    trial = Trial(config_of())
    try:
        trial.load_checkpoint(str(tmp_path / "checkpoint_000000"))
        result = trial.train()
    finally:
        trial.cleanup()
    assert result["env_steps"] == run["results"][0]["env_steps"]
    assert "starts anew" in result["notice"]


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"files": 3}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BadInputError, match="not whole"):
        read_manifest(tmp_path)


def test_the_portable_policy_is_the_trials(run: dict[str, Any]) -> None:
    policy = load_policy(run["folder"] / "middle" / POLICY)
    assert policy.env_steps == run["results"][1]["env_steps"]
    assert policy.recipe == run["trial"].recipe
    assert are_equal(dict(policy.module.state_dict()), run["weights"])


def test_a_checkpoint_notes_the_levels_that_were_trained_on(run: dict[str, Any]) -> None:
    from env.batch import HELD_OUT_BIT

    middle, end = (load_levels(run["folder"] / one / POLICY) for one in ("middle", "end"))
    assert 0 < len(middle) < len(end)
    assert (end[: len(middle)] == middle).all()  # the newest come last
    assert len(np.unique(end[:, 0])) == len(end)
    assert (end[:, 0] < HELD_OUT_BIT).all() and (end[:, 1] == 0).all()


def test_a_trial_goes_on_from_its_checkpoint(run: dict[str, Any], tmp_path: Path) -> None:
    trial = Trial(config_of())
    try:
        trial.load_checkpoint(str(run["folder"] / "middle"))
        trial.save_checkpoint(str(tmp_path / "again"))
        before, after = (
            read_manifest(one) for one in (run["folder"] / "middle", tmp_path / "again")
        )
        assert {**before, "files": 0} == {**after, "files": 0}
        assert are_equal(weights_of(trial), run["weights"])
        assert are_equal(learned_weights(trial), run["weights"])
        reports = []
        while not reports or not reports[-1]["done"]:
            reports.append(trial.train())
        assert are_equal(learned_weights(trial), run["final"])  # as if nothing had happened
        trial.save_checkpoint(str(tmp_path / "end"))
        noted = (load_levels(one / POLICY) for one in (run["folder"] / "end", tmp_path / "end"))
        assert np.array_equal(*noted)
    finally:
        trial.cleanup()
    # The schedules of evaluation, checkpoints and learning rate go on, too.
    later = run["results"][2:]
    assert len(reports) == len(later)
    for name in ("eval/win_rate", "eval/win_rate_greedy"):
        assert [name in one for one in reports] == [name in one for one in later]
    key = tune.result.SHOULD_CHECKPOINT
    assert [one[key] for one in reports] == [one[key] for one in later]
    for one, other in zip(reports, later, strict=True):
        assert one["train/learning_rate"] == pytest.approx(other["train/learning_rate"], rel=0.05)
