"""Searches and schedulers: what is proposed, who goes on, what is refused, and two real sweeps."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Repeater, SearchGenerator
from ray.tune.search.optuna import OptunaSearch

from env.errors import BadInputError
from experiments import recipe as recipes
from experiments import runner, session
from experiments.progress import Progress
from experiments.recipe import Recipe
from experiments.recipes import find_recipe
from experiments.runner import DONE_FILE, SPOOL, StudyResult
from experiments.search import check_sweep, make_scheduler, make_searcher
from experiments.space import SEED, count_trials, parse_space, to_tune, variant_name
from experiments.tracking import audit
from experiments.trial import OBJECTIVE, REPEAT, build_recipe


def make(*space: str, **sweep: Any) -> Recipe:
    values = {"sweep.space": space, **{f"sweep.{name}": one for name, one in sweep.items()}}
    recipe: Recipe = recipes.replace(find_recipe("smoke"), values)
    return recipe


# -- searchers


class Proposals:
    """A searcher as Tune's run uses it, with what trials reach told by hand."""

    def __init__(self, recipe: Recipe) -> None:
        dimensions = parse_space(recipe)
        self.num_samples = count_trials(dimensions, recipe)
        self.searcher = make_searcher(recipe, dimensions)
        self.generator = SearchGenerator(self.searcher)
        config = {"recipe": recipes.to_dict(recipe), **to_tune(dimensions, is_grid=False)}
        self.generator.set_search_properties(OBJECTIVE, "max", config)
        experiment = tune.Experiment(
            "any", tune.Trainable, config=config, num_samples=self.num_samples
        )
        self.generator.add_configurations([experiment])

    def next(self) -> Any:
        """The next trial; None while earlier ones should end first."""
        return self.generator.next_trial()

    def end(self, trial: Any, objective: float) -> None:
        self.generator.on_trial_complete(trial.trial_id, {OBJECTIVE: objective})

    def drain(self, objective_of: Callable[[Recipe], float]) -> list[dict[str, Any]]:
        """The configs of the whole search, each told what it reaches before the next."""
        configs: list[dict[str, Any]] = []
        while (trial := self.next()) is not None:
            configs.append(trial.config)
            self.end(trial, objective_of(build_recipe(trial.config)))
        return configs

    @property
    def told(self) -> list[tuple[dict[str, Any], float | None]]:
        """Parameters and values that optuna knows."""
        search = self.searcher
        while not isinstance(search, OptunaSearch):
            search = search.searcher
        return [(one.params, one.value) for one in search._ot_study.trials]


@pytest.mark.parametrize("search", ["grid", "random"])
def test_grid_and_random_draw_from_tunes_own_generator(search: str) -> None:
    recipe = make("rewards.alive=0,0.01", search=search, max_concurrent=3)
    searcher = make_searcher(recipe, parse_space(recipe))
    assert isinstance(searcher, BasicVariantGenerator) and searcher.max_concurrent == 3


@pytest.mark.parametrize("search", ["grid", "random", "optuna"])
@pytest.mark.parametrize("scheduler", ["none", "asha", "pbt"])
def test_a_single_training_is_neither_searched_nor_stopped(search: str, scheduler: str) -> None:
    recipe = make(search=search, scheduler=scheduler)
    assert isinstance(make_searcher(recipe, ()), BasicVariantGenerator)
    assert make_scheduler(recipe, ()) is None


SPACE = (
    "rewards.defeat",
    "ppo.lr=1e-4:1e-2:log",
    "env.scroll_period=4:8",
    "ppo.num_envs=64:1024:log",
    "env.preset=meadow,gates",
    "env.length=none,30",
    "model.lstm=true,false",
)
"""A dimension of every kind."""


def test_optuna_proposes_values_of_every_kind_within_their_ranges(ray: Any) -> None:
    proposals = Proposals(make(*SPACE, search="optuna", num_trials=40))
    assert proposals.num_samples == 40
    built = [build_recipe(one) for one in proposals.drain(lambda recipe: recipe.rewards.defeat)]
    assert len(built) == 40
    assert all(-2 <= one.rewards.defeat <= 0 and 1e-4 <= one.ppo.lr <= 1e-2 for one in built)
    assert {one.env.scroll_period for one in built} <= {4, 5, 6, 7, 8}
    assert all(type(one.ppo.num_envs) is int and 64 <= one.ppo.num_envs <= 1024 for one in built)
    for field, expected in (
        (lambda one: one.env.preset, {"meadow", "gates"}),
        (lambda one: one.env.length, {None, 30}),
        (lambda one: one.model.lstm, {True, False}),
    ):
        assert {field(one) for one in built} == expected


def test_optuna_learns_from_what_its_proposals_reach(ray: Any) -> None:
    """Beside the optimum more often than chance, which would bring a tenth there."""

    def goodness(recipe: Recipe) -> float:
        return -abs(recipe.rewards.key - 0.8)

    proposals = Proposals(make("rewards.key=0:1", search="optuna", num_trials=60))
    configs = proposals.drain(goodness)
    late = [abs(one["rewards.key"] - 0.8) < 0.05 for one in configs[30:]]
    assert sum(late) > 10


def test_optuna_repeats_with_the_seed_of_the_search(ray: Any) -> None:
    def draw(seed: int) -> list[float]:
        proposals = Proposals(make("rewards.key=0:1", search="optuna", num_trials=15, seed=seed))
        return [one["rewards.key"] for one in proposals.drain(lambda one: one.rewards.key)]

    assert draw(1) == draw(1) != draw(2)


def test_each_proposal_is_trained_with_every_seed_and_told_their_mean(ray: Any) -> None:
    recipe = make("rewards.key=0:1", "ppo.lr=1e-4:1e-2", search="optuna", num_trials=3, num_seeds=3)
    recipe = recipes.replace(recipe, {"run.seed": 5})
    proposals = Proposals(recipe)
    assert isinstance(proposals.searcher, Repeater) and proposals.num_samples == 9
    configs = proposals.drain(lambda one: one.rewards.key + one.run.seed)
    assert [one[REPEAT] for one in configs] == [0, 1, 2] * 3
    built = [build_recipe(one) for one in configs]
    assert [one.run.seed for one in built] == [5, 6, 7] * 3
    for i in (0, 3, 6):
        group = built[i : i + 3]
        # The same but for the seed.
        assert {recipes.replace(one, {SEED: 0}) for one in group} == {
            recipes.replace(group[0], {SEED: 0})
        }
    assert len({one.rewards.key for one in built}) == 3
    told = proposals.told
    assert [params["rewards.key"] for params, _ in told] == [one.rewards.key for one in built[::3]]
    for params, value in told:
        assert value == pytest.approx(params["rewards.key"] + 6)


def test_a_repetition_is_no_part_of_a_variants_name() -> None:
    assert variant_name({"recipe": {}, "rewards.key": 0.5, REPEAT: 2}) == "key=0.5"


def test_a_proposal_waits_until_enough_others_have_ended(ray: Any) -> None:
    """Drawn all at once, proposals would know nothing of each other."""
    proposals = Proposals(make("rewards.key=0:1", search="optuna", num_trials=9, max_concurrent=2))
    assert isinstance(proposals.searcher, ConcurrencyLimiter)
    first, second = proposals.next(), proposals.next()
    assert first is not None and second is not None and proposals.next() is None
    proposals.end(second, 0.5)
    assert proposals.next() is not None and proposals.next() is None


@pytest.mark.parametrize(
    ("fields", "num_seeds", "expected"),
    [({}, 1, 2), ({"run.num_threads": 2}, 1, 1), ({}, 2, 1), ({"ppo.num_env_runners": 5}, 3, 1)],
)
def test_by_default_as_many_proposals_as_the_processors_take(
    ray: Any, fields: dict[str, Any], num_seeds: int, expected: int
) -> None:
    """The tests' Ray has two."""
    recipe = make("rewards.key=0:1", search="optuna", num_seeds=num_seeds)
    recipe = recipes.replace(recipe, fields)
    searcher = make_searcher(recipe, parse_space(recipe))
    limiter = searcher.searcher if num_seeds > 1 else searcher
    assert limiter.max_concurrent == expected


def test_max_concurrent_counts_trials_also_with_several_seeds(ray: Any) -> None:
    """As its sentence says: trials at the same time."""
    recipe = make("rewards.key=0:1", search="optuna", num_trials=4, num_seeds=2, max_concurrent=2)
    proposals = Proposals(recipe)
    assert None not in (proposals.next(), proposals.next())
    assert proposals.next() is None


def test_optuna_is_quiet(ray: Any) -> None:
    import optuna

    recipe = make("rewards.key=0:1", search="optuna")
    make_searcher(recipe, parse_space(recipe))
    assert optuna.logging.get_verbosity() >= optuna.logging.WARNING


# -- schedulers


def scheduler_of(recipe: Recipe) -> Any:
    scheduler = make_scheduler(recipe, parse_space(recipe))
    scheduler.set_search_properties(OBJECTIVE, "max")
    return scheduler


def test_without_a_scheduler_every_trial_finishes() -> None:
    assert make_scheduler(make("rewards.alive=0,1"), parse_space(make("rewards.alive=0,1"))) is None


def test_asha_leaves_the_grace_and_stops_the_worse_by_env_steps() -> None:
    recipe = make("rewards.alive=0,0.01,0.02", scheduler="asha", grace_env_steps=100)
    recipe = recipes.replace(recipe, {"run.env_steps": 900})
    asha = scheduler_of(recipe)
    assert isinstance(asha, ASHAScheduler)
    trials = [SimpleNamespace(trial_id=str(i)) for i in range(3)]
    for one in trials:
        asha.on_trial_add(None, one)

    def report(i: int, env_steps: int, objective: float) -> str:
        result = {"env_steps": env_steps, OBJECTIVE: objective, "training_iteration": 9999}
        return str(asha.on_trial_result(None, trials[i], result))

    go, stop = TrialScheduler.CONTINUE, TrialScheduler.STOP
    assert [report(i, 99, 0) for i in range(3)] == [go] * 3
    assert [report(0, 100, 0.9), report(1, 100, 0.5), report(2, 100, 0.1)] == [go, stop, stop]
    assert [report(0, 300, 0.9), report(0, 900, 0.9)] == [go, stop]


class Exchange:
    """The change that PBT makes to a better trial's config, without a run."""

    def __init__(self, *space: str, **sweep: Any) -> None:
        self.recipe = make(*space, search="random", scheduler="pbt", **sweep)
        self.dimensions = parse_space(self.recipe)
        self.scheduler = scheduler_of(self.recipe)
        assert isinstance(self.scheduler, PopulationBasedTraining)

    def chain(self, count: int, **start: Any) -> list[dict[str, Any]]:
        """Configs, each changed from the one before."""
        random.seed(0)
        configs = [{"recipe": recipes.to_dict(self.recipe), **start}]
        for _ in range(count):
            clone = SimpleNamespace(config=configs[-1])
            configs.append(self.scheduler._get_new_config(None, clone)[0])
        return configs


def test_pbt_goes_by_env_steps_after_the_grace() -> None:
    pbt = Exchange("rewards.alive=0,1", grace_env_steps=300).scheduler
    assert (pbt._time_attr, pbt._metric, pbt._metric_op) == ("env_steps", OBJECTIVE, 1.0)
    assert pbt._perturbation_interval == pbt._burn_in_period == 300


def test_pbt_changes_the_fields_of_the_space_and_nothing_else() -> None:
    exchange = Exchange(
        "rewards.key=0.1:0.9", "ppo.num_epochs=1,2,3,4", "env.preset=meadow,gates", num_seeds=2
    )
    start = {"rewards.key": 0.5, "ppo.num_epochs": 2, "env.preset": "gates", SEED: 1}
    configs = exchange.chain(100, **start)
    for field in ("rewards.key", "ppo.num_epochs", "env.preset"):
        assert len({one[field] for one in configs}) > 1, field
    for one in configs:
        assert set(one) == {"recipe", *start} and one[SEED] == 1
        assert one["recipe"] == configs[0]["recipe"]


def test_pbt_keeps_to_listed_values() -> None:
    exchange = Exchange(
        "rewards.team_share=0,0.2,1",
        "ppo.num_epochs=1,2,4",
        "env.length=none,18,30",
        "env.all_colours=true,false",
    )
    start = {
        "rewards.team_share": 1.0,
        "ppo.num_epochs": 4,
        "env.length": None,
        "env.all_colours": True,
    }
    configs = exchange.chain(200, **start)
    for dimension in exchange.dimensions:
        found = [one[dimension.field] for one in configs]
        assert set(found) == set(dimension.values)
        assert {type(one) for one in found} == {type(one) for one in dimension.values}
    for one in configs:
        build_recipe(one)


@pytest.mark.parametrize(
    ("space", "start"),
    [
        ("rewards.team_share=0:1", 0.9),
        ("rewards.team_share", 0.9),
        ("rewards.defeat=-1:0", -0.9),
        ("ppo.lr=1e-4:1e-2:log", 9e-3),
        ("ppo.gamma=0.9:0.999", 0.99),
        ("env.scroll_period=4:8", 8),
        ("env.num_agents=2:8", 8),
    ],
)
def test_pbt_stays_inside_ranges(space: str, start: float) -> None:
    exchange = Exchange(space)
    (dimension,) = exchange.dimensions
    for one in exchange.chain(200, **{dimension.field: start}):
        assert dimension.low <= one[dimension.field] <= dimension.high
        build_recipe(one)  # a value that the recipe refuses would fail the trial for good


# -- refusals


def checked(recipe: Recipe) -> None:
    """What is done before anything starts."""
    check_sweep(recipe, parse_space(recipe))


def refusal(recipe: Recipe) -> str:
    with pytest.raises(BadInputError) as caught:
        checked(recipe)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def test_optuna_and_pbt_exclude_each_other() -> None:
    reason = refusal(make("rewards.key=0:1", search="optuna", scheduler="pbt"))
    assert "--sweep.search random" in reason and "--sweep.scheduler" in reason


@pytest.mark.parametrize(
    "space",
    [
        "model.lstm=true,false",
        "model.hidden_size=32,64",
        "algorithm=ppo,segment_ppo",
        "evaluation.num_levels=4,8",
        "run.max_failures=0,1",
        "run.hang_timeout_s=10:20",
    ],
)
def test_pbt_refuses_fields_that_no_checkpoint_survives(space: str) -> None:
    recipe = make("rewards.key=0:1", space, search="random", scheduler="pbt", grace_env_steps=100)
    reason = refusal(recipe)
    assert space.partition("=")[0] in reason and "--sweep.scheduler" in reason
    for scheduler in ("none", "asha"):
        checked(recipes.replace(recipe, {"sweep.scheduler": scheduler, "run.env_steps": 200_000}))


def test_pbt_takes_rewards_games_and_settings() -> None:
    space = ("rewards.key=0:1", "env.preset=meadow,gates", "ppo.lr=1e-4:1e-2:log")
    checked(make(*space, search="random", scheduler="pbt", grace_env_steps=100))
    checked(make(*space, f"{SEED}=0,1", search="random", scheduler="pbt", grace_env_steps=100))


@pytest.mark.parametrize(
    ("more", "named"),
    [({"num_seeds": 2}, "--sweep.num-seeds"), ({"grace_env_steps": 1024}, "--sweep.grace-env")],
)
def test_pbt_refuses_what_it_would_do_by_halves(more: dict[str, int], named: str) -> None:
    settings = {"grace_env_steps": 100, **more}
    recipe = make("rewards.key=0:1", search="random", scheduler="pbt", **settings)
    assert named in refusal(recipe)


@pytest.mark.parametrize("search", ["grid", "random", "optuna"])
@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_other_combinations_are_fine(search: str, scheduler: str) -> None:
    recipe = make(
        "rewards.key=0,1", "model.lstm=true,false", search=search, scheduler=scheduler, num_seeds=2
    )
    checked(recipes.replace(recipe, {"run.env_steps": 200_000}))


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        # AssertionError: grace_period must be <= max_t
        (make("rewards.key=0,1", scheduler="asha"), "sweep.grace-env-steps"),
        # TuneError: at least one of `hyperparam_mutations`
        (make("run.seed=0,1", scheduler="pbt", grace_env_steps=100), "pbt"),
        # ValueError: grid search parameters cannot be converted to an Optuna search space
        (make("rewards.key=0:1", "run.seed=0,1", search="optuna"), "--sweep.num-seeds"),
    ],
)
def test_what_tune_would_end_with_a_traceback_is_refused(recipe: Recipe, named: str) -> None:
    assert named in refusal(recipe)


@pytest.mark.parametrize("field", ["num_env_runners", "num_learners", "num_gpus"])
def test_pbt_refuses_to_change_what_a_trial_was_given(field: str) -> None:
    """Tune reserves a trial's processors once."""
    recipe = make(f"ppo.{field}=0,1", scheduler="pbt", grace_env_steps=100)
    assert field in refusal(recipe)


# -- real sweeps, interrupted and resumed


@dataclass(frozen=True)
class Sweep:
    """A sweep that Ctrl-C stopped in the middle, and that was then resumed."""

    stopped: StudyResult
    result: StudyResult
    before: tuple[dict[str, Any], ...]
    """All reports until Ctrl-C, in their order."""
    after: tuple[dict[str, Any], ...]
    """All reports from then on."""
    out: str
    warnings: tuple[str, ...]


def run_twice(
    recipe: Recipe, is_time: Callable[[list[dict[str, Any]], dict[str, Any]], bool]
) -> Sweep:
    """Runs a sweep, with Ctrl-C at the first report that is in time, and once more.

    Args:
        recipe: the sweep's.
        is_time: told all earlier reports and the newest one.
    """
    runs: list[list[dict[str, Any]]] = []
    on_trial_result = Progress.on_trial_result

    def listening(
        self: Progress, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        if len(runs) == 1 and not is_stopped and is_time(runs[0], result):
            is_stopped.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        runs[-1].append(dict(result))
        on_trial_result(self, iteration, trials, trial, result, **info)

    is_stopped: list[bool] = []
    lines: list[str] = []

    def call() -> StudyResult:
        runs.append([])
        found = runner.run(
            recipe, is_sweep=True, resume="auto", command="the command", announce=lines.append
        )
        found.tracker.close(20.0)
        return found

    handler = signal.getsignal(signal.SIGINT)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(record=True) as caught,
            pytest.MonkeyPatch.context() as patch,
        ):
            warnings.simplefilter("always", UserWarning)
            patch.setattr(Progress, "on_trial_result", listening)
            stopped, result = call(), call()
    finally:
        signal.signal(signal.SIGINT, handler)
    return Sweep(
        stopped=stopped,
        result=result,
        before=tuple(runs[0]),
        after=tuple(runs[1]),
        out="\n".join(lines),
        warnings=tuple(str(one.message) for one in caught if one.category is UserWarning),
    )


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "evaluation.num_levels": 4,
        "evaluation.num_final_levels": 8,
        "run.storage": str(folder / "results"),
        "run.tracking_uri": f"sqlite:///{folder}/mlflow.db",
        **{name.replace("__", "."): value for name, value in more.items()},
    }


def check_finished(sweep: Sweep, num_trials: int, env_steps: int) -> None:
    """Both runs are one sweep, whose every trial ended well, was judged, ranked and tracked."""
    assert sweep.stopped.interrupted and not sweep.result.interrupted
    assert "the command" in sweep.out and f"continuing {num_trials} trials" in sweep.out
    assert sweep.stopped.folder == sweep.result.folder
    assert (sweep.result.folder / DONE_FILE).exists()
    trials = sweep.result.trials
    assert len(trials) == len({one.trial_id for one in trials}) == num_trials
    for one in trials:
        assert one.error == "" and one.history[-1]["env_steps"] >= env_steps
        assert one.final == one.history[-1] and one.policy is not None
    ranked = [one.final["eval/objective"] for one in sweep.result.ranking]
    assert len(ranked) == num_trials and ranked == sorted(ranked, reverse=True)
    assert audit(sweep.result.folder / SPOOL).complete


def children_of(folder: Path) -> dict[str, Any]:
    """MLflow's runs of trials, by Tune's id."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = client.search_runs([one.experiment_id for one in client.search_experiments()])
    children = [one for one in found if "mlflow.parentRunId" in one.data.tags]
    by_trial = {one.data.tags["ray_trial_id"]: one for one in children}
    assert len(by_trial) == len(children)
    return by_trial


@pytest.fixture(scope="module")
def optuna_sweep(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """Two proposals with two seeds each; Ctrl-C when the second trial has reported once."""
    folder = tmp_path_factory.mktemp("optuna")
    recipe = make(
        "rewards.own_block=0.01:0.1", "ppo.lr=1e-4:1e-2:log", search="optuna",
        num_trials=2, num_seeds=2,
    )  # fmt: skip
    recipe = recipes.replace(recipe, settings(folder, run__env_steps=512, run__seed=3))

    def is_time(seen: list[dict[str, Any]], result: dict[str, Any]) -> bool:
        return {result["trial_id"]} != {one["trial_id"] for one in seen[:1]} != set()

    yield run_twice(recipe, is_time)


def test_an_optuna_sweep_goes_on_to_its_end(optuna_sweep: Sweep) -> None:
    assert len(optuna_sweep.stopped.trials) < 4
    check_finished(optuna_sweep, num_trials=4, env_steps=512)


def test_resumed_proposals_still_have_every_seed(optuna_sweep: Sweep) -> None:
    by_variant: dict[str, list[int]] = {}
    for one in optuna_sweep.result.trials:
        by_variant.setdefault(one.variant, []).append(one.config[REPEAT])
        assert 0.01 <= one.config["rewards.own_block"] <= 0.1
    assert [sorted(one) for one in by_variant.values()] == [[0, 1], [0, 1]]


def test_optuna_was_told_the_mean_of_each_proposals_seeds(optuna_sweep: Sweep) -> None:
    newest = max(optuna_sweep.result.folder.glob("searcher-state-*.pkl"))
    study = pickle.loads(newest.read_bytes())["_ot_study"]
    reached: dict[float, list[float]] = {}
    for one in optuna_sweep.result.trials:
        reached.setdefault(one.config["ppo.lr"], []).append(one.history[-1][OBJECTIVE])
    assert len(study.trials) == 2
    for one in study.trials:
        values = reached[one.params["ppo.lr"]]
        assert len(values) == 2 and one.value == pytest.approx(sum(values) / 2)


def test_a_repetition_is_tracked_with_the_seed_that_it_had(optuna_sweep: Sweep) -> None:
    children = children_of(optuna_sweep.result.folder.parents[2])
    assert len(children) == 4
    for one in optuna_sweep.result.trials:
        child, seed = children[one.trial_id], 3 + one.config[REPEAT]
        assert child.info.status == "FINISHED"
        assert child.data.params["run.seed"] == child.data.tags["seed"] == str(seed)
        assert child.info.run_name.endswith(f" s{seed}")


def make_lockstep(base: type, reported: Path) -> type:
    """Trials that wait for their turn, so that it is known who goes on from whom, and from where.

    Of two, the first one's report always comes first. The second is always called the better.

    Args:
        base: what they do.
        reported: folder of files `<trial id> <env steps>`, one for each report that came so far.
    """

    class Lockstep(base):  # type: ignore[misc, valid-type]
        def step(self) -> dict[str, Any]:
            is_second = self.trial_id.endswith("1")
            deadline = time.monotonic() + 60
            while not self._is_turn(256 * is_second) and time.monotonic() < deadline:
                time.sleep(0.02)
            return {**super().step(), OBJECTIVE: float(is_second)}

        def _is_turn(self, ahead: int) -> bool:
            told = [one.name.split() for one in reported.iterdir()]
            others = [int(one[1]) for one in told if one[0] not in (self.trial_id, "all")]
            return ["all"] in told or max(others, default=0) >= self._env_steps + ahead

    return Lockstep


def pbt_recipe(folder: Path, **more: Any) -> Recipe:
    recipe = make(
        "ppo.lr=1e-4:1e-2:log",
        "rewards.own_block=0,0.05,0.1",
        search="random",
        num_trials=2,
        scheduler="pbt",
        grace_env_steps=512,
    )
    changed: Recipe = recipes.replace(recipe, settings(folder, **more))
    return changed


@pytest.fixture(scope="module")
def pbt_sweep(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two trials; Ctrl-C at the first report with a value that PBT has changed."""
    from experiments.trial import Trial

    folder = tmp_path_factory.mktemp("pbt")
    reported = folder / "reported"
    reported.mkdir()
    recipe = pbt_recipe(folder, run__env_steps=1280, run__num_checkpoints=9)

    def is_time(seen: list[dict[str, Any]], result: dict[str, Any]) -> bool:
        (reported / f"{result['trial_id']} {result['env_steps']}").touch()
        own = [one for one in seen if one["trial_id"] == result["trial_id"]]
        is_changed = bool(own) and own[0]["train/ppo.lr"] != result["train/ppo.lr"]
        if is_changed:
            (reported / "all").touch()  # nobody need wait any more
        return is_changed

    random.seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.trial.Trial", make_lockstep(Trial, reported))
        return run_twice(recipe, is_time)


def test_a_pbt_sweep_goes_on_to_its_end(pbt_sweep: Sweep) -> None:
    check_finished(pbt_sweep, num_trials=2, env_steps=1280)


def of_trial(reports: tuple[dict[str, Any], ...], number: int) -> list[dict[str, Any]]:
    return [one for one in reports if one["trial_id"].endswith(str(number))]


def test_the_worse_trial_goes_on_with_changed_values_from_the_better_one(pbt_sweep: Sweep) -> None:
    worse, better = (of_trial(pbt_sweep.before, i) for i in (0, 1))
    *others, changed = worse
    assert {one["train/ppo.lr"] for one in others} == {worse[0]["train/ppo.lr"]}
    assert changed["train/ppo.lr"] not in (worse[0]["train/ppo.lr"], better[0]["train/ppo.lr"])
    assert {one["train/ppo.lr"] for one in better} == {better[0]["train/ppo.lr"]}
    # From a checkpoint of the better one's, at an exchange.
    assert (changed["env_steps"] - 256) % 512 == 0 < changed["env_steps"] - 256
    for one in (*pbt_sweep.before, *pbt_sweep.after):
        assert one["train/rewards.own_block"] in (0, 0.05, 0.1)


def test_a_changed_value_is_the_one_that_is_trained_with(pbt_sweep: Sweep) -> None:
    lr_end = find_recipe("smoke").ppo.lr_end
    for one in (*pbt_sweep.before, *pbt_sweep.after):
        lr, share = one["train/ppo.lr"], one["env_steps"] / 1280
        assert one["train/learning_rate"] == pytest.approx(lr + (lr_end - lr) * share, rel=0.02)


def test_a_changed_value_outlives_an_interruption(pbt_sweep: Sweep) -> None:
    for number in (0, 1):
        before, after = (of_trial(one, number) for one in (pbt_sweep.before, pbt_sweep.after))
        for name in ("train/ppo.lr", "train/rewards.own_block"):
            assert after[0][name] == before[-1][name]
    for one in pbt_sweep.result.trials:
        last = one.history[-1]
        assert last["train/ppo.lr"] == one.config["ppo.lr"]
        assert last["train/rewards.own_block"] == one.config["rewards.own_block"]


def curves_of(sweep: Sweep) -> Iterator[tuple[list[tuple[int, float]], list[tuple[int, float]]]]:
    """A changed field of each trial, as MLflow has it and as the trial's own history has it."""
    from mlflow.tracking import MlflowClient

    folder = sweep.result.folder.parents[2]
    client, children = MlflowClient(f"sqlite:///{folder}/mlflow.db"), children_of(folder)
    assert len(children) == len(sweep.result.trials)
    for trial in sweep.result.trials:
        points = client.get_metric_history(
            children[trial.trial_id].info.run_id, name := "train/ppo.lr"
        )
        yield (
            sorted((one.step, one.value) for one in points),
            [(one["env_steps"], one[name]) for one in trial.history],
        )


def test_what_pbt_changes_is_tracked_as_a_curve(pbt_sweep: Sweep) -> None:
    for stored, expected in curves_of(pbt_sweep):
        assert [step for step, _ in stored] == [step for step, _ in expected]
        assert stored[0] == expected[0] and stored[-1] == expected[-1]


def make_quick() -> type:
    """A trial that does next to nothing, with a checkpoint after every report."""
    from experiments.trial import ENV_STEPS, Trial

    class Quick(Trial):
        def setup(self, config: dict[str, Any]) -> None:
            self.recipe = build_recipe(config)
            self._env_steps = 0

        def step(self) -> dict[str, Any]:
            self._env_steps += 256
            return {
                ENV_STEPS: self._env_steps,
                "done": self._env_steps >= self.recipe.run.env_steps,
                tune.result.SHOULD_CHECKPOINT: True,
            }

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            (Path(checkpoint_dir) / "steps").write_text(str(self._env_steps))

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            self._env_steps = int((Path(checkpoint_dir) / "steps").read_text())

        def cleanup(self) -> None:
            pass

    return Quick


def test_a_checkpoint_that_another_trial_goes_on_from_is_kept(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The better one's of the exchange before, after which it has saved four more."""
    reported = tmp_path / "reported"
    reported.mkdir()

    def tell(self: Any, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        (reported / f"{trial.trial_id} {result['env_steps']}").touch()
        if result["env_steps"] >= 2560:
            (reported / "all").touch()  # nobody need wait for a trial that has failed

    monkeypatch.setattr(Progress, "on_trial_result", tell)
    monkeypatch.setattr("experiments.trial.Trial", make_lockstep(make_quick(), reported))
    recipe = pbt_recipe(
        tmp_path,
        sweep__grace_env_steps=1280,
        run__env_steps=2816,
        run__checkpoint_env_steps=256,
        run__max_failures=0,
    )
    result = runner.run(
        recipe, is_sweep=True, resume="never", command="", announce=lambda line: None
    )
    result.tracker.close(0.0)
    assert (result.folder / "pbt_global.txt").exists()  # an exchange has come
    assert [one.error for one in result.trials] == ["", ""]


def test_pbt_is_quiet(pbt_sweep: Sweep) -> None:
    assert not pbt_sweep.warnings


def test_a_resumed_optuna_search_is_quiet(ray: Any) -> None:
    proposals = Proposals(make("rewards.key=0:1", search="optuna", num_trials=1))
    trial = proposals.next()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        session.prepare()
        for step in (1, 2, 2, 3):  # a checkpoint after the first
            proposals.generator.on_trial_result(
                trial.trial_id, {OBJECTIVE: 0.0, "training_iteration": step}
            )
    assert not caught
