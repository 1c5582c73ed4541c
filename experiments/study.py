"""What experiments leave in their folders, read back: trials, their reports, what they played."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env.errors import BadInputError, unknown_name
from env.files import in_one_piece
from experiments import recipe as recipes
from experiments.guards import STOPPED_FILE
from experiments.recipe import Recipe
from experiments.space import LISTED, variant_name

RECIPE_FILE = "recipe.json"
"""The recipe that an experiment folder was started with."""
TRIAL_FILE = "trial.json"
"""What a trial's folder says of it: id, what it varies, its whole recipe."""
KINDS = ("sweep", "train")
"""How the folders of a study's experiments are called, with a date behind."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What came of one trial."""

    trial_id: str
    """Tune's id."""
    variant: str
    """What it varies, short."""
    config: dict[str, Any]
    """Varied fields by dotted name, a named variant's name, and the seed."""
    history: tuple[dict[str, Any], ...]
    """Its reports in the order of env steps, each step once."""
    folder: Path
    """Where its files are."""
    error: str
    """Why it failed; empty if it didn't."""
    recipe: Recipe | None = None
    """What it trained; None where that is not known, as before a first report."""

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.recipe.run.seed if self.recipe else 0

    @functools.cached_property
    def evaluations(self) -> tuple[dict[str, Any], ...]:
        """The reports that came with an evaluation."""
        return tuple(one for one in self.history if "eval/win_rate" in one)

    @functools.cached_property
    def final(self) -> dict[str, Any]:
        """The last evaluation's metrics; empty if there was none."""
        return self.evaluations[-1] if self.evaluations else {}

    @property
    def is_whole(self) -> bool:
        """Whether it has trained to the end of its recipe."""
        return bool(self.history and self.history[-1].get("done"))

    @property
    def policy(self) -> Path | None:
        """The newest portable policy."""
        found = sorted(self.folder.glob("checkpoint_*/policy/policy.json"))
        return found[-1].parent if found else None

    def kept(self, what: str, env_steps: int | None = None) -> Path | None:
        """Where an evaluation's `replays` or `episodes` lie, though the folder has moved.

        Args:
            what: `replays` or `episodes`.
            env_steps: of the evaluation; None: the last one.
        """
        if env_steps is None:
            row = self.final
        else:
            row = next((one for one in self.evaluations if one["env_steps"] == env_steps), {})
        said = row.get(what)
        if not isinstance(said, str) or not Path(said).name:
            return None
        path = self.folder / what / Path(said).name
        return path if path.exists() else None


@dataclass(frozen=True, kw_only=True)
class Study:
    """One experiment as it stands: finished, interrupted or running."""

    name: str
    folder: Path
    recipe: Recipe
    """What it was started with."""
    trials: tuple[TrialResult, ...]
    """In the order in which they were made."""
    foreign: tuple[str, ...] = ()
    """Why other trials aren't among them, a sentence each: another version wrote their recipes."""

    @property
    def varied(self) -> tuple[str, ...]:
        """Fields that differ between its trials' recipes, but for the seed."""
        flat = [recipes.flatten(one.recipe) for one in self.trials if one.recipe and one.final]
        if not flat:
            return ()
        return tuple(
            name
            for name, value in flat[0].items()
            if name not in LISTED and any(one[name] != value for one in flat)
        )


def note_trial(folder: Path, trial_id: str, config: Mapping[str, Any], recipe: Recipe) -> None:
    """Writes down what a trial is, in its own folder.

    Args:
        folder: the trial's.
        trial_id: Tune's.
        config: what it varies.
        recipe: all of it.
    """
    data = {"trial_id": trial_id, "config": dict(config), "recipe": recipes.to_dict(recipe)}
    with in_one_piece(folder / TRIAL_FILE) as path:
        path.write_text(json.dumps(data, indent=2) + "\n")


class ForeignTrialError(BadInputError):
    """A trial's recipe is whole, but has fields or values that no recipe has here."""


def _encodable(value: Any) -> Any:
    """The same, without halves of characters, which JSON may hold but no file can."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def read_trial(folder: Path) -> TrialResult:
    """A trial's result from its folder.

    Raises:
        ForeignTrialError: another version wrote its recipe.
        BadInputError: what it says of itself can't be read.
    """
    from experiments.history import read_history

    try:
        data = json.loads((folder / TRIAL_FILE).read_text())
        config = {_encodable(name): _encodable(value) for name, value in data["config"].items()}
        trial_id = str(data["trial_id"])
        recipe = recipes.from_dict(data["recipe"])
    except BadInputError as error:
        raise ForeignTrialError(
            f"{folder / TRIAL_FILE} isn't of this version of Clowder: {error}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(
            f"{folder / TRIAL_FILE} can't be read ({error}); remove that folder to do without it."
        ) from error
    try:
        reason = str(json.loads((folder / STOPPED_FILE).read_text())["reason"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        reason = ""
    return TrialResult(
        trial_id=trial_id,
        variant=variant_name(config),
        config=config,
        history=read_history(folder),
        folder=folder,
        error=reason,
        recipe=recipe,
    )


def load_study(name: str, storage: str = "results") -> Study:
    """The experiment that a STUDY names, without trials whose recipes another version wrote.

    Args:
        name: an experiment's folder, a study's folder, or its name; of several experiments the
            newest sweep, and without one the newest training.
        storage: folder that studies lie in.

    Raises:
        BadInputError: there is none.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = Path(storage) / name
    if not folder.is_dir():
        known = sorted(one.name for one in Path(storage).glob("*") if one.is_dir())
        if known:
            raise unknown_name("study", name, known)
        raise BadInputError(
            f"there is no study {name!r}, and no folder {storage}; `make sweep` makes one."
        )
    if not (folder / RECIPE_FILE).is_file():
        found = [one for kind in KINDS for one in sorted(folder.glob(f"{kind}-*"), reverse=True)]
        found = [one for one in found if (one / RECIPE_FILE).is_file()]
        if not found:
            raise BadInputError(f"{folder} holds no experiment; name one with {RECIPE_FILE} in it.")
        folder = found[0]
    try:
        recipe = recipes.from_dict(json.loads((folder / RECIPE_FILE).read_text()))
    except BadInputError as error:
        raise BadInputError(f"{folder / RECIPE_FILE}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"{folder / RECIPE_FILE} can't be read ({error}).") from error
    trials, foreign = [], []
    for path in sorted(folder.glob(f"*/{TRIAL_FILE}"), key=lambda one: one.parent.name):
        try:
            trials.append(read_trial(path.parent))
        except ForeignTrialError as error:
            foreign.append(str(error))
    return Study(
        name=recipe.study,
        folder=folder,
        recipe=recipe,
        trials=tuple(trials),
        foreign=tuple(foreign),
    )
