"""What an experiment is: one frozen config, whole and plain enough to be written down as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from algorithms import AdvantageMode
from algorithms.curriculum import CurriculumConfig
from algorithms.league import LeagueConfig
from env.errors import BadInputError, unknown_name
from env.pico_park import PicoParkConfig, PicoParkRewards
from env.pico_park import presets as known_presets
from env.pong import PongConfig, PongRewards, opponents
from experiments.fields import convert, hint_of
from models import ModelConfig

MAX_SEED = (1 << 63) - 1
MAX_SEARCH_SEED = (1 << 32) - 1
"""Tune's searches seed numpy's old generator, which takes 32 bits."""

Algorithm = Literal["segment_ppo", "ppo"]
Scheduler = Literal["none", "asha", "pbt"]
Search = Literal["grid", "random", "optuna"]


def _at_least(owner: Any, **bounds: float) -> None:
    for name, least in bounds.items():
        value = getattr(owner, name)
        if not value >= least or value == float("inf"):
            raise BadInputError(
                f"{name} is {value}; it must be a finite number of at least {least}."
            )


def _at_most(owner: Any, **bounds: float) -> None:
    for name, most in bounds.items():
        if getattr(owner, name) > most:
            raise BadInputError(f"{name} is {getattr(owner, name)}; it must be at most {most}.")


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """PPO (Schulman et al. 2017), on the batched path or on RLlib's own."""

    lr: float = 2e-3
    """Adam's learning rate at the start; it falls linearly to `lr_end`."""
    lr_end: float = 5e-5
    """Learning rate once all env steps are sampled."""
    gamma: float = 0.99
    """Discount per tick."""
    lambda_: float = 0.95
    """Lambda of generalised advantage estimation (Schulman et al. 2016) and of V-trace's traces."""
    clip: float = 0.2
    """PPO's ratio clip."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    entropy: float = 0.02
    """Entropy bonus at the start; it falls linearly to `entropy_end`."""
    entropy_end: float = 0.001
    """Entropy bonus once all env steps are sampled."""
    gradient_norm: float = 0.5
    """Gradients are clipped to this global norm."""
    num_epochs: int = 1
    """Passes over each batch."""
    num_envs: int = 64
    """Games that a runner plays side by side."""
    fragment: int = 64
    """Ticks of each game in a batch: the length of a segment."""
    minibatch: int = 2048
    """Agent-steps in a minibatch."""
    microbatch: int | None = None
    """Only `segment_ppo`: agent-steps that pass through the network at a time, to save memory; the
    gradients add up to the minibatch's own. None: the whole minibatch."""
    num_env_runners: int = 0
    """Remote runners; 0: one process samples and learns."""
    num_learners: int = 0
    """Remote learners; 0: the trial's own process learns."""
    num_gpus: float = 0.0
    """GPUs a learner, or of the trial's own process; a share of one is possible."""
    advantage: AdvantageMode = "vtrace"
    """Only `segment_ppo`: `vtrace` estimates advantages anew before every minibatch, `gae` once,
    `puff` as vtrace in the original experiment's form, which weighs by the ratio twice."""
    rho_clip: float = 1.0
    """Only `segment_ppo`: V-trace's clip of the importance weight of a step."""
    c_clip: float = 1.0
    """Only `segment_ppo`: V-trace's clip of the importance weights in its traces."""
    value_clip: float | None = None
    """Only `segment_ppo`: how far a value may move from the behaviour policy's; none: freely."""
    priority_alpha: float = 0.0
    """Only `segment_ppo`: 0 takes every segment once an epoch; above, segments are drawn by their
    advantages' size to this power (after Schaul et al. 2016)."""
    priority_beta: float = 0.4
    """Only `segment_ppo`: how fully importance weights undo what drawing by size favours, at the
    start; it rises linearly to 1."""

    def __post_init__(self) -> None:
        _at_least(self, lr=0, lr_end=0, clip=0, value_coefficient=0, entropy=0, entropy_end=0)
        _at_least(self, gradient_norm=0, num_epochs=1, num_envs=1, fragment=1, minibatch=1)
        _at_least(self, num_env_runners=0, num_learners=0, num_gpus=0, rho_clip=1, c_clip=1)
        _at_least(self, priority_alpha=0)
        if self.value_clip is not None and not 0 < self.value_clip < float("inf"):
            raise BadInputError(f"value_clip is {self.value_clip}; it must be above 0, or none.")
        if self.num_games % max(1, self.num_learners):
            raise BadInputError(
                f"num_learners is {self.num_learners}, to which {self.num_games} games can't be "
                "shared out evenly; change it or num_envs."
            )
        for name in ("gamma", "lambda_", "priority_beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInputError(f"{name} is {getattr(self, name)}; it must lie in 0 to 1.")

    @property
    def num_games(self) -> int:
        """Games of all runners."""
        return max(1, self.num_env_runners) * self.num_envs

    @property
    def batch_env_steps(self) -> int:
        """Env steps of an iteration."""
        return self.num_games * self.fragment

    def check(self, algorithm: Algorithm, num_agents: int) -> None:
        """Refuses a minibatch that doesn't fit the algorithm.

        Raises:
            BadInputError: in one sentence.
        """
        if algorithm == "segment_ppo":
            if self.minibatch % self.fragment:
                raise BadInputError(
                    f"minibatch is {self.minibatch}, which is no whole number of segments of "
                    f"{self.fragment} steps (ppo.fragment); give a multiple."
                )
            if self.microbatch is not None and (
                self.microbatch < 1 or self.microbatch % self.fragment
            ):
                raise BadInputError(
                    f"microbatch is {self.microbatch}, which is no whole number of segments of "
                    f"{self.fragment} steps (ppo.fragment); give a multiple, or none."
                )
            share = self.batch_env_steps * num_agents // max(1, self.num_learners)
            if self.minibatch > share:
                raise BadInputError(
                    f"minibatch is {self.minibatch}, but an iteration has only {share} agent-steps "
                    "a learner (num_envs * fragment * env.num_agents); give at most that."
                )
            return
        batch = self.batch_env_steps
        if self.minibatch > batch or batch < 32:
            raise BadInputError(
                f"a batch has num_envs * fragment = {batch} env steps; it must be at least 32, and "
                f"minibatch, which is {self.minibatch}, at most that."
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How policies are judged: on named held-out levels, each played exactly once."""

    every_env_steps: int = 50_000
    """Env steps between evaluations while training; the last state is always evaluated."""
    num_levels: int = 100
    """Held-out levels (seeds 0, 1, ...) played in each evaluation while training."""
    num_final_levels: int = 400
    """Held-out levels played at the end, sampled and greedy; what rankings go by."""
    presets: tuple[str, ...] = ()
    """Other difficulties to judge on as well at the end; none by default."""
    replays: bool = True
    """Whether to keep replays of every evaluation's failures and of some victories."""

    def __post_init__(self) -> None:
        _at_least(self, every_env_steps=1, num_levels=1, num_final_levels=1)
        for name in self.presets:
            if name not in known_presets():
                raise unknown_name("preset", name, known_presets())


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Which variants of a recipe are compared, and how they are chosen."""

    space: tuple[str, ...] = ()
    """Fields to vary. `rewards.own_block` (its usual range), `rewards.alive=0,0.02` (these
    values), `ppo.lr=1e-4:1e-2` (uniformly between), `ppo.lr=1e-4:1e-2:log` (log-uniformly)."""
    variants: tuple[str, ...] = ()
    """Named variants, all of which are trained: `no memory: model.lstm=false`. A pattern stands for
    all fields that match it: `no crumbs: rewards.progress_*=0`; `base:` changes nothing."""
    search: Search = "random"
    """`random` draws `num_trials` variants; `grid` takes every combination of listed values;
    `optuna` proposes each variant by what the earlier ones reached (Akiba et al. 2019)."""
    num_trials: int = 8
    """Variants that `random` and `optuna` draw."""
    num_seeds: int = 1
    """Training seeds for each variant."""
    scheduler: Scheduler = "none"
    """`asha` stops the worse variants early (Li et al. 2020); `pbt` lets the worse ones go on from
    the better ones' checkpoints with changed values (Jaderberg et al. 2017); `none` lets all
    finish."""
    grace_env_steps: int = 100_000
    """Env steps that ASHA leaves every trial, and between two exchanges of PBT."""
    max_concurrent: int = 0
    """Trials at the same time; 0: as many as there are CPUs."""
    seed: int = 0
    """Of the search."""

    def __post_init__(self) -> None:
        _at_least(self, num_trials=1, num_seeds=1, grace_env_steps=1, max_concurrent=0, seed=0)
        _at_most(self, seed=MAX_SEARCH_SEED)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long a trial trains, and where its traces go."""

    env_steps: int = 1_000_000
    """Ticks to train for, all games together; agent-steps are `num_agents` times as many."""
    seed: int = 0
    """Of levels, actions and weights."""
    study: str = ""
    """Name that groups runs in the tracker; empty: the recipe's name."""
    num_threads: int = 1
    """Threads that a trial computes with."""
    report_env_steps: int = 20_000
    """Env steps between reports of training; an evaluation or a checkpoint makes one, too."""
    checkpoint_env_steps: int = 200_000
    """Env steps between checkpoints, which are what an interruption loses at most; the last state
    is always kept."""
    num_checkpoints: int = 3
    """Checkpoints kept, the newest first; a damaged one is passed over for an older. Under `pbt`
    all are kept, since other trials may go on from them."""
    hang_timeout_s: float = 120.0
    """Seconds after which a simulator or runner that doesn't come back is killed and replaced; 0:
    never."""
    max_failures: int = 2
    """Crashes or hangs after which a trial goes on from its last checkpoint; with one more it has
    failed."""
    storage: str = "results"
    """Folder for checkpoints and results; shared between nodes on a cluster."""
    tracking_uri: str = ""
    """Address of the MLflow store; empty: MLFLOW_TRACKING_URI, or `mlflow.db` in this folder."""

    def __post_init__(self) -> None:
        _at_least(self, env_steps=1, seed=0, num_threads=1, checkpoint_env_steps=1)
        _at_least(self, report_env_steps=1, num_checkpoints=1, hang_timeout_s=0, max_failures=0)
        _at_most(self, seed=MAX_SEED)
        if self.study and (Path(self.study).name != self.study or self.study == ".."):
            raise BadInputError(
                f"study is {self.study!r}; it names a folder, so it takes no slashes."
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole experiment, on Pico Park."""

    game = "pico_park"
    name: str
    """Name of the recipe."""
    env: PicoParkConfig = field(default_factory=PicoParkConfig)
    """The game."""
    rewards: PicoParkRewards = field(default_factory=PicoParkRewards)
    """What events pay."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    algorithm: Algorithm = "segment_ppo"
    """`segment_ppo`, the batched path; `ppo`, RLlib's own PPO on its own runners."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """Settings of the algorithm."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    """Which levels training plays, beside the game's own preset."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How policies are judged."""
    sweep: SweepConfig = field(default_factory=SweepConfig)
    """Variants, for `sweep`."""
    run: RunConfig = field(default_factory=RunConfig)
    """Length, seed, storage."""

    def __post_init__(self) -> None:
        self.ppo.check(self.algorithm, self.env.num_agents)
        if self.algorithm != "segment_ppo":
            for name, off in (("mode", "none"), ("num_levels", 0)):
                if (value := getattr(self.curriculum, name)) != off:
                    raise BadInputError(
                        f"curriculum.{name} is {value!r}, which RLlib's own runners don't know; "
                        f"choose --algorithm segment_ppo or leave it at {off}."
                    )
        if self.curriculum.mode != "none":
            for name in self.curriculum.rungs:
                if name not in known_presets():
                    raise unknown_name("preset", name, known_presets())

    @property
    def study(self) -> str:
        """Name that groups runs in the tracker."""
        return self.run.study or self.name


@dataclass(frozen=True, kw_only=True)
class PongRecipe(Recipe):
    """A whole experiment on Pong: one policy plays both seats.

    It is judged by games against scripted opponents, `evaluation.num_levels` against each while
    training and `evaluation.num_final_levels` at the end, sides alternated.
    """

    game = "pong"
    env: PongConfig = field(default_factory=PongConfig)  # type: ignore[assignment]
    """The game."""
    rewards: PongRewards = field(default_factory=PongRewards)  # type: ignore[assignment]
    """What events pay."""
    league: LeagueConfig = field(default_factory=LeagueConfig)
    """Who plays the other side."""
    opponents: tuple[str, ...] = ("random", "slow_tracker", "tracker", "predictor")
    """Scripted opponents that it is judged by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.opponents:
            if name not in opponents()[1:]:
                raise unknown_name("opponent", name, opponents()[1:])
        if not self.opponents or len(set(self.opponents)) < len(self.opponents):
            raise BadInputError(
                f"opponents are {', '.join(self.opponents) or 'none'}; name one or more, each once."
            )
        if self.evaluation.presets or self.curriculum.mode != "none" or self.curriculum.num_levels:
            raise BadInputError(
                "evaluation.presets and curriculum are Pico Park's; leave them out with Pong."
            )
        if self.algorithm != "segment_ppo":
            raise BadInputError(f"algorithm is {self.algorithm!r}; self-play takes segment_ppo.")


KINDS: dict[str, type[Recipe]] = {one.game: one for one in (Recipe, PongRecipe)}
"""Kinds of recipes by their game."""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Fields by dotted name, nested dataclasses opened."""
    flat: dict[str, Any] = {}
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, f"{prefix}{one.name}."))
        else:
            flat[f"{prefix}{one.name}"] = value
    return flat


def replace(config: Any, values: Mapping[str, Any]) -> Any:
    """A copy with other values for dotted names; nonsense is refused by the config itself.

    Raises:
        BadInputError: a name that no field has, or a value of the wrong kind.
    """
    known = flatten(config)
    for name in values:
        if name not in known:
            raise unknown_name("field", name, known)
    return _replace(config, values, "")


def _replace(config: Any, values: Mapping[str, Any], prefix: str) -> Any:
    changes: dict[str, Any] = {}
    for one in dataclasses.fields(config):
        name = f"{prefix}{one.name}"
        old = getattr(config, one.name)
        if dataclasses.is_dataclass(old):
            if any(key.startswith(f"{name}.") for key in values):
                changes[one.name] = _replace(old, values, f"{name}.")
        elif name in values:
            changes[one.name] = convert(name, values[name], hint_of(config, one.name))
    try:
        return dataclasses.replace(config, **changes)
    except BadInputError:
        raise
    except ValueError as error:  # the models' own, who know no game
        raise BadInputError(str(error)) from error


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data for JSON."""
    return {"game": recipe.game, **dataclasses.asdict(recipe)}


def from_dict(data: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote, also after a journey through JSON.

    Raises:
        BadInputError: it lacks a name, or has a field or value that no recipe has.
    """
    name = data.get("name") if isinstance(data, Mapping) else None
    if not isinstance(name, str):
        raise BadInputError(f"a recipe is named {name!r}; its name must be text.")
    game = data.get("game", Recipe.game)
    if game not in KINDS:
        raise unknown_name("game", str(game), KINDS)
    flat: dict[str, Any] = {}

    def walk(part: Mapping[str, Any], prefix: str) -> None:
        for key, value in part.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    walk({key: value for key, value in data.items() if key != "game"}, "")
    recipe: Recipe = replace(KINDS[game](name=name), flat)
    return recipe
