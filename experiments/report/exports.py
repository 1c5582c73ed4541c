"""What a report leaves for other programs: a CSV with a row a trial, and marl-eval's JSON."""

from __future__ import annotations

import csv
import io
from typing import Any

from experiments import recipe as recipes
from experiments.metrics import FAMILIES, number
from experiments.report.overview import Overview
from experiments.report.variants import Variant, steps_of

MARL_METRICS = {
    "win_rate": "eval/win_rate",
    "return": "reward/return",
    "exits": "eval/exits",
    "episode_length": "eval/episode_length",
}
"""marl-eval's name and ours: what every evaluation has."""


def trials_csv(overview: Overview) -> str:
    """All trials, the failed and the unfinished too: what they vary, and their last evaluation."""
    study = overview.study
    names = {id(trial): one.name for one in overview.variants for trial in one.trials}
    ranks = {one.name: str(rank) for rank, one in enumerate(overview.variants, 1)}
    varied = study.varied
    flat = [recipes.flatten(one.recipe) if one.recipe else {} for one in study.trials]
    metrics = list(
        dict.fromkeys(
            name for one in study.trials for name in one.final if name.startswith(FAMILIES)
        )
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["trial_id", "variant", "rank", "seed", "state", "env_steps", "seconds"]
    writer.writerow(_inert(one) for one in [*head, *varied, *metrics, "hacked", "error", "folder"])
    for trial, fields in zip(study.trials, flat, strict=True):
        name = names.get(id(trial), trial.variant)
        state = "failed" if trial.error else "done" if trial.is_whole else "unfinished"
        last = trial.history[-1] if trial.history else {}
        writer.writerow(
            _inert(one)
            for one in [
                trial.trial_id,
                name,
                ranks.get(name, "") if id(trial) in names else "",
                trial.seed,
                state,
                steps_of(trial),
                last.get("time_total_s", ""),
                *(fields.get(one, "") for one in varied),
                *(trial.final.get(one, "") for one in metrics),
                trial.final.get("hacked", ""),
                trial.error,
                trial.folder.name,
            ]
        )
    return text.getvalue()


def _inert(cell: Any) -> Any:
    """A cell that a spreadsheet doesn't take for a formula; numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell


def marl_eval(overview: Overview) -> dict[str, Any]:
    """What is compared, in the form of https://github.com/instadeepai/marl-eval.

    Environment and task are the game and its preset, an algorithm is a variant. A step is an
    evaluation, the last of which, on all held-out levels, is the absolute metric as well. That
    program takes every variant to have the same seeds and as many evaluations.
    """
    preset = str(overview.study.recipe.env.preset).lower()
    return {"pico_park": {preset: {one.name: _runs(one) for one in overview.variants}}}


def _runs(variant: Variant) -> dict[str, Any]:
    runs: dict[str, Any] = {}
    for trial in variant.trials:
        name = f"seed_{trial.seed}"
        if name in runs:  # trained twice
            name = f"{name}_{trial.trial_id}"
        runs[name] = {
            f"step_{i}": {
                "elapsed_time": number(row.get("time_total_s")) or 0.0,
                "step_count": int(row["env_steps"]),
                **_metrics(row),
            }
            for i, row in enumerate(trial.evaluations, 1)
        }
        runs[name]["absolute_metrics"] = _metrics(trial.final)
    return runs


def _metrics(row: dict[str, Any]) -> dict[str, list[float]]:
    found = {name: number(row.get(key)) for name, key in MARL_METRICS.items()}
    return {name: [value] for name, value in found.items() if value is not None}
