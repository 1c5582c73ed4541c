"""SegmentPPO: PPO on fixed-length segments of many games, sampled and learned in batches.

    from algorithms import SegmentPPOConfig

    config = SegmentPPOConfig().environment("clowder/pico_park").debugging(seed=1)
    algorithm = config.build_algo()
    algorithm.train()

PPO (Schulman et al. 2017) whose advantages are estimated anew before every minibatch, with the
newest values and with the ratios of what has been visited as importance weights (V-trace, Espeholt
et al. 2018); segments may be drawn by the size of their advantages (after Schaul et al. 2016).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

import env.rllib  # noqa: F401 - registers the games with Ray
from algorithms import AdvantageMode
from algorithms.curriculum import CurriculumConfig
from algorithms.env_runner import SAMPLING, BatchedEnvRunner
from algorithms.league import LeagueConfig
from algorithms.learner import SCHEDULED, SegmentPPOLearner
from algorithms.rollout import RolloutData, Rollouts
from env.games import GAMES, find_game
from models import GRID_CHANNELS, RecurrentActorCritic

SHARED = "shared"
"""Name of the one policy that plays every seat, where nothing else is said."""

REMOTE_SAMPLING = "remote_sampling"
"""Part of the algorithm's state: the games of its remote runners."""


def play_shared(agent_id: str, episode: Any, **info: Any) -> str:
    """Every seat plays the one policy."""
    return SHARED


class SegmentPPOConfig(PPOConfig):  # type: ignore[misc]
    """Settings in RLlib's fluent style; those below beside RLlib's own.

    `rollout_fragment_length` is T, the length of a segment; `num_envs_per_env_runner` the games of
    a runner, each with a row a seat. `minibatch_size` counts agent-steps, whole segments of them.
    An iteration learns from all that its runners have sampled once.
    """

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or SegmentPPO)
        self.env_runner_cls = BatchedEnvRunner
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 64
        self.rollout_fragment_length = 64
        self.num_epochs = 1
        self.minibatch_size = 2048
        self.lr = 2e-3
        self.gamma = 0.99
        self.lambda_ = 0.95
        self.clip_param = 0.2
        self.vf_loss_coeff = 0.5
        self.entropy_coeff = 0.02
        self.grad_clip = 0.5
        self.use_kl_loss = False
        self.advantage: AdvantageMode = "vtrace"
        self.rho_clip = 1.0
        self.c_clip = 1.0
        self.value_clip: float | None = None
        self.priority_alpha = 0.0
        self.priority_beta: Any = 1.0
        self.priority_epsilon = 1e-6
        self.microbatch_size: int | None = None
        self.curriculum_config = CurriculumConfig()
        self.league_config = LeagueConfig()
        self.hang_timeout_s: float | None = None
        self.hang_log_dir: str | None = None
        # RLlib waits a minute before it starts a runner again whose code has raised an error.
        self.delay_between_env_runner_restarts_s = 1.0
        self.multi_agent(policies={SHARED}, policy_mapping_fn=play_shared)

    def training(
        self,
        *,
        advantage: AdvantageMode = NotProvided,
        rho_clip: float = NotProvided,
        c_clip: float = NotProvided,
        value_clip: float | None = NotProvided,
        priority_alpha: float = NotProvided,
        priority_beta: float | list[list[float]] = NotProvided,
        priority_epsilon: float = NotProvided,
        microbatch_size: int | None = NotProvided,
        **kwargs: Any,
    ) -> SegmentPPOConfig:
        """Settings of the method.

        Args:
            advantage: `vtrace`, `gae` or `puff`; see `algorithms.advantages.estimate`.
            rho_clip, c_clip: clips of the importance weights in V-trace, at least 1.
            value_clip: how far a value may move from the behaviour policy's before the loss stops
                pulling it; None: as far as it likes.
            priority_alpha: 0: every segment once an epoch; above: segments are drawn by their
                advantages' size to this power.
            priority_beta: how fully the importance weights undo what drawing by size favours; a
                number, or RLlib's schedule over env steps, such as [[0, 0.4], [1e6, 1]].
            priority_epsilon: added to every segment's weight.
            microbatch_size: agent-steps that pass through the network at a time, whole segments;
                gradients of a minibatch's parts add up to the minibatch's own. None: all at once.
            **kwargs: PPO's: lr, gamma, lambda_, clip_param, vf_loss_coeff, entropy_coeff,
                grad_clip, num_epochs, minibatch_size.
        """
        for name, remedy in _ELSEWHERE.items():
            if kwargs.get(name, NotProvided) is not NotProvided:
                raise ValueError(f"{name} means nothing to SegmentPPO; {remedy}.")
        super().training(**kwargs)
        given = {
            "advantage": advantage,
            "rho_clip": rho_clip,
            "c_clip": c_clip,
            "value_clip": value_clip,
            "priority_alpha": priority_alpha,
            "priority_beta": priority_beta,
            "priority_epsilon": priority_epsilon,
            "microbatch_size": microbatch_size,
        }
        for name, value in given.items():
            if value is not NotProvided:
                setattr(self, name, value)
        return self

    def curriculum(self, config: CurriculumConfig) -> SegmentPPOConfig:
        """Chooses the levels that training plays by how often they have been won.

        Each runner has a curriculum of its own; it is part of the checkpoint, and evaluation never
        changes with it.
        """
        self.curriculum_config = config
        return self

    def league(self, config: LeagueConfig) -> SegmentPPOConfig:
        """Seats frozen snapshots of the one policy in a share of the games.

        For games of two seats, on one runner: the league is part of its checkpoint, and its
        snapshots are nobody else's.
        """
        self.league_config = config
        return self

    def watchdog(self, *, hang_timeout_s: float | None, log_dir: str | None) -> SegmentPPOConfig:
        """Ends a runner's process when one call of `sample` takes too long.

        RLlib starts a remote runner again; a local one ends the whole process, so that whoever
        started it (Ray Tune) can start it again from its last checkpoint.

        Args:
            hang_timeout_s: seconds; None: never.
            log_dir: folder for `hang-<worker>-<pid>.txt`, which says where it hung.
        """
        self.hang_timeout_s = hang_timeout_s
        self.hang_log_dir = log_dir
        return self

    def validate(self) -> None:
        """Refuses settings that make no sense, in one sentence."""
        # In evaluation it learns nothing, and RLlib sets its fragment to what is to be played.
        if not self.in_evaluation:
            self._check_learning()
        # PPO's own checks compare agent-steps with env steps.
        super(PPOConfig, self).validate()

    def _check_learning(self) -> None:
        runners = max(1, self.num_env_runners)
        games = runners * self.num_envs_per_env_runner
        learners = max(1, self.num_learners)
        length = self.rollout_fragment_length
        if not isinstance(length, int) or length < 1:
            self._value_error(
                f"rollout_fragment_length is {length!r}; give the steps of a segment."
            )
        if games % learners:
            self._value_error(
                f"{games} games can't be shared out evenly to {learners} learners; change "
                "num_envs_per_env_runner or num_env_runners."
            )
        for name, or_none in {"minibatch_size": "", "microbatch_size": ", or None"}.items():
            size = getattr(self, name)
            if (size is None and not or_none) or (size is not None and (size < 1 or size % length)):
                self._value_error(
                    f"{name} is {size} agent-steps, which is no whole number of segments of "
                    f"{length}; give a multiple{or_none}."
                )
        if not isinstance(self.num_epochs, int) or self.num_epochs < 1:
            self._value_error(f"num_epochs is {self.num_epochs!r}; it must be at least 1.")
        if self.batch_mode != "truncate_episodes":
            self._value_error(
                f"batch_mode is {self.batch_mode!r}, but segments have a fixed length whatever "
                "ends in them; leave it out."
            )
        if self._env_to_module_connector or self._module_to_env_connector:
            self._value_error(
                "connectors have no place on the batched path, which makes no episode objects; "
                "leave them out, or choose RLlib's own PPO."
            )
        if self.use_kl_loss:
            self._value_error("use_kl_loss is True, but this method has no KL loss; leave it out.")
        for name in SCHEDULED:
            if (problem := _schedule_problem(getattr(self, name))) is not None:
                self._value_error(f"{name} is {getattr(self, name)!r}: {problem}.")
        if self.advantage not in get_args(AdvantageMode):
            known = ", ".join(get_args(AdvantageMode))
            self._value_error(f"advantage is {self.advantage!r}; choose one of {known}.")
        for name, least in {"rho_clip": 1, "c_clip": 1, "priority_alpha": 0}.items():
            value = getattr(self, name)
            if not least <= value < float("inf"):
                self._value_error(f"{name} is {value}; it must be finite and at least {least}.")
        if self.priority_epsilon <= 0:
            self._value_error(f"priority_epsilon is {self.priority_epsilon}; it must be above 0.")
        if self.value_clip is not None and self.value_clip <= 0:
            self._value_error(f"value_clip is {self.value_clip}; it must be above 0, or None.")
        if self.league_config.snapshot_env_steps and (runners > 1 or self.num_env_runners):
            self._value_error(
                f"a league lives in one runner, but num_env_runners is {self.num_env_runners}; "
                "leave it at 0."
            )
        if self.league_config.snapshot_env_steps and len(self.policies) != 1:
            self._value_error(
                f"a league has one policy that learns, not {len(self.policies)}; leave out the "
                "others, or snapshot_env_steps at 0."
            )
        # In env steps, as RLlib counts batches; an iteration is one rollout of every runner.
        self.train_batch_size_per_learner = games * length // learners

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The recurrent actor-critic."""
        return RLModuleSpec(module_class=RecurrentActorCritic)

    def get_default_learner_class(self) -> type[Any]:
        """This method's own."""
        return SegmentPPOLearner

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        """What the game says of its grid, for models that read it."""
        found = dict(super()._model_config_auto_includes)
        game = dict(self.env_config).get("game") or str(self.env).rpartition("/")[2]
        if game in GAMES:
            parts = find_game(game).simulator.parts
            channels = [part.channels for part in parts if part.channels]
            found |= {GRID_CHANNELS: [dict(one) for one in channels[0]]} if channels else {}
        return found


class SegmentPPO(PPO):  # type: ignore[misc]
    """The algorithm; made by `SegmentPPOConfig().build_algo()`.

    Attributes:
        episodes: records of the games that ended in the last iteration, of all runners; see
            `env.batch.BatchedGame.episodes`.
        seconds: what `sampling` and `learning` took in the last iteration; RLlib's own timers are
            averages over many.
    """

    episodes: NDArray[np.void]
    seconds: dict[str, float]

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        """Every setting at its default."""
        return SegmentPPOConfig()

    def training_step(self) -> None:
        """One rollout of every runner, all its minibatches, and the new weights to the runners."""
        started = time.perf_counter()
        self.episodes, self.seconds = np.zeros(0, np.void), {"sampling": 0.0, "learning": 0.0}
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollouts, results = self._sample()
            if not rollouts:
                return  # every runner has failed; the next iteration tries to restore them
            self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        self.episodes = np.concatenate([one.episodes for one in rollouts])
        if self.env_runner_group.num_remote_env_runners():
            # RLlib gives its state to runners that it starts again.
            self.env_runner.know_curriculum(rollouts[0].curriculum)
        sampled_at = time.perf_counter()
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            sampled = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
            found = self.learner_group.update(
                training_data=RolloutData(rollouts=rollouts),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: sampled},
            )
            self.metrics.aggregate(found, key=LEARNER_RESULTS)
        self.seconds = {
            "sampling": sampled_at - started,
            "learning": time.perf_counter() - sampled_at,
        }
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, inference_only=True
            )

    def _sample(self) -> tuple[list[Rollouts], list[Any]]:
        """One call of `sample` of each runner, and what they logged."""
        rollouts, results = synchronous_parallel_sample(
            worker_set=self.env_runner_group,
            max_env_steps=self.config.total_train_batch_size,
            concat=False,
            sample_timeout_s=self.config.sample_timeout_s,
            _uses_new_env_runners=True,
            _return_metrics=True,
        )
        return [one for of_runner in rollouts for one in of_runner], results

    # -- state: RLlib saves the local runner; the games of remote ones are part of it as well

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        """RLlib's, and the games of remote runners."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self.env_runner_group.num_remote_env_runners():
            found = self._on_remote_runners(lambda runner: runner.sampling_state())
            state[REMOTE_SAMPLING] = {one["worker_index"]: one for one in found if one}
        return state

    def set_state(self, state: Any) -> None:
        """RLlib's; remote runners go on with their games, as far as there are as many."""
        super().set_state(state)
        if games := state.get(REMOTE_SAMPLING):

            def go_on(runner: Any) -> None:
                if (mine := games.get(runner.worker_index)) is not None:
                    runner.set_state({SAMPLING: mine})

            self._on_remote_runners(go_on)

    def _on_remote_runners(self, do: Callable[[Any], Any]) -> list[Any]:
        found: list[Any] = self.env_runner_group.foreach_env_runner(do, local_env_runner=False)
        return found


_ELSEWHERE = {
    "train_batch_size": "an iteration is num_envs_per_env_runner * rollout_fragment_length steps",
    "train_batch_size_per_learner": (
        "an iteration is num_envs_per_env_runner * rollout_fragment_length steps"
    ),
    "use_gae": "choose advantage='gae'",
    "vf_clip_param": "give value_clip",
    "kl_coeff": "it has no KL loss",
    "kl_target": "it has no KL loss",
}
"""PPO's settings that would be ignored, and what to say instead."""


def _schedule_problem(setting: Any) -> str | None:
    """What is wrong with a number or RLlib's schedule of numbers over env steps, none below 0."""
    levels: Any = [setting]
    if isinstance(setting, list | tuple):
        if not setting or any(not isinstance(p, list | tuple) or len(p) != 2 for p in setting):
            return "a schedule is a list of [env steps, value]"
        steps, levels = zip(*setting, strict=True)
        if list(steps) != sorted(set(steps)):
            return "env steps of a schedule must rise"
    for level in levels:
        if not isinstance(level, int | float) or not 0 <= level < float("inf"):
            return "give a finite number of at least 0, or a schedule of them"
    return None
