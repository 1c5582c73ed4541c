"""What of a study is compared with what, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from env.errors import BadInputError
from experiments import recipe as recipes
from experiments.lease import is_held
from experiments.metrics import NO, number
from experiments.report.variants import (
    WIN_RATE,
    Variant,
    label_of,
    steps_of,
    values_of,
    verdict_of,
)
from experiments.space import LISTED, VARIANT, count_trials, parse_space, parse_variants
from experiments.study import Study, TrialResult

ADAPTIVE = ("optuna", "asha", "pbt")
"""Searches and schedulers that put more trials, or longer ones, where outcomes were good."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Overview:
    """What of a study is compared with what."""

    study: Study
    state: str
    """`finished`, `running` or `unfinished`."""
    variants: tuple[Variant, ...]
    """Best first."""
    base: Variant | None
    """The one that changes nothing, or the first named one; None if none was trained."""
    left_out: tuple[TrialResult, ...]
    """Trials that aren't compared: without an evaluation, or unfinished beside finished ones."""
    num_planned: int
    """Trials that the recipe asks for."""
    warnings: tuple[str, ...]
    """What to keep in mind, a sentence each."""

    @property
    def trials(self) -> tuple[TrialResult, ...]:
        """All that are compared."""
        return tuple(trial for one in self.variants for trial in one.trials)

    @cached_property
    def fields(self) -> dict[str, tuple[Any, ...]]:
        """Values of every field that varies, one a variant, in the order of `variants`."""
        names = {name: None for one in self.variants for name in one.values}
        found = {name: tuple(one.values.get(name) for one in self.variants) for name in names}
        varied = {name: of for name, of in found.items() if len(set(map(repr, of))) > 1}
        return {name: tuple(map(_comparable, values)) for name, values in varied.items()}

    @property
    def hacked(self) -> tuple[TrialResult, ...]:
        """Compared trials on whose reward there is or was a verdict, those that still stand
        first."""
        found = [one for one in self.trials if verdict_of(one) != NO]
        return tuple(sorted(found, key=lambda one: verdict_of(one).startswith(NO)))

    @property
    def is_one_at_a_time(self) -> bool:
        """Whether only named variants are compared: then no field varies apart from others."""
        return tuple(self.fields) == (VARIANT,)

    @property
    def num_seeds(self) -> int:
        """Seeds of the variant that has most."""
        return max(len(one.trials) for one in self.variants)


def look_over(study: Study) -> Overview:
    """Sorts a study's trials.

    Raises:
        BadInputError: none of them has an evaluation yet.
    """
    judged = [one for one in study.trials if number(one.final.get(WIN_RATE)) is not None]
    if not judged:
        raise BadInputError(
            f"no trial in {study.folder} has been evaluated; wait for the first evaluation."
            if study.trials
            else f"there are no trials in {study.folder}; name an experiment that has begun."
        )
    whole = [one for one in judged if one.is_whole and not one.error]
    compared = whole if len({_key(one) for one in whole}) > 1 or len(whole) == len(judged) else []
    compared = compared or judged
    kept = {id(one) for one in compared}
    state = _state(study)
    variants = sorted(_group(compared), key=_rank)
    left_out = tuple(one for one in study.trials if id(one) not in kept)
    num_planned = _num_planned(study)
    return Overview(
        study=study,
        state=state,
        variants=tuple(variants),
        base=_base(study, variants),
        left_out=left_out,
        num_planned=num_planned,
        warnings=tuple(_warnings(study, state, compared, left_out, num_planned)),
    )


# -- sorting


def _comparable(value: Any) -> Any:
    """A number or a truth value; anything else as text."""
    return value if isinstance(value, bool) or number(value) is not None else str(value)


def _key(trial: TrialResult) -> str:
    return repr(sorted(values_of(trial).items()))


def _group(trials: Sequence[TrialResult]) -> list[Variant]:
    """Variants by what they vary, to the last digit: short names may be alike."""
    groups: dict[str, list[TrialResult]] = {}
    for trial in trials:
        groups.setdefault(_key(trial), []).append(trial)
    names: dict[str, int] = {}
    found = []
    for group in groups.values():
        name = group[0].variant
        names[name] = names.get(name, 0) + 1
        found.append(
            Variant(
                name=name if names[name] == 1 else f"{name} ({names[name]})",
                values=values_of(group[0]),
                trials=tuple(sorted(group, key=lambda one: (one.seed, one.trial_id))),
            )
        )
    return found


def _base(study: Study, variants: Sequence[Variant]) -> Variant | None:
    """The variant that trained the study's own recipe, or the first named one."""
    plain = recipes.flatten(study.recipe)
    for variant in variants:
        if variant.recipe is not None and len(variants) > 1:
            own = recipes.flatten(variant.recipe)
            if all(own[name] == value for name, value in plain.items() if name not in LISTED):
                return variant
    try:
        named = list(parse_variants(study.recipe))
    except BadInputError:  # of a foreign recipe
        named = []
    only_named = [one for one in variants if list(one.values) == [VARIANT]]
    return next((one for one in only_named if [one.values[VARIANT]] == named[:1]), None)


def _rank(variant: Variant) -> tuple[float, float]:
    """Best first by the win rate that is shown, ties by the objective: cats that got out."""
    return -round(variant.win_rate.value, 9), -variant.objective


def _state(study: Study) -> str:
    from experiments.runner import DONE_FILE

    if is_held(study.folder):
        return "running"
    if (study.folder / DONE_FILE).exists():
        return "finished"
    is_done = bool(study.trials) and all(one.is_whole for one in study.trials)
    return "finished" if is_done and len(study.trials) >= _num_planned(study) else "unfinished"


def _num_planned(study: Study) -> int:
    """How many trials the recipe asks for; as many as there are where it says no more."""
    if not study.folder.name.startswith("sweep"):
        return len(study.trials)
    try:
        return max(len(study.trials), count_trials(parse_space(study.recipe), study.recipe))
    except BadInputError:
        return len(study.trials)


# -- what to keep in mind


def is_halfway(trial: TrialResult) -> bool:
    """Whether it failed before it had trained to the end of its recipe."""
    return bool(trial.error) and not trial.is_whole


def _progress(trial: TrialResult) -> str:
    steps = f"{int(trial.final['env_steps']):,}"
    return f"{steps} of {trial.recipe.run.env_steps:,} env steps" if trial.recipe else steps


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _warnings(
    study: Study,
    state: str,
    compared: Sequence[TrialResult],
    left_out: Sequence[TrialResult],
    num_planned: int,
) -> list[str]:
    found = []
    whole = sum(one.is_whole and not one.error for one in study.trials)
    if state != "finished":
        what = "still running" if state == "running" else "not finished"
        newest = all(one.is_whole for one in compared)
        found.append(
            f"This study is {what}: {whole} of {num_planned} trials are done. "
            + ("Only those are compared." if newest else "Compared are newest evaluations.")
        )
    for trial in study.trials:
        if trial.error:
            found.append(f"Failed: {label_of(trial)}: {trial.error}")
    halfway = [one for one in compared if is_halfway(one)]
    if halfway:
        names = [f"{label_of(one)} at {_progress(one)}" for one in halfway]
        found.append(f"Compared though they failed before the end: {_listed(names)}.")
    silent = [one for one in left_out if not one.error]
    blank = [one for one in silent if one.final and number(one.final[WIN_RATE]) is None]
    if blank:
        names = [f"{label_of(one)} says {one.final[WIN_RATE]}" for one in blank]
        found.append(f"Left out, as their last win rate is no number: {_listed(names)}.")
    silent = [one for one in silent if one not in blank]
    if silent:
        names = [f"{label_of(one)} at {steps_of(one):,} env steps" for one in silent]
        found.append(f"Left out, as they aren't done: {_listed(names)}.")
    found += [f"Left out: {one}" for one in study.foreign]
    sweep = study.recipe.sweep
    adaptive = [one for one in (sweep.search, sweep.scheduler) if one in ADAPTIVE]
    if adaptive and len(compared) > 1:
        found.append(
            f"{' and '.join(adaptive)} gave more trials or longer ones to what did well: read "
            "shares, p values and means along a field as hints."
        )
    if len({steps_of(one) for one in compared if one.is_whole}) > 1:
        found.append("Some trials were stopped early; they are compared by their last evaluation.")
    return found
