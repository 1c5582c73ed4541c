"""The recipes: functions that return a whole config. Add one here and it has a name everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from algorithms.curriculum import CurriculumConfig
from algorithms.league import LeagueConfig
from env.errors import unknown_name
from env.pico_park import PicoParkConfig, PicoParkRewards, Preset
from experiments.recipe import (
    EvaluationConfig,
    PongRecipe,
    PPOConfig,
    Recipe,
    RunConfig,
    SweepConfig,
)
from models import ModelConfig

FOUND = PPOConfig(lr=1.2e-3, entropy=0.005, lambda_=0.9, minibatch=1024)
"""Of `pico_park` and its like. Traces and minibatches come from a search of short runs, learning
rate and entropy bonus from runs of full length, in which the search's own fell back."""


def _ladder(*rungs: Preset) -> CurriculumConfig:
    """From preset to preset, promoting as the best of a search of short runs did."""
    return CurriculumConfig(mode="ladder", rungs=rungs, promote_at=0.7, newest_share=0.6)


def meadow() -> Recipe:
    """Four cats on the easiest levels: learns to win in two minutes."""
    return Recipe(
        name="meadow",
        env=PicoParkConfig(preset="meadow"),
        sweep=SweepConfig(space=("rewards.own_block", "rewards.team_share"), num_trials=6),
        run=RunConfig(env_steps=800_000),
    )


def stock() -> Recipe:
    """`meadow` on RLlib's own runners and PPO, ten times slower: what the batched path is
    compared with."""
    return Recipe(
        name="stock",
        env=PicoParkConfig(preset="meadow"),
        algorithm="ppo",
        ppo=PPOConfig(num_envs=32, minibatch=1024, num_epochs=2, lr_end=2e-4),
        run=RunConfig(env_steps=800_000),
    )


def pico_park() -> Recipe:
    """Four cats from nothing to the hardest levels, by a ladder of measured success."""
    return Recipe(
        name="pico_park",
        env=PicoParkConfig(preset="gauntlet"),
        ppo=FOUND,
        curriculum=_ladder("meadow", "gates", "curtains", "tunnels", "gauntlet"),
        evaluation=EvaluationConfig(
            every_env_steps=1_000_000,
            num_levels=200,
            num_final_levels=1000,
            presets=("meadow", "gates", "curtains", "tunnels"),
        ),
        run=RunConfig(env_steps=24_000_000, checkpoint_env_steps=1_000_000),
    )


def pico_park_search() -> Recipe:
    """Looks for settings of `pico_park`: short runs proposed by Optuna, the better third of which
    goes on."""
    return dataclasses.replace(
        pico_park(),
        name="pico_park_search",
        evaluation=EvaluationConfig(
            every_env_steps=1_500_000, num_levels=400, num_final_levels=1000
        ),
        sweep=SweepConfig(
            space=(
                "ppo.lr=5e-4:5e-3:log",
                "ppo.entropy=0.002:0.03:log",
                "ppo.gamma=0.98,0.99,0.995",
                "ppo.lambda_=0.85,0.9,0.95",
                "ppo.minibatch=1024,2048",
                "curriculum.mode=ladder,learnability",
                "curriculum.promote_at=0.4:0.9",
                "curriculum.newest_share=0.3:0.9",
                "rewards.team_share=0.1:0.9",
            ),
            search="optuna",
            num_trials=32,
            scheduler="asha",
            grace_env_steps=1_500_000,
        ),
        run=RunConfig(env_steps=3_000_000, checkpoint_env_steps=1_500_000),
    )


def classic() -> Recipe:
    """Four cats on the original experiment's levels, by way of easier ones."""
    return Recipe(
        name="classic",
        env=PicoParkConfig(preset="classic"),
        ppo=FOUND,
        curriculum=_ladder("meadow", "gates", "curtains", "tunnels", "classic"),
        evaluation=EvaluationConfig(
            every_env_steps=1_000_000, num_levels=200, num_final_levels=1000
        ),
        run=RunConfig(env_steps=24_000_000, checkpoint_env_steps=1_000_000),
    )


def classic_blog() -> Recipe:
    """`classic` with the rewards that the original experiment ended with.

    Cats that leave a rung early under these rewards farm blocks on the next; so they stay longer.
    """
    base = classic()
    return dataclasses.replace(
        base,
        name="classic_blog",
        rewards=PicoParkRewards.preset("blog"),
        curriculum=dataclasses.replace(base.curriculum, promote_at=0.9, newest_share=0.4),
    )


def lanes() -> Recipe:
    """Four cats in tunnels where they can't pass each other, by way of easier levels."""
    return Recipe(
        name="lanes",
        env=PicoParkConfig(preset="lanes"),
        ppo=FOUND,
        curriculum=_ladder("meadow", "gates", "curtains", "tunnels", "lanes"),
        evaluation=EvaluationConfig(
            every_env_steps=1_000_000, num_levels=200, num_final_levels=1000
        ),
        run=RunConfig(env_steps=20_000_000, checkpoint_env_steps=1_000_000),
    )


def blog() -> Recipe:
    """The original experiment: its network, rewards, layout of levels, advantages, sampling of
    segments and settings; but Adam with a linear fall where it had Muon with a cosine, and as many
    steps as a machine without a GPU makes in an hour and a half."""
    return Recipe(
        name="blog",
        env=PicoParkConfig(preset="classic"),
        rewards=PicoParkRewards.preset("blog"),
        model=ModelConfig(encoder="blog", precision="bfloat16"),
        ppo=PPOConfig(
            num_envs=512,
            minibatch=32_768,
            microbatch=1024,
            entropy=0.03,
            entropy_end=0.03,
            gamma=0.995,
            lambda_=0.9,
            value_coefficient=2.0,
            gradient_norm=1.5,
            lr_end=0.0,
            advantage="puff",
            priority_alpha=0.8,
            priority_beta=0.2,
        ),
        evaluation=EvaluationConfig(every_env_steps=500_000),
        run=RunConfig(env_steps=10_000_000),
    )


def reward_sweep() -> Recipe:
    """Six reward weightings of four cats in minutes: the team's reward or one's own, pay for
    survival or none? What `make sweep` runs."""
    return Recipe(
        name="reward_sweep",
        env=PicoParkConfig(preset="meadow"),
        evaluation=EvaluationConfig(every_env_steps=50_000, num_levels=100, num_final_levels=400),
        sweep=SweepConfig(
            space=("rewards.team_share=0,0.2,1", "rewards.alive=0,0.02"), search="grid"
        ),
        run=RunConfig(env_steps=800_000),
    )


def claims() -> Recipe:
    """What the original experiment's author says of rewards, levels and networks, each put to the
    test: 17 variants with 5 seeds each, three to five hours of one core."""
    return Recipe(
        name="claims",
        env=PicoParkConfig(preset="gates"),
        evaluation=EvaluationConfig(every_env_steps=100_000, num_levels=100, num_final_levels=400),
        sweep=SweepConfig(
            variants=(
                "base:",
                "team only: rewards.team_share=1",
                "own only: rewards.team_share=0",
                "alive 0.02: rewards.alive=0.02",
                "alive 0.02, no crumbs: rewards.alive=0.02 rewards.progress_*=0",
                "alive 0.005: rewards.alive=0.005",
                "alive 0.005, no crumbs: rewards.alive=0.005 rewards.progress_*=0",
                "no crumbs: rewards.progress_*=0",
                "own block 0.2: rewards.own_block=0.2",
                "own block 0.5: rewards.own_block=0.5",
                "free shots: rewards.wasted_shot=0 rewards.foreign_block=0",
                "10 levels: curriculum.num_levels=10",
                "1000 levels: curriculum.num_levels=1000",
                "no map: model.encoder=mlp",
                "no memory: model.lstm=false",
                "own block 0: rewards.own_block=0",
                "100 levels: curriculum.num_levels=100",
            ),
            num_seeds=5,
        ),
        run=RunConfig(env_steps=800_000),
    )


def claims_segments() -> Recipe:
    """Whether advantages estimated anew and segments drawn by advantage help where data are used
    three times: 5 variants with 5 seeds each, two hours of one core."""
    return dataclasses.replace(
        claims(),
        name="claims_segments",
        ppo=PPOConfig(num_epochs=3),
        sweep=SweepConfig(
            variants=(
                "gae: ppo.advantage=gae",
                "vtrace: ppo.advantage=vtrace",
                "puff: ppo.advantage=puff",
                "gae, drawn: ppo.advantage=gae ppo.priority_alpha=0.6",
                "vtrace, drawn: ppo.advantage=vtrace ppo.priority_alpha=0.6",
            ),
            num_seeds=5,
        ),
    )


def smoke() -> Recipe:
    """A minute of everything on tiny levels, for tests and for trying a cluster."""
    return Recipe(
        name="smoke",
        env=PicoParkConfig(
            preset="meadow", num_agents=2, length=18, share_open=1, share_gate=0, share_curtain=0
        ),
        ppo=PPOConfig(num_envs=8, fragment=32, minibatch=256, num_epochs=1),
        evaluation=EvaluationConfig(every_env_steps=512, num_levels=16, num_final_levels=32),
        sweep=SweepConfig(space=("rewards.team_share=0,1",), search="grid"),
        run=RunConfig(env_steps=1024, report_env_steps=1, checkpoint_env_steps=512),
    )


def pong() -> Recipe:
    """Pong by self-play: one policy for both seats, a league of what it used to be."""
    return PongRecipe(
        name="pong",
        model=ModelConfig(lstm=False, hidden_size=128),
        ppo=PPOConfig(lr=1e-3, gamma=0.995, lambda_=0.95, entropy=0.01, num_envs=128),
        league=LeagueConfig(snapshot_env_steps=1_000_000),
        evaluation=EvaluationConfig(every_env_steps=2_000_000, num_levels=20, num_final_levels=100),
        run=RunConfig(
            env_steps=20_000_000, report_env_steps=200_000, checkpoint_env_steps=2_000_000
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        meadow,
        pico_park,
        pico_park_search,
        classic,
        classic_blog,
        lanes,
        blog,
        stock,
        reward_sweep,
        claims,
        claims_segments,
        pong,
        smoke,
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name, or an error that suggests the nearest."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]()
