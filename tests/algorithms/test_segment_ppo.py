"""The whole algorithm through RLlib: repeats, resumes, spreads over processes, evaluates."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from algorithms.learner import NonFiniteError
from algorithms.rollout import RolloutData
from algorithms.segment_ppo import REMOTE_SAMPLING, SHARED, SegmentPPO, SegmentPPOConfig
from env.batch import HELD_OUT_BIT
from models import GRID_CHANNELS
from tests.algorithms import golden
from tests.algorithms.small import (
    ENV_STEPS,
    NUM_AGENTS,
    assert_same,
    make_runner,
    sample,
    small_config,
    two_policies,
    weights_of,
)

Build = Callable[[Any], Any]

# Everything that changes while it learns, so that a resume has something to get wrong.
MOVING: dict[str, Any] = {
    "num_epochs": 2,
    "lr": [[0, 1e-2], [20 * ENV_STEPS, 1e-3]],
    "entropy_coeff": [[0, 0.05], [20 * ENV_STEPS, 0.0]],
    "priority_alpha": 0.6,
    "priority_beta": [[0, 0.4], [20 * ENV_STEPS, 1.0]],
}


def learned(algorithm: Any) -> dict[str, Any]:
    """Weights of the local learner."""
    return weights_of(algorithm.learner_group._learner.module[SHARED])


def acting(algorithm: Any) -> dict[str, Any]:
    """Weights of the local runner."""
    return weights_of(algorithm.get_module(SHARED))


# -- one process: repeats and resumes


@pytest.fixture(scope="module")
def straight(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Twenty iterations without a break, saved after ten."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    algorithm = small_config(**MOVING).build_algo()
    results = []
    for iteration in range(20):
        results.append(algorithm.train())
        if iteration == 9:
            path = algorithm.save_to_path(str(tmp_path_factory.mktemp("checkpoint") / "ten"))
            ten = learned(algorithm)
    found = {"path": path, "ten": ten, "twenty": learned(algorithm), "results": results}
    algorithm.stop()
    torch.set_num_threads(threads)
    return found


def check_resumed(algorithm: Any, straight: dict[str, Any]) -> None:
    """From its tenth iteration on it does what the straight run did, to the last bit."""
    assert algorithm.iteration == 10
    assert_same(learned(algorithm), straight["ten"])
    assert_same(acting(algorithm), straight["ten"])
    for expected in straight["results"][10:]:
        result = algorithm.train()
        assert result["training_iteration"] == expected["training_iteration"]
        for name in ("total_loss", "entropy", "default_optimizer_learning_rate"):
            assert result["learners"][SHARED][name] == expected["learners"][SHARED][name], name
        for name in ("num_env_steps_sampled_lifetime", "episode_return_mean"):
            assert result["env_runners"][name] == expected["env_runners"][name], name
        assert result["learners"][SHARED]["first_log_ratio"] < 1e-5
    assert_same(learned(algorithm), straight["twenty"])


def test_a_run_with_the_same_seed_repeats_bit_for_bit(
    build: Build, straight: dict[str, Any]
) -> None:
    algorithm = build(small_config(**MOVING))
    for expected in straight["results"]:
        losses = algorithm.train()["learners"][SHARED]
        assert losses["total_loss"] == expected["learners"][SHARED]["total_loss"]
    assert_same(learned(algorithm), straight["twenty"])


@pytest.mark.parametrize("what", ["games", "networks"])
def test_a_run_with_another_seed_differs(build: Build, straight: dict[str, Any], what: str) -> None:
    config = small_config(seed=7 if what == "networks" else 8, **MOVING)
    if what == "networks":
        config.debugging(seed=4)
    losses = build(config).train()["learners"][SHARED]
    assert losses["total_loss"] != straight["results"][0]["learners"][SHARED]["total_loss"]


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    build: Build, straight: dict[str, Any]
) -> None:
    algorithm = build(small_config(**MOVING))
    algorithm.restore_from_path(straight["path"])
    check_resumed(algorithm, straight)


def test_so_it_does_where_the_new_one_had_played_a_little(
    build: Build, straight: dict[str, Any]
) -> None:
    algorithm = build(small_config(**MOVING))
    algorithm.train()
    algorithm.restore_from_path(straight["path"])
    check_resumed(algorithm, straight)


def test_a_checkpoint_alone_makes_the_algorithm(ray: Any, straight: dict[str, Any]) -> None:
    algorithm = SegmentPPO.from_checkpoint(straight["path"])
    try:
        assert isinstance(algorithm, SegmentPPO)
        check_resumed(algorithm, straight)
    finally:
        algorithm.stop()


def test_an_algorithm_may_go_back_to_its_own_checkpoint(build: Build, tmp_path: Path) -> None:
    algorithm = build(small_config(**MOVING))
    algorithm.train()
    path = algorithm.save_to_path(str(tmp_path / "one"))
    for _ in range(2):
        algorithm.train()
    algorithm.restore_from_path(path)
    assert_same(acting(algorithm), learned(algorithm))


def test_after_a_restore_with_other_settings_the_first_iteration_has_them(
    build: Build, straight: dict[str, Any]
) -> None:
    algorithm = build(small_config(**{**MOVING, "lr": 7e-3}))
    algorithm.restore_from_path(straight["path"])
    losses = algorithm.train()["learners"][SHARED]
    assert losses["default_optimizer_learning_rate"] == pytest.approx(7e-3)
    expected = straight["results"][10]["learners"][SHARED]
    assert losses["first_log_ratio"] < 1e-5 and losses["total_loss"] != expected["total_loss"]


def test_schedules_run_over_env_steps(straight: dict[str, Any]) -> None:
    """The rate of an iteration is that of the steps sampled by then."""
    for number, result in enumerate(straight["results"], start=1):
        steps = result["env_runners"]["num_env_steps_sampled_lifetime"]
        assert steps == number * ENV_STEPS
        rate = 1e-2 - 9e-3 * number / 20
        found = result["learners"][SHARED]["default_optimizer_learning_rate"]
        assert found == pytest.approx(rate)


@pytest.mark.parametrize("name", golden.CASES)
def test_losses_are_the_recorded_ones(ray: Any, name: str) -> None:
    """After a deliberate change of the maths: `python -m tests.algorithms.golden --write`."""
    recorded = golden.load()
    assert recorded.keys() == golden.CASES.keys()
    found = golden.losses(name)
    for number, (one, expected) in enumerate(zip(found, recorded[name], strict=True), start=1):
        assert one == pytest.approx(expected, rel=1e-3, abs=2e-5), f"{name}, iteration {number}"


def test_an_iteration_says_what_ended_in_it_and_what_it_took(build: Build) -> None:
    algorithm = build(small_config())
    results = [algorithm.train() for _ in range(2)]
    assert len(algorithm.episodes) == results[1]["env_runners"]["num_episodes"] > 0
    assert set(algorithm.seconds) == {"sampling", "learning"}
    assert all(one > 0 for one in algorithm.seconds.values())


def test_several_policies_learn_side_by_side(build: Build) -> None:
    algorithm = build(two_policies())
    before = {name: weights_of(algorithm.get_module(name)) for name in ("red", "blue")}
    learners = algorithm.train()["learners"]
    trained = sum(learners[name]["num_module_steps_trained"] for name in before)
    assert trained == NUM_AGENTS * ENV_STEPS
    for name, weights in before.items():
        assert learners[name]["first_log_ratio"] < 1e-5
        after = weights_of(algorithm.get_module(name))
        assert all((after[key] != one).any() for key, one in weights.items()), name


# -- evaluation


class LevelCounter(RLlibCallback):
    """Logs in evaluation how often each held-out level was played."""

    def on_sample_end(
        self, *, env_runner: Any, metrics_logger: Any, samples: Any, **info: Any
    ) -> None:
        if not env_runner.config.in_evaluation:
            return
        for seed in samples[0].episodes["level_seed"]:
            assert int(seed) & HELD_OUT_BIT
            name = f"level_{int(seed) & ~HELD_OUT_BIT}"
            metrics_logger.log_value(name, 1, reduce="sum")


def levels_of(result: dict[str, Any]) -> dict[int, int]:
    """How often each level was played, of an evaluation's result."""
    found = result["evaluation"]["env_runners"].items()
    return {int(name[6:]): int(n) for name, n in found if name.startswith("level_")}


def test_evaluation_plays_the_named_levels_with_the_newest_weights(build: Build) -> None:
    config = small_config(lr=1e-2).callbacks(LevelCounter)
    algorithm = build(config.evaluation(evaluation_interval=2, evaluation_duration=6))
    assert "evaluation" not in algorithm.train()
    result = algorithm.train()
    found = result["evaluation"]["env_runners"]
    assert levels_of(result) == dict.fromkeys(range(6), 1)
    assert found["num_episodes"] == 6 and 0 <= found["win_rate"] <= 1
    assert_same(weights_of(algorithm.eval_env_runner.module[SHARED]), learned(algorithm))
    assert_same(levels_of({"evaluation": algorithm.evaluate()}), dict.fromkeys(range(6), 1))


def test_evaluation_may_be_of_another_game(build: Build) -> None:
    """Settings of `evaluation_config` reach its runners: here one cat more's worth of time."""
    config = small_config()
    game = {**config.env_config["config"], "time_limit": 3}
    config.evaluation(
        evaluation_interval=1,
        evaluation_duration=4,
        evaluation_config={"env_config": {**config.env_config, "config": game}, "explore": False},
    )
    found = build(config).train()["evaluation"]["env_runners"]
    assert found["num_episodes"] == 4 and found["episode_len_mean"] <= 3


# -- remote runners


@pytest.fixture(scope="module")
def remote(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened to two runners and two evaluation runners: trained, saved, restored, killed."""
    config = small_config(num_games=2, lr=1e-2).callbacks(LevelCounter)
    config.env_runners(num_env_runners=2, num_cpus_per_env_runner=0.5).evaluation(
        evaluation_interval=1, evaluation_num_env_runners=2, evaluation_duration=5
    )
    algorithm = config.build_algo()

    def ask(do: Callable[[Any], Any]) -> list[Any]:
        found: list[Any] = algorithm.env_runner_group.foreach_env_runner(do, local_env_runner=False)
        return found

    def games() -> list[Any]:
        return ask(lambda one: [one.env.state_hash(i) for i in range(one.num_envs)])

    def levels() -> list[int]:
        found = ask(lambda one: [one.env.level(i).seed for i in range(one.num_envs)])
        return [level for one in found for level in one]

    def train(ended: set[int]) -> Any:
        result = algorithm.train()
        ended |= set(algorithm.episodes["level_seed"].tolist())
        return result

    found: dict[str, Any] = {"ended": set(), "ended_after": set()}
    try:
        found["results"] = [train(found["ended"]) for _ in range(2)]
        found["local"] = algorithm.env_runner.env
        found["levels"] = levels()
        found["saved_games"] = games()
        path = algorithm.save_to_path(str(tmp_path_factory.mktemp("checkpoint") / "remote"))
        found["results"].append(algorithm.train())
        found["later_games"] = games()
        found["levels"] += levels()
        found["state"] = pickle.loads(Path(path, f"{algorithm.STATE_FILE_NAME}.pkl").read_bytes())
        algorithm.restore_from_path(path)
        found["restored_games"] = games()

        ray.kill(algorithm.env_runner_group._worker_manager.actors()[1], no_restart=False)
        health: dict[str, Any] = {}
        found["while_down"] = []
        for _ in range(200):
            result = train(found["ended_after"])
            health = result["fault_tolerance"]
            found["while_down"].append(result)
            if health["num_remote_worker_restarts"] == 1 and health["num_healthy_workers"] == 2:
                break
        found["health"] = health
        found["numbers"] = ask(lambda one: (one.worker_index, one._weights_seq_no))
        found["weights"] = ask(lambda one: one.module[SHARED].get_state())
        found["learned"] = algorithm.learner_group._learner.module[SHARED].get_state()
        found["after"] = [train(found["ended_after"]) for _ in range(2)]
    finally:  # others need the processors
        algorithm.stop()
    return found


def test_remote_runners_sample_for_a_local_learner(remote: dict[str, Any]) -> None:
    assert remote["local"] is None, "the local runner has no games of its own"
    for number, result in enumerate(remote["results"], start=1):
        assert result["env_runners"]["num_env_steps_sampled"] == ENV_STEPS
        assert result["env_runners"]["num_env_steps_sampled_lifetime"] == number * ENV_STEPS
        learners = result["learners"][SHARED]
        assert learners["num_module_steps_trained"] == NUM_AGENTS * ENV_STEPS
        assert learners["first_log_ratio"] < 1e-5, "they act with the newest weights"


def test_remote_runners_have_levels_of_their_own(remote: dict[str, Any]) -> None:
    """Two runners of two games, seen twice; a game may still play its level the second time."""
    first, second = remote["levels"][:4], remote["levels"][4:]
    assert len(set(first)) == len(set(second)) == 4
    assert all(one == other for one, other in zip(first, second, strict=True) if other in first)


def test_a_checkpoint_holds_the_games_of_remote_runners(remote: dict[str, Any]) -> None:
    assert set(remote["state"][REMOTE_SAMPLING]) == {1, 2}
    assert remote["saved_games"] != remote["later_games"]
    assert remote["restored_games"] == remote["saved_games"]


def test_a_killed_runner_comes_back_with_newest_weights_and_other_levels(
    remote: dict[str, Any],
) -> None:
    assert remote["health"] == {
        **remote["health"],
        "num_healthy_workers": 2,
        "num_remote_worker_restarts": 1,
    }
    assert {index for index, _ in remote["numbers"]} == {1, 2}
    assert len({number for _, number in remote["numbers"]}) == 1
    for weights in remote["weights"]:
        assert_same(weights, remote["learned"])
    assert remote["ended"] and remote["ended_after"]
    assert not remote["ended"] & remote["ended_after"], "it started its levels anew"
    for result in remote["after"]:
        assert result["env_runners"]["num_env_steps_sampled"] == ENV_STEPS
        assert result["learners"][SHARED]["first_log_ratio"] < 1e-5


def test_while_a_runner_is_down_the_other_samples_for_two(remote: dict[str, Any]) -> None:
    assert len(remote["while_down"]) >= 1
    for result in remote["while_down"]:
        assert result["learners"][SHARED]["num_module_steps_trained"] == NUM_AGENTS * ENV_STEPS


def test_remote_evaluation_plays_every_level_once(remote: dict[str, Any]) -> None:
    for result in remote["results"]:
        assert levels_of(result) == dict.fromkeys(range(5), 1)
        assert result["evaluation"]["env_runners"]["num_episodes"] == 5


def test_remote_evaluations_counts_go_over_levels_not_runners(remote: dict[str, Any]) -> None:
    """RLlib's means are means of its runners' means."""
    for result in remote["results"]:
        found = result["evaluation"]["env_runners"]
        assert found["num_episodes"] == 5
        assert 0 <= found["num_wins"] <= 5


# -- learner actors


@pytest.mark.parametrize("num_learners", [1, 2])
def test_learner_actors_learn_what_a_local_learner_learns(build: Build, num_learners: int) -> None:
    config = small_config(num_epochs=2, lr=1e-2, minibatch_size=12 * 16 // num_learners)
    # A minibatch of everything: two learners' halves make the gradient of the whole, but for the
    # advantages' normalisation, which each does on its own share.
    algorithm = build(config.copy(copy_frozen=False).learners(
        num_learners=num_learners, num_cpus_per_learner=0.5
    ))  # fmt: skip
    before = acting(algorithm)
    logged = [algorithm.train()["learners"] for _ in range(2)]
    for one in logged:
        assert one[SHARED]["num_module_steps_trained"] == NUM_AGENTS * ENV_STEPS
        assert one["__all_modules__"]["num_env_steps_trained"] == ENV_STEPS
        assert one[SHARED]["first_log_ratio"] < 1e-5
        assert all(np.isfinite(one[SHARED][name]) for name in golden.LOGGED)
    found = [
        one.get()
        for one in algorithm.learner_group.foreach_learner(
            lambda learner: weights_of(learner.module[SHARED].unwrapped())
        ).result_or_errors
    ]
    assert len(found) == num_learners
    for weights in found:
        assert_same(weights, found[0])
    assert_same(acting(algorithm), found[0])
    assert all((one != before[name]).any() for name, one in found[0].items())
    if num_learners == 1:
        local = build(config)
        for one in logged:
            expected = local.train()["learners"][SHARED]
            for name in golden.LOGGED:
                assert one[SHARED][name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5)

    runner = make_runner(config)
    bad = sample(runner)
    bad.modules[SHARED].rewards[0, 0] = np.nan
    with pytest.raises(NonFiniteError):
        algorithm.learner_group.update(training_data=RolloutData(rollouts=[bad]), timesteps={})


def test_policies_may_have_any_number_of_seats_with_two_learners() -> None:
    """As in a league, where one game of four is played by another team."""

    def mapping(agent_id: str, episode: Any, **info: Any) -> str:
        return "red" if episode.game == 0 else "blue"

    rollouts = sample(make_runner(two_policies(mapping)))
    assert rollouts.modules["red"].num_rows == NUM_AGENTS
    assert len(RolloutData(rollouts=[rollouts]).shard(num_shards=2)) == 2


# -- configs


def test_a_config_names_its_parts() -> None:
    config = SegmentPPO.get_default_config()
    assert isinstance(config, SegmentPPOConfig) and config.algo_class is SegmentPPO
    config.environment("clowder/pico_park").validate()
    assert set(config.policies) == {SHARED}
    assert config.policy_mapping_fn("agent_3", None) == SHARED
    assert config.total_train_batch_size == 64 * 64
    channels = config.model_config[GRID_CHANNELS]
    assert [one["name"] for one in channels][:2] == ["solid", "own_block"]


def test_settings_survive_a_round_trip_through_a_checkpoint() -> None:
    config = small_config(advantage="puff", rho_clip=1.5, priority_alpha=0.3, value_clip=0.1)
    config.watchdog(hang_timeout_s=12.0, log_dir="somewhere")
    again = SegmentPPOConfig.from_state(pickle.loads(pickle.dumps(config.get_state())))
    for name in ("advantage", "rho_clip", "priority_alpha", "value_clip", "hang_timeout_s"):
        assert getattr(again, name) == getattr(config, name), name


def test_an_iteration_is_one_rollout_of_every_runner_shared_out_to_learners() -> None:
    config = small_config().env_runners(num_env_runners=3).learners(num_learners=2)
    config.validate()
    assert config.train_batch_size_per_learner == 3 * ENV_STEPS // 2
    assert config.total_train_batch_size == 3 * ENV_STEPS


INFINITE, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minibatch_size": 100}, "minibatch_size is 100 .* no whole number of segments of 16"),
        ({"minibatch_size": None}, "minibatch_size is None"),
        ({"microbatch_size": 24}, "microbatch_size is 24 .* no whole number of segments of 16"),
        ({"microbatch_size": 0}, "microbatch_size is 0"),
        ({"advantage": "gea"}, "advantage is 'gea'; choose one of gae, vtrace, puff"),
        ({"rho_clip": 0.5}, "rho_clip is 0.5; it must be finite and at least 1"),
        ({"rho_clip": INFINITE}, "rho_clip is inf"),
        ({"c_clip": NAN}, "c_clip is nan; it must be finite and at least 1"),
        ({"priority_alpha": -0.1}, "priority_alpha is -0.1; it must be finite and at least 0"),
        ({"priority_epsilon": 0}, "priority_epsilon is 0; it must be above 0"),
        ({"value_clip": 0.0}, "value_clip is 0.0; it must be above 0, or None"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_a_sentence(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small_config(**settings).validate()


def test_rollouts_must_have_a_length_and_games_must_fit_learners() -> None:
    with pytest.raises(ValueError, match="rollout_fragment_length is 'auto'; give the steps"):
        small_config().env_runners(rollout_fragment_length="auto").validate()
    with pytest.raises(ValueError, match="3 games can't be shared out evenly to 2 learners"):
        small_config(num_games=3).learners(num_learners=2).validate()
    small_config(num_games=3).env_runners(num_env_runners=2).learners(num_learners=2).validate()


@pytest.mark.parametrize(
    "settings",
    [
        {"minibatch_size": 0},
        {"minibatch_size": -16},
        {"num_epochs": 0},
        {"entropy_coeff": -1.0},
        {"entropy_coeff": "much"},
        {"priority_beta": "much"},
        {"use_kl_loss": True},
    ],
    ids=str,
)
def test_more_that_makes_no_sense_is_refused(settings: dict[str, Any]) -> None:
    config = small_config(**settings)
    with pytest.raises(ValueError, match=next(iter(settings))):
        config.validate()


def test_evaluation_may_be_counted_in_steps() -> None:
    config = small_config().evaluation(
        evaluation_interval=1, evaluation_duration=100, evaluation_duration_unit="timesteps"
    )
    config.validate()
    config.get_evaluation_config_object().validate()


def test_six_games_of_two_runners_suit_two_learners() -> None:
    config = small_config(num_games=3).env_runners(num_env_runners=2).learners(num_learners=2)
    config.validate()
    config.get_evaluation_config_object().validate()


def test_going_back_to_another_runs_checkpoint_takes_its_weights(
    build: Build, tmp_path: Path
) -> None:
    """The number of updates is the same; the weights aren't."""
    one, other = build(small_config()), build(small_config().debugging(seed=99))
    for algorithm in (one, other):
        algorithm.train()
    other.restore_from_path(one.save_to_path(str(tmp_path / "one")))
    assert_same(acting(other), acting(one))
    assert other.train()["learners"][SHARED]["first_log_ratio"] < 1e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_gae": False}, "use_gae means nothing to SegmentPPO; choose advantage='gae'"),
        ({"vf_clip_param": 1.0}, "give value_clip"),
        ({"train_batch_size_per_learner": 777}, "num_envs_per_env_runner"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentPPOConfig().training(**settings)


def test_a_policy_that_comes_later_plays(build: Build) -> None:
    algorithm = build(small_config())
    algorithm.train()
    spec = RLModuleSpec.from_module(algorithm.get_module(SHARED))
    algorithm.add_module(
        "league",
        spec,
        config_overrides={},
        new_agent_to_module_mapping_fn=lambda agent, episode, **info: (
            "league" if agent == "agent_0" else SHARED
        ),
        new_should_module_be_updated=[SHARED],
    )
    result = algorithm.train()
    sampled = result["env_runners"]["num_module_steps_sampled"]
    assert sampled["league"] * (NUM_AGENTS - 1) == sampled[SHARED] > 0
