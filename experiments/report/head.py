"""What a study's report begins and ends with: what was run, and how to run it again."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from env.errors import BadInputError
from experiments import recipe as recipes
from experiments.metrics import NO, number
from experiments.overrides import flag_of
from experiments.recipe import Recipe
from experiments.report.canvas import Drawing
from experiments.report.markup import Markup, Part, join, section, tag, watch
from experiments.report.overview import Overview
from experiments.report.tables import Effect, FieldTable
from experiments.report.variants import label_of, verdict_of
from experiments.report.watching import Shelf
from experiments.response import Interaction
from experiments.study import TrialResult

MAX_QUOTED = 3
"""Verdicts that are quoted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """All that a page shows of a study."""

    overview: Overview
    fields: tuple[FieldTable, ...]
    effects: tuple[Effect, ...]
    """Named variants beside the base; only where fields vary one at a time."""
    interaction: Interaction | None
    drawings: Mapping[str, Drawing]
    shelf: Shelf
    warnings: tuple[str, ...] = ()
    """Of drawing the page, beside those of the overview."""

    @property
    def titles(self) -> list[str]:
        """Of the games."""
        return [one.title for one in self.shelf.games]

    def watch(self, *key: Any, words: str = "watch") -> Markup:
        """The button of what was asked for under this key."""
        return watch(self.shelf.at(*key), self.titles, words)


def head(found: Findings) -> Markup:
    """What was run, and what to keep in mind."""
    overview = found.overview
    study, recipe = overview.study, overview.study.recipe
    trials = overview.trials
    steps = max(one.final["env_steps"] for one in trials)
    is_final = any(one.is_whole for one in trials)
    levels = recipe.evaluation.num_final_levels if is_final else recipe.evaluation.num_levels
    count, seeds = len(overview.variants), overview.num_seeds
    facts = [
        f"recipe {recipe.name}",
        f"{recipe.env.num_agents} cats on {recipe.env.preset}",
        f"{count:,} variant{'s' * (count > 1)} with {seeds} seed{'s' * (seeds > 1)}",
        f"{steps:,} env steps",
        f"{levels:,} held-out levels",
        _when(trials),
    ]
    notes: list[Part] = [tag("p", one) for one in (*overview.warnings, *found.warnings)]
    notes += _verdicts(found)
    return join(
        tag("h1", study.name),
        tag("p", " · ".join(one for one in facts if one), class_="facts"),
        tag("div", notes, class_="warnings") if notes else None,
    )


def _when(trials: Sequence[TrialResult]) -> str:
    """When the last report came."""
    found = [number(one.history[-1].get("timestamp")) for one in trials]
    times = [one for one in found if one is not None]
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(max(times)))
    except (ValueError, OverflowError, OSError):  # none, or none that a calendar has
        return ""


def _verdicts(found: Findings) -> list[Part]:
    """Hacked rewards, those first that still are."""
    flagged = found.overview.hacked
    if not flagged:
        return []
    still = sum(not verdict_of(one).startswith(NO) for one in flagged)
    words = f"Hacked reward? On {still} of {len(found.overview.trials)} trials"
    if still < len(flagged):
        words += f", and no longer on {len(flagged) - still}"
    lines: list[Part] = [tag("p", tag("b", f"{words}."))]
    for trial in flagged[:MAX_QUOTED]:
        game = found.watch("hacked", str(trial.folder))
        lines.append(tag("p", tag("b", label_of(trial)), f": {verdict_of(trial)} ", game))
    if len(flagged) > MAX_QUOTED:
        lines.append(tag("p", "The ranking marks the others."))
    return lines


def rest(found: Findings) -> Markup:
    """How to do it again, and the whole config."""
    study = found.overview.study
    verb = "sweep" if study.folder.name.startswith("sweep") else "train"
    lines = [
        command(verb, study.recipe),
        f"clowder report {shlex.quote(str(study.folder))}",
    ]
    best = found.overview.variants[0].typical.policy
    if best is not None:
        lines += [f"clowder {of} {shlex.quote(str(best))}" for of in ("evaluate", "watch")]
    whole = json.dumps(recipes.to_dict(study.recipe), indent=2)
    return section(
        "rest",
        "Do it again",
        tag("pre", "\n".join(lines), class_="wraps"),
        tag("details", tag("summary", "the whole recipe"), tag("pre", whole)),
        note="Beside this page lie its figures as PNG, trials.csv with a row a trial, and "
        "marl_eval.json for marl-eval's plots.",
    )


def command(verb: str, recipe: Recipe) -> str:
    """The command line that runs this recipe."""
    from experiments.recipes import find_recipe

    try:
        plain = recipes.flatten(find_recipe(recipe.name))
    except BadInputError:
        return f"# the recipe {recipe.name} isn't one of Clowder's own; it is below"
    words = ["clowder", verb, recipe.name]
    for name, value in recipes.flatten(recipe).items():
        if value != plain[name] and name not in ("run.storage", "run.tracking_uri"):
            words += _flag(flag_of(name), _words(value))
    return shlex.join(words)


def _flag(flag: str, words: list[str]) -> list[str]:
    """A flag with its values; where one looks like a flag itself, each is bound by `=`."""
    if any(one.startswith("--") for one in words):
        return [f"{flag}={one}" for one in words]
    return [flag, *words]


def _words(value: Any) -> list[str]:
    """A value as the command line takes it."""
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return [str(value).lower() if value is None or isinstance(value, bool) else str(value)]
