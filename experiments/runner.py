"""Trains and sweeps: Tune runs of trials, tracked, resumable. Training is a sweep of one trial."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from env.errors import BadInputError
from experiments import recipe as recipes
from experiments import session
from experiments.guards import explain
from experiments.lease import Lease
from experiments.metrics import extras_of, metrics_of, step_of
from experiments.recipe import Recipe
from experiments.space import (
    SEED,
    Dimension,
    count_draws,
    count_trials,
    parse_space,
    to_tune,
    variant_name,
    varied_fields,
)
from experiments.study import RECIPE_FILE, TrialResult
from experiments.tracking import (
    DEFAULT_TRACKING_URI,
    RunInfo,
    Tracker,
    TrackerConfig,
    check_tracking_uri,
)

Resume = Literal["auto", "never", "must"]

DONE_FILE = "finished"
"""Marks an experiment folder whose every trial has ended well."""
SPOOL = "tracking"
"""Folder of what MLflow is yet to be told."""
STATE_S = 0.02
"""Seconds between two writings of the driver's state, for each trial. The state has some 20 kB a
trial and takes a millisecond: this is as often as a twentieth of the driver's time allows, and a
killed driver forgets no more."""
DRAIN_S = 20.0
"""How long the end of a run waits for MLflow to take what is left, seconds."""


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What came of an experiment."""

    recipe: Recipe
    folder: Path
    trials: tuple[TrialResult, ...]
    tracker: Tracker
    seconds: float
    interrupted: bool

    @property
    def ranking(self) -> tuple[TrialResult, ...]:
        """Trials with an evaluation, best objective first."""
        judged = [one for one in self.trials if one.final]
        return tuple(sorted(judged, key=lambda one: -one.final["eval/objective"]))


def run(
    recipe: Recipe,
    *,
    is_sweep: bool,
    resume: Resume,
    command: str,
    announce: Callable[[str], None] = print,
) -> StudyResult:
    """Runs or continues an experiment to its end.

    Args:
        recipe: the whole config.
        is_sweep: whether to vary the recipe's `sweep.space`; else one trial.
        resume: `auto` continues an unfinished experiment of this study, `must` insists on one,
            `never` starts another.
        command: how the user called this, for the advice on resuming.
        announce: prints a line for the user.

    Raises:
        BadInputError: nonsense in the recipe, no experiment to resume, or another recipe than the
            unfinished one's.
    """
    session.prepare()
    from experiments.search import check_sweep

    dimensions = parse_space(recipe) if is_sweep else ()
    if is_sweep:
        check_sweep(recipe, dimensions)
    uri = tracking_uri(recipe.run.tracking_uri)
    if problem := check_tracking_uri(uri):
        raise BadInputError(problem)
    study = session.storage_folder(recipe.run.storage) / recipe.study
    kind = "sweep" if is_sweep else "train"
    with contextlib.ExitStack() as held:
        leases = []
        if resume == "auto" or (resume == "must" and study.is_dir()):
            with session.writing(study):
                leases.append(Lease(study, what=f"the study {recipe.study}"))
                held.enter_context(leases[-1])
        folder = _choose_folder(study, recipe, kind, resume)
        leases.append(Lease(folder, what=f"the experiment in {folder}"))
        held.enter_context(leases[-1])
        result = _Experiment(recipe, dimensions, folder, uri, command, announce).run()
        for lost in filter(None, (one.loss for one in leases)):
            announce(lost)
        return result


def tracking_uri(given: str = "") -> str:
    """MLflow's address: as given, else MLFLOW_TRACKING_URI, else `mlflow.db` in this folder."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI


def _choose_folder(study: Path, recipe: Recipe, kind: str, resume: Resume) -> Path:
    """An unfinished experiment's folder, or a new one's."""
    found = sorted(study.glob(f"{kind}-*")) if study.is_dir() else []
    unfinished = [one for one in found if not (one / DONE_FILE).exists()]
    unfinished = [one for one in unfinished if (one / "tuner.pkl").exists()]
    if resume != "never" and unfinished:
        folder = unfinished[-1]
        _check_same(folder, recipe)
        return folder
    if resume == "must":
        raise BadInputError(
            f"there is no unfinished {kind} in {study}; drop --resume must to start one."
        )
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = study / f"{kind}-{stamp}"
    for copy in range(2, 1000):
        if not folder.exists():
            break
        folder = study / f"{kind}-{stamp}-{copy}"
    with session.writing(folder):
        (folder / RECIPE_FILE).write_text(json.dumps(recipes.to_dict(recipe), indent=2) + "\n")
    return folder


def _check_same(folder: Path, recipe: Recipe) -> None:
    """An unfinished experiment goes on with its own settings or not at all."""
    try:
        stored = recipes.from_dict(json.loads((folder / RECIPE_FILE).read_text()))
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(
            f"{folder / RECIPE_FILE} can't be read ({error}); use --resume never to start anew."
        ) from error
    old, new = recipes.flatten(stored), recipes.flatten(recipe)
    # Where results lie and are tracked doesn't change what they are.
    free = ("run.storage", "run.tracking_uri", "sweep.max_concurrent")
    changed = [name for name in new if old.get(name) != new[name] and name not in free]
    if changed:
        name = changed[0]
        raise BadInputError(
            f"the unfinished run in {folder} has {name} = {old.get(name)!r}, not {new[name]!r}; "
            "repeat its settings to continue it, or use --resume never to start anew."
        )


class _Experiment:
    """One Tune run from start to result."""

    def __init__(
        self,
        recipe: Recipe,
        dimensions: tuple[Dimension, ...],
        folder: Path,
        tracking_uri: str,
        command: str,
        announce: Callable[[str], None],
    ) -> None:
        self.recipe = recipe
        self.dimensions = dimensions
        self.folder = folder
        self.command = command
        self.announce = announce
        self.num_trials = count_trials(dimensions, recipe) if dimensions else 1
        root = Path.cwd() if not session.in_ray_job() else folder.parent.parent.parent
        self.tracking = TrackerConfig(
            study=recipe.study,
            spool_dir=folder / SPOOL,
            tracking_uri=tracking_uri,
            root=root,
            drain_timeout_s=DRAIN_S,
        )

    def run(self) -> StudyResult:
        """Runs to the end, or until Ctrl-C."""
        from experiments.tracking import open_tracker

        started = time.monotonic()
        session.start_ray()
        ppo = self.recipe.ppo
        session.check_cpus(self.recipe.run.num_threads + ppo.num_env_runners + ppo.num_learners)
        is_resumed = (self.folder / "tuner.pkl").exists()
        verb = "continuing" if is_resumed else "running"
        self.announce(
            f"{verb} {self.num_trials} trial{'s' if self.num_trials > 1 else ''} of "
            f"{self.recipe.run.env_steps:,} env steps in {self.folder}"
        )
        tuner = self._restore() if is_resumed else self._make()
        try:
            with _state_written_every(STATE_S * self.num_trials):
                grid = tuner.fit()
        except Exception as error:
            # Tune tells callbacks nothing of its own end; what only memory holds would be lost.
            open_tracker(self.tracking).close()
            if (reason := _disk_error(error)) is not None:
                where = reason.filename or str(self.folder)
                raise OSError(reason.errno, reason.strerror, where) from error
            raise
        trials = tuple(self._result_of(one) for one in grid)
        finished = len(trials) == self.num_trials and all(
            not one.error and one.history and one.history[-1].get("done") for one in trials
        )
        interrupted = not finished and not any(one.error for one in trials)
        if finished:
            (self.folder / DONE_FILE).touch()
        else:
            self.announce(f"not finished; to go on from the last checkpoints: {self.command}")
        return StudyResult(
            recipe=self.recipe,
            folder=self.folder,
            trials=trials,
            tracker=open_tracker(self.tracking),
            seconds=time.monotonic() - started,
            interrupted=interrupted,
        )

    def _make(self) -> Any:
        from ray import tune

        from experiments.history import History
        from experiments.media import STRIPS
        from experiments.progress import Progress
        from experiments.search import make_scheduler, make_searcher
        from experiments.tracking import MLflowCallback
        from experiments.trial import Trial

        recipe = self.recipe
        info = describe_parent(recipe, self.folder.name, self.dimensions)
        return tune.Tuner(
            Trial,
            param_space={
                "recipe": recipes.to_dict(recipe),
                **to_tune(self.dimensions, is_grid=recipe.sweep.search == "grid"),
            },
            tune_config=tune.TuneConfig(
                num_samples=self._num_samples(),
                metric="objective" if self.dimensions else None,
                mode="max" if self.dimensions else None,
                scheduler=make_scheduler(recipe, self.dimensions),
                search_alg=make_searcher(recipe, self.dimensions),
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=self.folder.name,
                storage_path=str(self.folder.parent),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(num_to_keep=self._num_checkpoints()),
                failure_config=tune.FailureConfig(max_failures=recipe.run.max_failures),
                callbacks=[
                    History(),
                    Progress(recipe.run.env_steps, self.num_trials),
                    MLflowCallback(
                        self.tracking,
                        parent=info,
                        describe=functools.partial(describe_trial, recipe),
                        metrics_of=metrics_of,
                        step_of=step_of,
                        num_steps=recipe.run.env_steps,
                        extras_of=extras_of,
                        varied=varied_fields(self.dimensions, recipe),
                        strips=list(STRIPS.values()) if recipe.evaluation.replays else [],
                    ),
                ],
            ),
        )

    def _num_samples(self) -> int:
        """How often Tune draws; it repeats optuna's proposals for every seed."""
        if self.recipe.sweep.search == "optuna" and self.dimensions:
            return self.num_trials
        return count_draws(self.dimensions, self.recipe)

    def _num_checkpoints(self) -> int | None:
        """How many each trial keeps. PBT may send others on from an old one: it needs all."""
        pbt = self.recipe.sweep.scheduler == "pbt" and self.dimensions
        return None if pbt else self.recipe.run.num_checkpoints

    def _restore(self) -> Any:
        from ray import tune

        from experiments.trial import Trial

        return tune.Tuner.restore(str(self.folder), trainable=Trial, resume_errored=True)

    def _result_of(self, result: Any) -> TrialResult:
        from experiments.history import read_history
        from experiments.trial import build_recipe

        config = dict(result.config or {})  # None before the first report
        folder = Path(result.path)
        error = "" if result.error is None else explain(str(result.error), folder)
        return TrialResult(
            trial_id=str(result.metrics.get("trial_id", "")) if result.metrics else "",
            variant=variant_name(config),
            config=varied_of(config),
            history=read_history(folder),
            folder=folder,
            error=error,
            recipe=build_recipe(config) if config else None,
        )


@contextlib.contextmanager
def _state_written_every(seconds: float) -> Iterator[None]:
    """Tells Tune, whose only ear for this is the environment, how often to write its state."""
    name = "TUNE_GLOBAL_CHECKPOINT_S"
    if name in os.environ:
        yield
        return
    os.environ[name] = f"{seconds:.2f}"
    try:
        yield
    finally:
        del os.environ[name]


def _disk_error(error: BaseException | None) -> OSError | None:
    """What a file system said, if that is at the bottom: Tune wraps what its callbacks raise."""
    while error is not None and not (isinstance(error, OSError) and error.errno is not None):
        error = error.__cause__ or error.__context__
    return error


def varied_of(config: dict[str, Any]) -> dict[str, Any]:
    """What a trial varies, by dotted name."""
    return {name: value for name, value in config.items() if name != "recipe"}


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


@functools.cache
def git_state() -> dict[str, str]:
    """Commit and dirtiness of the source tree; empty outside a checkout that nobody spoke for.

    A job's sources are a copy: whoever submitted them says what they were.
    """
    told = {name: os.environ.get(f"CLOWDER_{name.upper()}") for name in ("git_commit", "git_dirty")}
    if told["git_commit"]:
        return {name: value for name, value in told.items() if value}
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        )
        return result.stdout.strip()

    try:
        return {
            "git_commit": git("rev-parse", "--short=12", "HEAD"),
            "git_dirty": str(bool(git("status", "--porcelain"))).lower(),
        }
    except (OSError, subprocess.CalledProcessError):
        return {}


def common_tags(recipe: Recipe) -> dict[str, str]:
    """What every run of a study is tagged with."""
    from env.batch import native
    from experiments.policy import simulator_of
    from native.build import hash_of

    sim = simulator_of(recipe)
    return {
        "study": recipe.study,
        "recipe": recipe.name,
        "game": sim.name,
        "simulator_version": f"{sim.version}-{hash_of(native())}",
        **git_state(),
    }


def describe_parent(recipe: Recipe, name: str, dimensions: tuple[Dimension, ...]) -> RunInfo:
    """The sweep's own run."""
    varied = ", ".join(varied_fields(dimensions, recipe)) or "nothing"
    return RunInfo(
        name=name,
        params=recipes.flatten(recipe),
        tags=common_tags(recipe),
        note=f"Recipe `{recipe.name}`, varying {varied}. Ranked by held-out win rate.",
    )


def describe_trial(recipe: Recipe, trial: Any) -> RunInfo:
    """A trial's run: its whole config, floats as floats."""
    from experiments.trial import REPEAT, build_recipe

    own = build_recipe(trial.config)
    variant = variant_name(trial.config)
    return RunInfo(
        name=f"{variant} s{own.run.seed}" if {SEED, REPEAT} & set(trial.config) else variant,
        params=recipes.flatten(own),
        tags={
            **common_tags(own),
            "variant": variant,
            "seed": own.run.seed,
            "ray_trial_id": trial.trial_id,
            "ray_job_id": _job_id(),
            "folder": str(trial.path or ""),
        },
    )


def _job_id() -> str:
    import ray

    return ray.get_runtime_context().get_job_id() if ray.is_initialized() else ""
