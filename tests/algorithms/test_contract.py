"""RLlib's hooks, one test each: a Ray in which one has moved fails here and says which.

Some of them are not public. Ray is therefore pinned to one version, and whoever raises it starts
with this file.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import pytest
import torch
from ray.rllib import core
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner import learner as learner_module
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchDDPRLModule
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils import metrics as names
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.schedules.scheduler import Scheduler
from ray.tune.registry import ENV_CREATOR, _global_registry

import env.rllib  # noqa: F401 - registers the games
from algorithms.env_runner import BatchedEnvRunner
from algorithms.learner import SegmentPPOLearner
from algorithms.rollout import RolloutData
from algorithms.segment_ppo import SHARED, SegmentPPO, SegmentPPOConfig
from env.rllib import GameEnv
from models import RecurrentActorCritic
from tests.algorithms.small import learn, make_learner, make_runner, plain, sample, small_config

ROOT = Path(__file__).resolve().parents[2]
RAY = version("ray")


def moved(what: str, where: str) -> str:
    return f"Ray {RAY}: {what} has moved or changed; {where} relies on it."


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def takes_anything(function: Any) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in parameters(function).values())


def test_the_installed_ray_is_the_pinned_one() -> None:
    (pinned,) = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned == RAY
    minor = ".".join(RAY.split(".")[:2])
    assert f">={minor}," in (ROOT / "pyproject.toml").read_text()


# -- what we override

OVERRIDDEN: dict[type[Any], tuple[tuple[type[Any], ...], tuple[str, ...]]] = {
    BatchedEnvRunner: (
        (EnvRunner, Checkpointable),
        (
            "__init__",
            "assert_healthy",
            "get_checkpointable_components",
            "get_ctor_args_and_kwargs",
            "get_metrics",
            "get_spaces",
            "get_state",
            "make_env",
            "make_module",
            "sample",
            "set_state",
            "stop",
        ),
    ),
    SegmentPPOLearner: (
        (TorchLearner,),
        (
            "apply_gradients",
            "before_gradient_based_update",
            "build",
            "compute_gradients",
            "compute_loss_for_module",
            "configure_optimizers_for_module",
            "get_state",
            "postprocess_gradients",
            "set_state",
            "update",
        ),
    ),
    SegmentPPOConfig: (
        (PPOConfig,),
        (
            "__init__",
            "_model_config_auto_includes",
            "get_default_learner_class",
            "get_default_rl_module_spec",
            "training",
            "validate",
        ),
    ),
    SegmentPPO: ((PPO,), ("get_default_config", "get_state", "set_state", "training_step")),
    RolloutData: ((TrainingData,), ("__init__", "shard", "solve_refs", "validate")),
    RecurrentActorCritic: (
        (TorchRLModule, ValueFunctionAPI),
        (
            "__init__",
            "_forward",
            "_forward_train",
            "compute_values",
            "get_initial_state",
            "setup",
        ),
    ),
    GameEnv: ((MultiAgentEnv,), ("__init__", "render", "reset", "step")),
}
GENERATED = {"__dataclass_fields__", "__dataclass_params__", "__eq__", "__match_args__", "__repr__"}


@pytest.mark.parametrize(
    ("ours", "name"),
    [(ours, name) for ours, (_, hooks) in OVERRIDDEN.items() for name in hooks],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_what_we_override_is_still_a_hook_with_these_parameters(ours: type[Any], name: str) -> None:
    bases, _ = OVERRIDDEN[ours]
    found = [base for base in bases if hasattr(base, name)]
    assert found, moved(f"{bases[0].__name__}.{name}", ours.__name__)
    own, theirs = vars(ours)[name], getattr(found[0], name)
    if isinstance(theirs, property):
        assert isinstance(own, property), moved(f"{found[0].__name__}.{name}", ours.__name__)
        return
    mine = getattr(ours, name)
    if takes_anything(mine):
        return
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    expected = {key for key, one in parameters(theirs).items() if one.kind not in kinds}
    missing = expected - set(parameters(mine)) - {"self", "cls"}
    assert not missing, moved(f"{found[0].__name__}.{name} ({missing})", ours.__name__)


@pytest.mark.parametrize("ours", OVERRIDDEN, ids=lambda one: one.__name__)
def test_the_table_above_names_everything_that_we_override(ours: type[Any]) -> None:
    bases, hooks = OVERRIDDEN[ours]
    own = {
        name
        for name, one in vars(ours).items()
        if (callable(one) or isinstance(one, property | classmethod | staticmethod))
        and any(hasattr(base, name) for base in bases)
        and name not in GENERATED
        and not isinstance(one, type)
    }
    assert own == set(hooks)


# -- what RLlib calls, told by its own source


def says(function: Any, text: str) -> bool:
    """Whether a function's source has this text, whatever the line breaks."""
    source = re.sub(r"\s+", "", inspect.getsource(function))
    return re.sub(r"\s+", "", text) in source


CALLS: list[tuple[Any, str, str]] = [
    (EnvRunnerGroup._make_worker, "self.env_runner_cls(**kwargs)", "BatchedEnvRunner.__init__"),
    (EnvRunnerGroup._make_worker, "worker_index=worker_index", "a runner's levels"),
    (EnvRunnerGroup._make_worker, "num_workers=num_workers", "a runner's share of evaluation"),
    (EnvRunnerGroup._make_worker, "spaces=spaces", "a runner without games"),
    (EnvRunnerGroup.__init__, "config.env_runner_cls", "SegmentPPOConfig.env_runner_cls"),
    (EnvRunnerGroup.get_spaces, "env_runner.get_spaces()", "BatchedEnvRunner.get_spaces"),
    (EnvRunnerGroup.stop, "w.stop()", "BatchedEnvRunner.stop"),
    (EnvRunnerGroup.add_workers, "assert_healthy", "BatchedEnvRunner.assert_healthy"),
    (EnvRunnerGroup.sync_weights, 'func="set_state"', "BatchedEnvRunner.set_state"),
    (EnvRunnerGroup.sync_weights, "[COMPONENT_RL_MODULE,WEIGHTS_SEQ_NO]", "set_state's keys"),
    (EnvRunnerGroup.sync_env_runner_states, "NUM_ENV_STEPS_SAMPLED_LIFETIME", "set_state's keys"),
    (Algorithm.restore_env_runners, "from_env_runner.get_state()", "a runner started again"),
    (Algorithm.restore_env_runners, "er.set_state(ray.get(state_ref))", "a runner started again"),
    (Algorithm._evaluate_on_local_env_runner, "num_episodes=duration", "evaluation"),
    (Algorithm._evaluate_with_fixed_duration, "worker.sample(num_timesteps=", "evaluation"),
    (Algorithm._evaluate_with_fixed_duration, "force_reset=_force_reset", "evaluation"),
    (Algorithm._evaluate_with_fixed_duration, "met[NUM_EPISODES].peek()", "evaluation's end"),
    (Algorithm.setup, "self.evaluation_config.validate()", "SegmentPPOConfig.validate"),
    (Algorithm.get_state, "self.env_runner.get_state(", "saving the games of the local runner"),
    (LearnerGroup.update, "training_data.validate()", "RolloutData.validate"),
    (LearnerGroup.update, "training_data.solve_refs()", "RolloutData.solve_refs"),
    (LearnerGroup.update, "training_data.shard(num_shards=len(self)", "RolloutData.shard"),
    (LearnerGroup.update, "training_data=td_shard", "SegmentPPOLearner.update"),
    (Learner.update, "self.before_gradient_based_update(timesteps=timesteps", "our update"),
    (Learner.update, "self.after_gradient_based_update(timesteps=timesteps", "our update"),
    (Learner.update, "self._weights_seq_no+=1", "our update, and who has newer weights"),
    (Learner.compute_losses, "self.compute_loss_for_module(", "our losses"),
    (TorchLearner._uncompiled_update, "self.module.forward_train(batch)", "our update"),
    (TorchLearner._uncompiled_update, "self.postprocess_gradients(gradients)", "our update"),
    (Learner.after_gradient_based_update, "_{LR_KEY}", "the logged rate"),
]


@pytest.mark.parametrize(
    ("function", "text", "where"), CALLS, ids=[f"{one.__qualname__}: {t}" for one, t, _ in CALLS]
)
def test_rllib_still_calls(function: Any, text: str, where: str) -> None:
    assert says(function, text), moved(f"{text!r} in {function.__qualname__}", where)


# -- what we call or read


class Bare(EnvRunner):  # type: ignore[misc]
    """What is in every runner from RLlib's own constructor."""

    def assert_healthy(self) -> None: ...

    def sample(self, **kwargs: Any) -> None: ...

    def get_spaces(self) -> Any: ...


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("worker_index", 3),
        ("num_workers", 5),
        ("env", None),
        ("num_env_steps_sampled_lifetime", 0),
    ],
)
def test_a_runners_attribute(name: str, expected: Any) -> None:
    bare = Bare(config=small_config(), worker_index=3, num_workers=5)
    assert getattr(bare, name, "gone") == expected, moved(f"EnvRunner.{name}", "BatchedEnvRunner")


def test_a_runner_has_a_config_of_its_own_a_logger_and_a_counter() -> None:
    config = small_config()
    bare = Bare(config=config, worker_index=0)
    assert isinstance(bare.config, SegmentPPOConfig) and bare.config is not config
    assert isinstance(bare.metrics, MetricsLogger), moved("EnvRunner.metrics", "_log")
    bare._log_env_steps(bare._metrics_num_env_steps_sampled, 5)


def bare_learner() -> TorchLearner:
    """RLlib's own learner, built for our module."""

    class OfRLlib(TorchLearner):  # type: ignore[misc]
        def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
            return next(self.module[SHARED].parameters()).sum()

    config = small_config()
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces=make_runner().get_spaces())
    learner = OfRLlib(config=config, module_spec=spec)
    learner.build()
    return learner


def test_the_learners_schedules_are_by_optimizer_and_updated_by_env_step() -> None:
    learner = bare_learner()
    ((optimizer, schedule),) = learner._optimizer_lr_schedules.items()
    assert isinstance(optimizer, torch.optim.Optimizer) and isinstance(schedule, Scheduler)
    assert float(schedule.update(timestep=0)) == pytest.approx(2e-3)
    falling = Scheduler(fixed_value_or_schedule=[[0, 1.0], [10, 0.0]], framework="torch")
    assert float(falling.update(timestep=5)) == pytest.approx(0.5)


def test_set_optimizer_lr_sets_it() -> None:
    learner = bare_learner()
    (optimizer,) = learner._optimizer_lr_schedules
    learner._set_optimizer_lr(optimizer, lr=0.125)
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_the_learners_parameters_are_by_reference_and_by_optimizer() -> None:
    learner = bare_learner()
    ((optimizer, keys),) = learner._optimizer_parameters.items()
    assert isinstance(optimizer, torch.optim.Optimizer)
    parameters_ = list(learner.module[SHARED].parameters())
    assert len(keys) == len(learner._params) == len(parameters_)
    assert {id(learner._params[key]) for key in keys} == {id(one) for one in parameters_}


def test_the_learner_registers_optimizers_with_a_schedule() -> None:
    learner = bare_learner()
    extra = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([extra])
    learner.register_optimizer(
        module_id="other", optimizer=optimizer, params=[extra], lr_or_lr_schedule=[[0, 0.5], [9, 0]]
    )
    assert optimizer.param_groups[0]["lr"] == 0.5 and optimizer in learner._optimizer_lr_schedules
    assert learner.get_parameters(learner.module[SHARED])


def test_the_learners_gradients_have_none_for_modules_not_in_the_loss() -> None:
    """Why ours drops them."""
    learner = bare_learner()
    found = learner.compute_gradients({SHARED: next(learner.module[SHARED].parameters()).sum()})
    assert set(found) == set(learner._params)
    assert sum(one is not None for one in found.values()) == 1


def test_update_is_called_with_data_and_steps() -> None:
    found = set(parameters(TorchLearner.update))
    assert {"training_data", "timesteps"} <= found, moved("Learner.update", "SegmentPPOLearner")


def test_the_learner_counts_its_updates() -> None:
    learner = bare_learner()
    assert learner._weights_seq_no == 0
    assert learner.get_state()[names.WEIGHTS_SEQ_NO] == 0
    assert learner._device == torch.device("cpu")
    learner._check_is_built()


def test_the_learner_asks_the_config_whom_to_train() -> None:
    learner = bare_learner()
    assert learner.should_module_be_updated(SHARED)
    learner.config.multi_agent(policies_to_train=[])
    assert not learner.should_module_be_updated(SHARED)


def test_the_learner_group_hands_our_data_and_the_steps_to_our_learner() -> None:
    seen: list[str] = []

    class Witness(RolloutData):
        def validate(self) -> None:
            seen.append("validate")
            super().validate()

        def solve_refs(self) -> None:
            seen.append("solve_refs")
            super().solve_refs()

    runner = make_runner()
    config = small_config()
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces=runner.get_spaces())
    group = LearnerGroup(config=config, module_spec=spec)
    assert isinstance(group._learner, SegmentPPOLearner)
    (logged,) = group.update(
        training_data=Witness(rollouts=[sample(runner)]),
        timesteps={names.NUM_ENV_STEPS_SAMPLED_LIFETIME: 64},
    )
    assert plain(logged)[SHARED]["num_module_steps_trained"] > 0
    assert {"validate", "solve_refs"} <= set(seen)
    state = group.get_state(components=["learner/rl_module"], inference_only=True)["learner"]
    assert state[names.WEIGHTS_SEQ_NO] == 1 and SHARED in state["rl_module"]


@pytest.mark.parametrize("num_remote", [0, 2])
def test_synchronous_parallel_sample_takes_what_we_give_and_returns_lists(num_remote: int) -> None:
    """Called as SegmentPPO does, with a group that is none."""
    runner = SimpleNamespace(
        sample=lambda **_: ["rollouts"],
        get_metrics=lambda: {names.NUM_ENV_STEPS_SAMPLED: 64 // max(1, num_remote)},
    )

    def foreach_env_runner(do: Callable[[Any], Any], **kwargs: Any) -> list[Any]:
        assert kwargs == {"local_env_runner": False, "timeout_seconds": 7.0}
        return [do(runner) for _ in range(num_remote)]

    group = SimpleNamespace(
        num_remote_workers=lambda: num_remote,
        num_healthy_remote_workers=lambda: num_remote,
        local_env_runner=runner,
        foreach_env_runner=foreach_env_runner,
    )
    rollouts, results = synchronous_parallel_sample(
        worker_set=group,
        max_env_steps=64,
        concat=False,
        sample_timeout_s=7.0,
        _uses_new_env_runners=True,
        _return_metrics=True,
    )
    assert rollouts == [["rollouts"]] * max(1, num_remote)
    assert len(results) == max(1, num_remote)


def test_the_groups_methods_that_we_call() -> None:
    for name in ("num_remote_env_runners", "sync_weights", "foreach_env_runner", "get_spaces"):
        assert hasattr(EnvRunnerGroup, name), moved(f"EnvRunnerGroup.{name}", "SegmentPPO")
    assert "local_env_runner" in parameters(EnvRunnerGroup.foreach_env_runner)
    assert {"from_worker_or_learner_group", "inference_only"} <= set(
        parameters(EnvRunnerGroup.sync_weights)
    )


def test_training_data_is_a_dataclass_with_defaults_and_our_field() -> None:
    data = RolloutData(rollouts=[])
    assert data.batch is None and data.episodes is None
    expected = ["self", "num_shards", "len_lookback_buffer", "kwargs"]
    assert list(parameters(TrainingData.shard)) == expected, moved("TrainingData.shard", "rollout")


def test_checkpointables_choose_components_by_name() -> None:
    runner = make_runner()
    assert runner._check_component("a", None, None)
    assert runner._check_component("a", ["a/b"], None)
    assert not runner._check_component("a", ["b"], None)
    assert not runner._check_component("a", None, ["a"])
    assert runner._get_subcomponents("a", ["a/b", "c"]) == ["b"]
    assert runner._get_subcomponents("a", None) is None


def test_value_error_raises_the_sentence() -> None:
    with pytest.raises(ValueError, match=r"^one sentence\."):
        AlgorithmConfig()._value_error("one sentence.")


def test_model_config_auto_includes_reach_the_model() -> None:
    class Marked(PPOConfig):  # type: ignore[misc]
        @property
        def _model_config_auto_includes(self) -> dict[str, Any]:
            return {**super()._model_config_auto_includes, "mark": 1}

    config = Marked().environment("CartPole-v1").rl_module(model_config={"own": 2})
    assert config.model_config["mark"] == 1 and config.model_config["own"] == 2


def test_get_multi_rl_module_spec_takes_the_runners_spaces() -> None:
    runner = make_runner()
    spaces = runner.get_spaces()
    assert set(spaces) == {INPUT_ENV_SPACES, SHARED}
    spec = small_config().get_multi_rl_module_spec(spaces=spaces, inference_only=False)
    module = spec.build()
    assert isinstance(module, MultiRLModule) and list(module.keys()) == [SHARED]
    assert isinstance(module[SHARED], RecurrentActorCritic) and SHARED in module
    assert module[SHARED].observation_space == spaces[SHARED][0]
    assert isinstance(spaces[SHARED][1], gym.spaces.Discrete)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("callbacks_class", RLlibCallback),
        ("callbacks_on_episode_end", None),
        ("callbacks_on_environment_created", None),
        ("callbacks_on_sample_end", None),
        ("create_env_on_local_worker", False),
        ("delay_between_env_runner_restarts_s", 60.0),
        ("env_runner_cls", None),
        ("explore", True),
        ("in_evaluation", False),
        ("num_gpus_per_env_runner", 0),
        ("num_gpus_per_learner", 0),
        ("num_learners", 0),
        ("policies_to_train", None),
        ("restart_failed_env_runners", True),
        ("sample_timeout_s", 60.0),
        ("seed", None),
        ("stats_cls_lookup", ...),
        ("train_batch_size_per_learner", ...),
        ("algorithm_config_overrides_per_module", {}),
    ],
)
def test_a_setting_of_rllibs_is_still_there(name: str, expected: Any) -> None:
    found = getattr(AlgorithmConfig(), name, "gone")
    assert found != "gone" and expected in (found, ...), moved(f"AlgorithmConfig.{name}", "ours")


def test_a_setting_that_wasnt_given_is_notprovided() -> None:
    config = PPOConfig().training(clip_param=NotProvided)
    assert config.clip_param == PPOConfig().clip_param


def test_a_modules_config_has_its_overrides() -> None:
    config = small_config(lr=0.5)
    config.multi_agent(
        algorithm_config_overrides_per_module={SHARED: SegmentPPOConfig.overrides(lr=0.25)}
    )
    assert config.get_config_for_module(SHARED).lr == 0.25
    assert config.get_config_for_module("other").lr == 0.5


def test_the_rollout_length_is_asked_for_by_worker() -> None:
    assert small_config().get_rollout_fragment_length(2) == 16


def test_the_batch_of_all_learners_together_is_an_iteration() -> None:
    config = small_config().learners(num_learners=2)
    config.validate()
    assert config.total_train_batch_size == 2 * config.train_batch_size_per_learner


def test_an_evaluations_config_says_so_and_has_its_number_of_runners() -> None:
    config = small_config().evaluation(evaluation_num_env_runners=2)
    evaluation = config.get_evaluation_config_object()
    assert evaluation.in_evaluation and evaluation.num_env_runners == 2
    assert isinstance(evaluation, SegmentPPOConfig)


def test_callbacks_are_called_by_keyword_on_objects_and_functions() -> None:
    told: list[str] = []

    class Witness(RLlibCallback):
        def on_sample_end(self, **info: Any) -> None:
            told.append(f"object {info['samples']}")

    make_callback(
        "on_sample_end",
        callbacks_objects=[Witness()],
        callbacks_functions=[lambda **info: told.append(f"function {info['samples']}")],
        kwargs={"samples": 1},
    )
    assert told == ["object 1", "function 1"]


@pytest.mark.parametrize(
    ("hook", "given"),
    [
        ("on_environment_created", {"env_runner", "metrics_logger", "env", "env_context"}),
        ("on_episode_end", {"env_runner", "metrics_logger", "episode"}),
        ("on_sample_end", {"env_runner", "metrics_logger", "samples"}),
    ],
)
def test_a_callback_has_these_parameters(hook: str, given: set[str]) -> None:
    found = parameters(getattr(RLlibCallback, hook, None) or (lambda: None))
    assert given <= set(found), moved(f"RLlibCallback.{hook}", "BatchedEnvRunner")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # Read in results, by us (experiments/metrics.py) and by users.
        ("ALL_MODULES", "__all_modules__"),
        ("ENV_RUNNER_RESULTS", "env_runners"),
        ("ENV_RUNNER_SAMPLING_TIMER", "env_runner_sampling_timer"),
        ("EPISODE_LEN_MEAN", "episode_len_mean"),
        ("EPISODE_RETURN_MEAN", "episode_return_mean"),
        ("EVALUATION_RESULTS", "evaluation"),
        ("LEARNER_RESULTS", "learners"),
        ("LEARNER_UPDATE_TIMER", "learner_update_timer"),
        ("NUM_AGENT_STEPS_SAMPLED", "num_agent_steps_sampled"),
        ("NUM_AGENT_STEPS_SAMPLED_LIFETIME", "num_agent_steps_sampled_lifetime"),
        ("NUM_ENV_STEPS_SAMPLED", "num_env_steps_sampled"),
        ("NUM_ENV_STEPS_SAMPLED_LIFETIME", "num_env_steps_sampled_lifetime"),
        ("NUM_ENV_STEPS_TRAINED", "num_env_steps_trained"),
        ("NUM_ENV_STEPS_TRAINED_LIFETIME", "num_env_steps_trained_lifetime"),
        ("NUM_EPISODES", "num_episodes"),
        ("NUM_EPISODES_LIFETIME", "num_episodes_lifetime"),
        ("NUM_MODULE_STEPS_SAMPLED", "num_module_steps_sampled"),
        ("NUM_MODULE_STEPS_SAMPLED_LIFETIME", "num_module_steps_sampled_lifetime"),
        ("NUM_MODULE_STEPS_TRAINED", "num_module_steps_trained"),
        ("NUM_MODULE_STEPS_TRAINED_LIFETIME", "num_module_steps_trained_lifetime"),
        ("SAMPLE_TIMER", "sample"),
        ("SYNCH_WORKER_WEIGHTS_TIMER", "synch_weights"),
        ("TIMERS", "timers"),
        ("WEIGHTS_SEQ_NO", "weights_seq_no"),
    ],
)
def test_a_metric_has_its_name(name: str, value: str) -> None:
    assert getattr(names, name, None) == value, moved(f"ray.rllib.utils.metrics.{name}", "results")


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (core, "ALL_MODULES", "__all_modules__"),
        (core, "COMPONENT_RL_MODULE", "rl_module"),
        (learner_module, "POLICY_LOSS_KEY", "policy_loss"),
        (learner_module, "VF_LOSS_KEY", "vf_loss"),
        (learner_module, "ENTROPY_KEY", "entropy"),
        (learner_module, "LR_KEY", "learning_rate"),
        (Learner, "TOTAL_LOSS_KEY", "total_loss"),
        (Columns, "OBS", "obs"),
        (Columns, "ACTIONS", "actions"),
        (Columns, "ACTION_LOGP", "action_logp"),
        (Columns, "ACTION_DIST_INPUTS", "action_dist_inputs"),
        (Columns, "EMBEDDINGS", "embeddings"),
        (Columns, "STATE_IN", "state_in"),
        (Columns, "STATE_OUT", "state_out"),
        (Columns, "VF_PREDS", "vf_preds"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_key_has_its_name(module: Any, name: str, value: str) -> None:
    assert getattr(module, name, None) == value, moved(f"{module.__name__}.{name}", "algorithms")


def test_the_logger_takes_sums_means_and_throughputs() -> None:
    logger = MetricsLogger(root=True)
    for value in (1, 3):
        logger.log_value("last", value, window=1)
        logger.log_value(("a", "sum"), value, reduce="sum")
        logger.log_value("life", value, reduce="lifetime_sum", with_throughput=True)
    logger.log_dict({"x": 2.0}, key="a", window=1)
    with logger.log_time("time"):
        pass
    assert logger.peek("last") == 3 and logger.peek(("a", "sum")) == 4
    assert logger.peek("life") == 4 and logger.peek(("a", "x")) == 2
    assert plain(logger.reduce())["a"]["sum"] == 4
    logger.log_value(("a", "sum"), 5, reduce="sum")
    assert logger.peek(("a", "sum")) == 5, "a report starts sums anew"


def test_reports_of_several_runners_are_aggregated_under_a_key() -> None:
    reports = []
    for value in (1, 3):
        logger = MetricsLogger(root=False)
        logger.log_value("sum", value, reduce="sum")
        logger.log_value("life", value, reduce="lifetime_sum")
        reports.append(logger.reduce())
    root = MetricsLogger(root=True)
    root.aggregate(reports, key="env_runners")
    assert root.peek(("env_runners", "sum")) == root.peek(("env_runners", "life")) == 4


def test_a_module_is_found_behind_its_wrappers() -> None:
    """`unwrapped` of a plain module, and of one in DDP as two learners have it."""
    module = make_runner().module
    assert module[SHARED].unwrapped() is module[SHARED]
    assert hasattr(TorchDDPRLModule, "unwrapped"), moved("TorchDDPRLModule.unwrapped", "our loss")
    seen: list[str] = []
    module.foreach_module(lambda name, one: seen.append(name))
    assert seen == [SHARED]


def test_the_device_of_a_runner_without_gpus_is_the_cpu() -> None:
    assert get_device(small_config(), 0) == torch.device("cpu")


def test_environments_are_found_by_their_registered_name() -> None:
    assert _global_registry.contains(ENV_CREATOR, "clowder/pico_park")


def test_one_iteration_of_our_learner_says_what_rllibs_would() -> None:
    """Names that RLlib's own learners log, which dashboards and schedulers read."""
    runner = make_runner()
    logged = learn(make_learner(small_config(), runner), sample(runner))[SHARED]
    for name in (
        "total_loss",
        "policy_loss",
        "vf_loss",
        "entropy",
        "default_optimizer_learning_rate",
        "gradients_default_optimizer_global_norm",
        "num_module_steps_trained",
        "num_module_steps_trained_lifetime",
    ):
        assert name in logged, moved(name, "results")
