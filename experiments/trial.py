"""One trial: a recipe trained, judged and checkpointed; what Tune runs, once or many times."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from ray import tune

from env.errors import BadInputError
from experiments import recipe as recipes
from experiments.metrics import train_metrics
from experiments.recipe import Recipe

ENV_STEPS = "env_steps"
"""Key of a result: ticks sampled so far, all games together."""
OBJECTIVE = "objective"
"""Key of a result: the newest evaluation's objective, in every report, for schedulers."""
CHECKPOINT = "algorithm"
"""Folder of RLlib's own checkpoint inside a trial's; it holds pickles."""
POLICY = "policy"
"""Folder of the portable policy inside a trial's checkpoint."""
MANIFEST = "manifest.json"
"""Written last into a checkpoint: one without it is not whole."""


def build_recipe(config: dict[str, Any]) -> Recipe:
    """The recipe of a Tune config: `recipe` as plain data, fields to vary by dotted name."""
    base = recipes.from_dict(config["recipe"])
    varied = {name: value for name, value in config.items() if name != "recipe"}
    changed: Recipe = recipes.replace(base, varied)
    return changed


class Trial(tune.Trainable):
    """A Tune trainable around an RLlib algorithm, judged on held-out levels.

    Its results are flat: `env_steps` and the metrics of `experiments/metrics.py`. Metrics that were
    not measured in a report are missing from it, never repeated.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Builds the algorithm in the trial's process."""
        import torch

        from experiments.stock import algorithm_config

        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        self.recipe = build_recipe(config)
        torch.set_num_threads(self.recipe.run.num_threads)
        self.algorithm = algorithm_config(self.recipe).build_algo()
        self._env_steps = 0
        self._objective = 0.0
        self._next_evaluation = 0
        self._next_checkpoint = self.recipe.run.checkpoint_env_steps

    def step(self) -> dict[str, Any]:
        """One iteration of the algorithm, and an evaluation where one is due."""
        started, cpu = time.perf_counter(), time.process_time()
        result = self.algorithm.train()
        trained = time.perf_counter()
        before = self._env_steps
        self._env_steps = int(result["env_runners"]["num_env_steps_sampled_lifetime"])
        done = self._env_steps >= self.recipe.run.env_steps
        metrics = train_metrics(result, self.recipe)
        if done or self._env_steps >= self._next_evaluation:
            metrics |= self._evaluate(final=done)
            self._objective = metrics["eval/objective"]
            interval = self.recipe.evaluation.every_env_steps
            self._next_evaluation = (self._env_steps // interval + 1) * interval
        seconds = time.perf_counter() - started
        num_steps = self._env_steps - before
        metrics |= {
            "time/env_steps_per_second": num_steps / seconds,
            "time/agent_steps_per_second": num_steps * self.recipe.env.num_agents / seconds,
            "time/evaluation_share": 1 - (trained - started) / seconds,
            "time/cpu_share": (time.process_time() - cpu) / seconds,
        }
        due = self._env_steps >= self._next_checkpoint
        if due:
            interval = self.recipe.run.checkpoint_env_steps
            self._next_checkpoint = (self._env_steps // interval + 1) * interval
        return {
            ENV_STEPS: self._env_steps,
            OBJECTIVE: self._objective,
            "done": done,
            tune.result.SHOULD_CHECKPOINT: due or done,
            **metrics,
        }

    def _evaluate(self, *, final: bool) -> dict[str, float]:
        from experiments.evaluate import evaluate_module
        from experiments.stock import MODULE

        settings = self.recipe.evaluation
        module = self.algorithm.get_module(MODULE)
        module.eval()
        return evaluate_module(
            module,
            self.recipe.env,
            self.recipe.rewards,
            num_levels=settings.num_final_levels if final else settings.num_levels,
            seed=self.recipe.run.seed,
            with_greedy=final,
            presets=settings.presets if final else (),
        )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """RLlib's checkpoint, the portable policy beside it, and a manifest, written last."""
        from experiments.policy import save_policy
        from experiments.stock import MODULE

        folder = Path(checkpoint_dir)
        self.algorithm.save_to_path(str((folder / CHECKPOINT).absolute()))
        module = self.algorithm.get_module(MODULE)
        save_policy(folder / POLICY, module.state_dict(), self.recipe, self._env_steps)
        files = {
            str(path.relative_to(folder)): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        state = {
            "env_steps": self._env_steps,
            "objective": self._objective,
            "next_evaluation": self._next_evaluation,
            "next_checkpoint": self._next_checkpoint,
            "files": files,
        }
        temporary = folder / f".{MANIFEST}"
        temporary.write_text(json.dumps(state, indent=2) + "\n")
        temporary.replace(folder / MANIFEST)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Goes on from a whole checkpoint.

        Raises:
            BadInputError: it is not whole.
        """
        from experiments.stock import branch_levels

        folder = Path(checkpoint_dir)
        state = read_manifest(folder)
        self.algorithm.restore_from_path(str((folder / CHECKPOINT).absolute()))
        branch_levels(self.algorithm, int(state["env_steps"]))
        self._env_steps = state["env_steps"]
        self._objective = state["objective"]
        self._next_evaluation = state["next_evaluation"]
        self._next_checkpoint = state["next_checkpoint"]

    def cleanup(self) -> None:
        """Stops runners and learners."""
        self.algorithm.stop()

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """One CPU for sampling and learning in one process, and one for each remote runner."""
        recipe = build_recipe(config)
        own = {"CPU": float(recipe.run.num_threads)}
        return tune.PlacementGroupFactory([own] + [{"CPU": 1.0}] * recipe.ppo.num_env_runners)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose every file has the size that it was written with.

    Raises:
        BadInputError: it has none, or a file is missing or cut short.
    """
    try:
        state: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        files = dict(state["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"the checkpoint {folder} is not whole (no readable {MANIFEST}); use an older one."
        ) from error
    for name, size in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise BadInputError(
                f"the checkpoint {folder} is damaged ({name} has not {size} bytes); use an older "
                "one."
            )
    return state
