"""The registered environments: RLlib's and PettingZoo's own checks, and what they promise."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.pre_checks.env import check_multiagent_environments
from ray.tune.registry import ENV_CREATOR, _global_registry

from env import BadInputError, PicoPark, PicoParkConfig, PicoParkRewards, make
from env.pettingzoo import parallel_env
from env.rllib import GameEnv
from env.single import SingleGame

MAP = "0O..1\n#####"


def small(**more: Any) -> GameEnv:
    config = PicoParkConfig(num_agents=2, preset="gates")
    return make("pico_park", config=config, rewards=PicoParkRewards(team_share=0), **more)


def on_map(env: GameEnv, text: str) -> dict[str, Any]:
    env.game.sim.reset(maps=[text])
    env.game._at_start = True
    return env.reset()[0]


def test_rllibs_own_check() -> None:
    check_multiagent_environments(make("pico_park", seed=1))


def test_it_is_registered_with_ray() -> None:
    creator = _global_registry.get(ENV_CREATOR, "clowder/pico_park")
    env = creator(EnvContext({"config": {"preset": "meadow"}, "seed": 1}, worker_index=2))
    assert isinstance(env, GameEnv) and len(env.possible_agents) == 4


def test_pettingzoos_own_checks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(parallel_env("pico_park", seed=1), num_cycles=10_000)
        parallel_seed_test(lambda: parallel_env("pico_park"), num_cycles=500)


def test_ten_thousand_cycles_stay_inside_the_spaces() -> None:
    env = make("pico_park", seed=2, config={"on_death": "continue", "preset": "gates"})
    rng = np.random.default_rng(2)
    obs, infos = env.reset()
    for _ in range(10_000):
        actions = {a: int(rng.integers(6)) for a in env.possible_agents}
        obs, rewards, terminateds, truncateds, infos = env.step(actions)
        assert set(obs) == set(rewards) == set(infos) == set(env.possible_agents)
        for agent, one in obs.items():
            assert env.observation_spaces[agent].contains(one)
        if terminateds["__all__"] or truncateds["__all__"]:
            obs, infos = env.reset()


def test_the_adapter_plays_the_simulators_game() -> None:
    env, rng = make("pico_park", seed=3), np.random.default_rng(3)
    obs, _ = env.reset()
    sim = PicoPark(1, seed=0)
    level = env.game.sim.level(0)
    sim.reset(level_seeds=[level.seed])
    for _ in range(300):
        actions = rng.integers(0, 6, 4)
        sim.step(actions[None])
        obs, rewards, terminateds, _, infos = env.step(dict(zip(env.agents, actions, strict=True)))
        assert [rewards[a] for a in env.agents] == sim.rewards[0].tolist()
        grid = sim.final_grid if sim.terminated[0] else sim.grid
        for i, agent in enumerate(env.agents):
            np.testing.assert_array_equal(obs[agent]["grid"], grid[0, i])
        if sim.terminated[0]:
            assert terminateds["__all__"]
            record = infos["agent_0"]["episode"]
            assert record["terms"].tolist() == sim.episodes()["terms"][0].tolist()
            break
    else:
        pytest.fail("random play never ended")


def test_who_is_out_waits_and_is_paid_for_the_victory_through_rllibs_episodes() -> None:
    env = small(seed=1)
    episode = MultiAgentEpisode(
        observation_space=env.observation_spaces, action_space=env.action_spaces
    )
    episode.add_env_reset(observations=on_map(env, MAP), infos={})
    for first, last in ((3, 2), (5, 2), (5, 2)):
        actions = {"agent_0": first, "agent_1": last}
        obs, rewards, terminateds, truncateds, infos = env.step(actions)
        episode.add_env_step(obs, actions, rewards, infos, terminateds=terminateds,
                             truncateds=truncateds)  # fmt: skip
        if not terminateds["__all__"]:
            assert infos["agent_0"]["alive"] is False and infos["agent_1"]["alive"] is True
    assert episode.is_done
    returns = {a: episode.agent_episodes[a].get_return() for a in env.agents}
    # Both leave (0.5) and win (2); agent_0 walks 1 tile to the door, agent_1 walks 3.
    np.testing.assert_allclose([returns["agent_0"], returns["agent_1"]], [2.52, 2.56], rtol=1e-5)
    assert len(episode.agent_episodes["agent_0"]) == 3


def test_a_reset_that_follows_a_reset_wastes_no_level() -> None:
    env = make("pico_park", seed=4)
    env.reset()
    level = env.game.sim.level(0)
    env.reset()
    assert env.game.sim.level(0) == level


def test_rllibs_seeds_collide_and_ours_do_not() -> None:
    levels = set()
    for worker in range(1, 5):
        for _ in range(4):
            env = GameEnv(EnvContext({"seed": 7}, worker_index=worker))
            env.reset(seed=7 + worker)  # what RLlib passes is ignored
            levels.add(env.game.sim.level(0).seed)
    assert len(levels) == 16


def test_an_unseeded_env_obeys_reset_seeds() -> None:
    one, two = make("pico_park"), make("pico_park")
    one.reset(seed=5)
    two.reset(seed=5)
    assert one.game.sim.level(0) == two.game.sim.level(0)


def test_bad_env_config_is_refused() -> None:
    with pytest.raises(BadInputError, match="did you mean 'rewards'"):
        make("pico_park", reward={})
    with pytest.raises(BadInputError, match="did you mean 'pico_park'"):
        make("pico_parc")
    with pytest.raises(BadInputError, match="unknown field of config 'prese'"):
        make("pico_park", config={"prese": "gates"})
    with pytest.raises(BadInputError, match="no action for agent_1"):
        env = make("pico_park", seed=1)
        env.reset()
        env.step({"agent_0": 1})


def test_a_resumed_environment_goes_on_with_other_levels() -> None:
    def level_of(*salts: int) -> int | None:
        env = SingleGame({"seed": 3}, stream=(0, 0))
        env.reset()
        for salt in salts:
            env.branch(salt)
        env.reset()
        return env.sim.level(0).seed

    assert level_of() == level_of() and level_of(1000) == level_of(1000)
    assert len({level_of(), level_of(1000), level_of(2000)}) == 3
