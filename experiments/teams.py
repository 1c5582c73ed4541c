"""Who plays: a trained team by whatever name its user knows, or one of the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from algorithms.play import Actor, NetworkActor
from env.batch import Ablation
from env.errors import BadInputError
from env.pico_park import PicoParkConfig, PicoParkRewards
from experiments.evaluate import RandomActor, ScriptedActor
from experiments.policy import Policy, load_policy
from experiments.recipe import Recipe
from experiments.runs import find_policy

BASELINES = ("random", "scripted")


@dataclass(frozen=True, kw_only=True)
class Team:
    """A team and the game that it was made for."""

    name: str
    """As its user called it."""
    folder: Path | None = None
    """Of a trained team's policy; None: a baseline."""
    policy: Policy | None = None
    """Of a trained team; None: a baseline."""

    @property
    def config(self) -> PicoParkConfig:
        """The game that it was trained on; a baseline takes the default."""
        return self.policy.recipe.env if self.policy else PicoParkConfig()

    @property
    def rewards(self) -> PicoParkRewards:
        """The weights that it was trained with; a baseline takes the defaults."""
        return self.policy.recipe.rewards if self.policy else PicoParkRewards()

    def make_actor(
        self,
        *,
        seed: int,
        greedy: bool = False,
        hide: Ablation | None = None,
        remembers: bool = True,
    ) -> Actor:
        """A new actor; the scripted team has no seed, and no baseline is greedy or blind."""
        if self.policy is not None:
            return NetworkActor(
                {"team": self.policy.module},
                greedy=greedy,
                seed=seed,
                hide=hide,
                remembers=remembers,
            )
        return ScriptedActor() if self.name == "scripted" else RandomActor(seed=seed)


def find_team(run: str, tracking_uri: str = "") -> Team:
    """The team that a RUN names: `random`, `scripted`, or what `find_policy` finds.

    From here on this process computes on one thread: on another number sums are rounded otherwise,
    so that figures would not come out again, and on a busy machine threads that wait for each other
    took ten times as long.

    Raises:
        BadInputError: nothing of that name has a policy that can be used.
    """
    if run in BASELINES:
        return Team(name=run)
    torch.set_num_threads(1)
    folder = find_policy(run, tracking_uri)
    policy = load_policy(folder)
    if policy.recipe.game != Recipe.game:
        raise BadInputError(
            f"{run} plays {policy.recipe.game} and is no team; let it meet somebody: clowder match "
            f"{run} predictor."
        )
    return Team(name=run, folder=folder, policy=policy)
