"""One trial: a recipe trained, judged and checkpointed; what Tune runs, once or many times."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from algorithms.watchdog import CrashLog, Watchdog
from env.errors import BadInputError
from env.files import in_one_piece
from experiments import guards
from experiments import recipe as recipes
from experiments.metrics import mean_of, train_metrics
from experiments.recipe import PongRecipe, Recipe
from experiments.reward_watch import RewardWatch
from experiments.space import VARIANT, parse_variants
from experiments.study import note_trial

ENV_STEPS = "env_steps"
"""Key of a result: ticks sampled so far, all games together."""
OBJECTIVE = "objective"
"""Key of a result: the newest evaluation's objective, in every report, for schedulers."""
CHECKPOINT = "algorithm"
"""Folder of RLlib's own checkpoint inside a trial's; it holds pickles."""
CHECKPOINTS = "checkpoint_"
"""How Tune calls a trial's checkpoints, with a number behind."""
POLICY = "policy"
"""Folder of the portable policy inside a trial's checkpoint."""
MANIFEST = "manifest.json"
"""Written last into a checkpoint: one without it is not whole."""
NOTICE = "notice"
"""Key of a result: a sentence that the user should read."""
REPLAYS = "replays"
"""Key of a result, and folder of a trial: where the replays of the newest evaluation lie."""
EPISODES = "episodes"
"""Key of a result: the file of the newest evaluation's episodes."""
HACKED = "hacked"
"""Key of a result with an evaluation: the verdict of its reward watch."""
NUM_NOTED_LEVELS = 20_000
"""Training levels that a checkpoint notes, the newest: whoever suspects that they were learned by
heart can play them again."""
REPEAT = "__trial_index__"
"""Key of a Tune config: which repetition (seed) of a proposed variant this is; Tune's own name."""


def build_recipe(config: dict[str, Any]) -> Recipe:
    """The recipe of a Tune config: `recipe` as plain data, fields to vary by dotted name."""
    base = recipes.from_dict(config["recipe"])
    apart = ("recipe", REPEAT, VARIANT)
    varied = {name: value for name, value in config.items() if name not in apart}
    if VARIANT in config:
        varied = parse_variants(base)[config[VARIANT]] | varied
    if REPEAT in config:
        varied["run.seed"] = base.run.seed + int(config[REPEAT])
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

        from experiments.building import algorithm_config

        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        self.folder = self._find_folder()
        guards.check_not_stopped(self.folder)
        self._crash_log = CrashLog(self.folder, "trial")
        self.recipe = build_recipe(config)
        self._varied = {name: value for name, value in config.items() if name != "recipe"}
        note_trial(self.folder, str(self.trial_id), self._varied, self.recipe)
        torch.set_num_threads(self.recipe.run.num_threads)
        self.algorithm = algorithm_config(self.recipe, str(self.folder)).build_algo()
        self.guard = guards.RunnerGuard(
            promised_env_steps=self.recipe.ppo.batch_env_steps,
            num_env_runners=self.recipe.ppo.num_env_runners,
            max_failures=self.recipe.run.max_failures,
        )
        self.watch: RewardWatch | None = None
        if not isinstance(self.recipe, PongRecipe):
            self.watch = RewardWatch(
                self.recipe.env, self.recipe.rewards, has_replays=self.recipe.evaluation.replays
            )
        self._notice = ""
        self._env_steps = 0
        self._objective = 0.0
        self._next_evaluation = 0
        self._next_checkpoint = self.recipe.run.checkpoint_env_steps
        self._levels = np.zeros((0, 2), np.uint64)

    def _find_folder(self) -> Path:
        """The trial's folder in its storage, or where Tune collects what it will store."""
        path = Path(self._storage.trial_fs_path) if self._storage else Path(self.logdir)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            return Path(self.logdir)
        return path

    def step(self) -> dict[str, Any]:
        """Trains until a report is due, and evaluates where an evaluation is.

        Raises:
            TrialFailure: the guards' reason.
        """
        started, cpu, before = time.perf_counter(), time.process_time(), self._env_steps
        interval = self.recipe.run.report_env_steps
        next_report = (before // interval + 1) * interval
        until = min(
            next_report, self._next_evaluation, self._next_checkpoint, self.recipe.run.env_steps
        )
        iterations = [self._iterate()]
        while self._env_steps < until:
            iterations.append(self._iterate())
        trained = time.perf_counter()
        metrics = mean_of(iterations)
        done = self._env_steps >= self.recipe.run.env_steps
        kept: dict[str, str] = {}
        if done or self._env_steps >= self._next_evaluation:
            watch = self.watch
            was_hacked = watch is not None and watch.finding is not None
            judged, kept = self._evaluate(final=done) if watch else self._duel(final=done)
            metrics |= judged
            if watch is not None:
                kept[HACKED] = watch.verdict
                if watch.finding and not was_hacked:
                    self._notice = f"hacked reward? {watch.verdict}."
            self._objective = metrics["eval/objective"]
            interval = self.recipe.evaluation.every_env_steps
            self._next_evaluation = (self._env_steps // interval + 1) * interval
        seconds = time.perf_counter() - started
        num_steps = self._env_steps - before
        metrics |= {
            # Without evaluation, whose share is a metric of its own.
            "time/env_steps_per_second": num_steps / (trained - started),
            "time/agent_steps_per_second": num_steps
            * self.recipe.env.num_agents
            / (trained - started),
            "time/evaluation_share": 1 - (trained - started) / seconds,
            "time/cpu_share": (time.process_time() - cpu) / seconds,
            "time/resident_mib": _resident_mib(),
        }
        due = self._env_steps >= self._next_checkpoint
        if due:
            interval = self.recipe.run.checkpoint_env_steps
            self._next_checkpoint = (self._env_steps // interval + 1) * interval
        if self.recipe.sweep.scheduler == "pbt":
            metrics |= {
                f"train/{name}": float(value)
                for name, value in self._varied.items()
                if isinstance(value, int | float)
            }
        notice, self._notice = self._notice, ""
        return {
            ENV_STEPS: self._env_steps,
            OBJECTIVE: self._objective,
            "done": done,
            tune.result.SHOULD_CHECKPOINT: due or done,
            **({NOTICE: notice} if notice else {}),
            **kept,
            **metrics,
        }

    def _iterate(self) -> dict[str, float]:
        """One iteration of the algorithm, and its metrics."""
        started, before = time.perf_counter(), self._env_steps
        # Batched runners watch themselves; RLlib's own don't.
        is_watched = self.recipe.algorithm == "segment_ppo"
        with self._stopping_for_good(), self._watchdog(not is_watched):
            result = self.algorithm.train()
            runners = result.get("env_runners", {})
            self._env_steps = int(runners.get("num_env_steps_sampled_lifetime", before))
            self.guard.check(result, self._env_steps - before)
        episodes = getattr(self.algorithm, "episodes", None)  # RLlib's own PPO has no records
        if episodes is not None and len(episodes):
            presets = episodes["difficulty"].astype(np.uint64)
            new = np.column_stack([episodes["level_seed"], presets])
            self._levels = np.concatenate([self._levels, new])[-NUM_NOTED_LEVELS:]
        whole = time.perf_counter() - started
        clock: dict[str, float] | None = getattr(self.algorithm, "seconds", None)
        if clock is not None:
            clock = {**clock, "whole": whole}
        return train_metrics(result, self.recipe, clock)

    @contextlib.contextmanager
    def _stopping_for_good(self) -> Iterator[None]:
        """Training that has blown up would do so again: the trial ends, its checkpoint stays."""
        from algorithms.learner import NonFiniteError

        try:
            yield
        except NonFiniteError as error:
            reason = (
                f"training blew up after {self._env_steps:,} env steps (its last checkpoint is "
                f"from before): {error.args[0]}"
            )
            guards.mark_stopped(self.folder, reason)
            raise guards.TrialFailure(reason) from error
        except guards.TrialFailure as error:
            guards.mark_stopped(self.folder, str(error))
            raise

    def _watchdog(self, is_on: bool = True) -> Watchdog:
        """Ends this process if it hangs, so that Tune starts the trial again."""
        return Watchdog(is_on * self.recipe.run.hang_timeout_s, self.folder, "trial")

    def _evaluate(self, *, final: bool) -> tuple[dict[str, float], dict[str, str]]:
        """Judges the policy, and keeps what it played.

        Returns:
            Metrics, and where the episodes and the replays lie.
        """
        from experiments.building import MODULE
        from experiments.episodes import FOLDER, SUFFIX, Episodes, save_episodes
        from experiments.evaluate import evaluate_module
        from experiments.replays import choose, make_replays, save_replays

        recipe, settings = self.recipe, self.recipe.evaluation
        name = f"{self._env_steps:012d}"
        kept = {EPISODES: str(self.folder / FOLDER / f"{name}{SUFFIX}")}

        def keep(games: Any, seeds: Any) -> dict[str, float]:
            save_episodes(
                Path(kept[EPISODES]),
                Episodes(
                    games=games,
                    config=recipe.env,
                    rewards=recipe.rewards,
                    env_steps=self._env_steps,
                ),
            )
            if settings.replays:
                source = {"run": self.folder.name, "env steps": f"{self._env_steps:,}"}
                made = make_replays(
                    games, choose(games), recipe.env, recipe.rewards, seeds, source=source
                )
                kept[REPLAYS] = str(self.folder / REPLAYS / name)
                save_replays(made, Path(kept[REPLAYS]))
            assert self.watch is not None
            return self.watch.look(games, self._env_steps)

        module = self.algorithm.get_module(MODULE)
        module.eval()
        with self._watchdog() as watchdog:
            metrics = evaluate_module(
                module,
                recipe.env,
                recipe.rewards,
                num_levels=settings.num_final_levels if final else settings.num_levels,
                seed=recipe.run.seed,
                with_greedy=final,
                presets=settings.presets if final else (),
                trained=self._trained_levels(settings.num_final_levels) if final else (),
                each_tick=watchdog.beat,
                keep=keep,
                keep_tracks=settings.replays,
            )
        return metrics, kept

    def _duel(self, *, final: bool) -> tuple[dict[str, float], dict[str, str]]:
        """Judges the policy by games against scripted opponents, and keeps one of each.

        Returns:
            Metrics, and where the replays lie.
        """
        from experiments.building import MODULE
        from experiments.duels import Player, duel, duel_metrics, typical_replays
        from experiments.replays import save_replays

        recipe, settings = self.recipe, self.recipe.evaluation
        assert isinstance(recipe, PongRecipe)
        module = self.algorithm.get_module(MODULE)
        module.eval()
        own = Player(name="policy", module=module)
        with self._watchdog() as watchdog:
            duels = {
                name: duel(
                    own,
                    Player(name=name),
                    recipe.env,
                    num_games=settings.num_final_levels if final else settings.num_levels,
                    seed=recipe.run.seed,
                    each_tick=watchdog.beat,
                    keep_tracks=settings.replays,
                )
                for name in recipe.opponents
            }
        kept = {}
        if settings.replays:
            kept[REPLAYS] = str(self.folder / REPLAYS / f"{self._env_steps:012d}")
            source = {"run": self.folder.name, "env steps": f"{self._env_steps:,}"}
            made = typical_replays(duels, recipe.env, recipe.rewards, source)
            save_replays(made, Path(kept[REPLAYS]))
        return duel_metrics(duels, recipe.rewards), kept

    def _trained_levels(self, count: int) -> list[int]:
        """Seeds of the newest training levels of the recipe's own preset; none if they are few."""
        from env.pico_park import presets

        of_preset = self._levels[:, 1] == presets().index(self.recipe.env.preset)
        seeds: list[int] = self._levels[of_preset, 0].tolist()[-count:]
        return seeds if len(seeds) == count else []

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """RLlib's checkpoint, the portable policy beside it, and a manifest, written last."""
        from experiments.building import MODULE
        from experiments.policy import save_levels, save_policy

        folder = Path(checkpoint_dir)
        self.algorithm.save_to_path(str((folder / CHECKPOINT).absolute()))
        module = self.algorithm.get_module(MODULE)
        save_policy(folder / POLICY, module.state_dict(), self.recipe, self._env_steps)
        if len(self._levels):
            save_levels(folder / POLICY, self._levels)
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
            "guard": self.guard.get_state(),
            "watch": self.watch.get_state() if self.watch is not None else {},
            "files": files,
        }
        _release_free_memory()
        with in_one_piece(folder / MANIFEST) as path:
            path.write_text(json.dumps(state, indent=2) + "\n")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Goes on from a checkpoint, or from the newest older one that is whole."""
        from experiments.building import branch_levels
        from experiments.policy import LEVELS_FILE, load_levels

        found = newest_whole(Path(checkpoint_dir))
        if found is None:
            self._notice = f"no checkpoint beside {checkpoint_dir} is whole; it starts anew."
            return
        folder, state = found
        if folder != Path(checkpoint_dir):
            self._notice = f"{checkpoint_dir} is damaged; it goes on from {folder.name}."
        self.algorithm.restore_from_path(str((folder / CHECKPOINT).absolute()))
        if self.recipe.algorithm == "ppo":
            branch_levels(self.algorithm, int(state["env_steps"]))
        self._env_steps = state["env_steps"]
        self._objective = state["objective"]
        self._next_evaluation = state["next_evaluation"]
        self._next_checkpoint = state["next_checkpoint"]
        self.guard.set_state(state.get("guard", {}))
        if self.watch is not None:
            self.watch.set_state(state.get("watch", {}))
        if (folder / POLICY / LEVELS_FILE).is_file():
            self._levels = load_levels(folder / POLICY)

    def cleanup(self) -> None:
        """Stops runners and learners."""
        self.algorithm.stop()
        self._crash_log.close()

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """One CPU for sampling and learning in one process, and one for each remote runner."""
        recipe = build_recipe(config)
        ppo = recipe.ppo
        own = {"CPU": float(recipe.run.num_threads)}
        if ppo.num_gpus and not ppo.num_learners:
            own["GPU"] = ppo.num_gpus
        learner = {"CPU": 1.0} | ({"GPU": ppo.num_gpus} if ppo.num_gpus else {})
        return tune.PlacementGroupFactory(
            [own] + [{"CPU": 1.0}] * ppo.num_env_runners + [learner] * ppo.num_learners
        )


def newest_whole(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """A checkpoint and its manifest: the one named if it is whole, else the newest older one."""
    older = [one for one in folder.parent.glob(f"{CHECKPOINTS}*") if one.name < folder.name]
    for one in [folder, *sorted(older, reverse=True)]:
        try:
            return one, read_manifest(one)
        except BadInputError:
            continue
    return None


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


def _release_free_memory() -> None:
    """Hands pages that are free inside glibc's heap back to the system.

    Segments of all lengths pass through the learner between small objects that stay, which leaves
    holes: without this a trial of `pico_park` grew by 8 % in half an hour. It takes 20 ms, far less
    than a checkpoint.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries haven't got it
    if trim is not None:
        trim(0)


def _resident_mib() -> float:
    """Memory of this process that is in use, MiB; of itself, without remote runners."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
