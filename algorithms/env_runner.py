"""The batched `EnvRunner`: hundreds of games in one C call, one forward pass for all their rows.

RLlib's own runners build an episode object an agent and run every step of every agent through
connector pipelines, three quarters of the time of a fast game. This one steps a batched simulator
and fills rectangular arrays (`algorithms/rollout.py`). To RLlib it is a runner like any other:
local or remote, restarted and synced by its `EnvRunnerGroup`, saved with its algorithm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)

from algorithms.actor import BatchedActor
from algorithms.curriculum import Curriculum, CurriculumConfig
from algorithms.league import League, LeagueConfig
from algorithms.play import Games, NetworkActor, play_levels
from algorithms.rollout import Rollout, Rollouts
from algorithms.watchdog import CrashLog, Watchdog
from env.batch import BatchedGame, hash_words
from env.errors import BadInputError
from env.games import make_simulator
from env.single import agent_ids, observation_space

SAMPLING = "sampling"
"""Component of a runner's state: its games, memories and random streams, for an exact resume."""
LEDGER = "ledger"
"""Prefix of the metrics that say where the return of training episodes comes from."""
CURRICULUM = "curriculum"
"""Prefix of the metrics that say how far a curriculum has come."""
LEAGUE = "league"
"""Prefix of the metrics that say how the policy fares against its own snapshots."""
WINDOW = 200
"""Episodes that a runner's means go over."""


@dataclass(frozen=True, kw_only=True)
class GameEpisode:
    """What RLlib's `policy_mapping_fn` and `on_episode_end` are told about an episode."""

    id_: str
    """Unique among all runners of a run."""
    game: int
    """Index of the game in its runner."""
    number: int
    """How many episodes this game has played before."""
    worker_index: int
    """Of the runner; 0 is the local one."""
    record: Any = None
    """The simulator's own record, at the end; see `env.batch.BatchedGame.episodes`."""


class BatchedEnvRunner(EnvRunner, Checkpointable):  # type: ignore[misc]
    """Samples rollouts from a batched simulator.

    `config.env_config` holds what `env.games.make_simulator` takes: `game`, `config`, `rewards`,
    `seed`. Game i of worker w plays the levels of the stream hashed from (seed, w, i), the same as
    sub-environment i of RLlib's own runner w.

    With several modules, `policy_mapping_fn(agent_id, episode)` seats them at the start of every
    episode (a `GameEpisode`), and never within one.

    In evaluation (`config.in_evaluation`) it plays named held-out levels, each exactly once: with W
    remote runners, number w of them the level seeds w - 1, w - 1 + W, ...
    """

    def __init__(self, config: Any, **kwargs: Any) -> None:
        """RLlib builds it; see `SegmentPPOConfig`."""
        super().__init__(config=config, **kwargs)
        self.worker_index: int = int(kwargs.get("worker_index") or 0)
        self._spaces = kwargs.get("spaces") or {}
        on_learner = self.worker_index == 0 and self.config.num_learners == 0
        num_gpus = (
            self.config.num_gpus_per_learner
            if on_learner
            else self.config.num_gpus_per_env_runner * bool(self.worker_index)
        )
        self._device = get_device(self.config, num_gpus)
        self._callbacks = [kind() for kind in _as_list(self.config.callbacks_class)]
        self._weights_seq_no = 0
        self._next_level = 0
        self._finished = self._no_episodes()
        self.env: BatchedGame | None = None
        self._actor: BatchedActor | None = None
        self._watched: Watchdog | None = None
        self._crash_log: CrashLog | None = None
        self._branch = 0
        self._known_curriculum: dict[str, Any] | None = None
        self._curriculum: Curriculum | None = None
        self._league: League | None = None
        self.num_envs = 0
        if self.worker_index > 0 or config.create_env_on_local_worker or not config.num_env_runners:
            self.make_env()
        self.module: Any = None
        self.make_module()
        folder = getattr(config, "hang_log_dir", None)
        if self.worker_index > 0 and folder:
            self._crash_log = CrashLog(folder, str(self.worker_index))

    def _no_episodes(self) -> deque[NDArray[np.float64]]:
        """Room for the episodes that means go over: in evaluation, all of them."""
        return deque(maxlen=None if self.config.in_evaluation else WINDOW)

    # -- RLlib's hooks: what a runner is made of

    def assert_healthy(self) -> None:
        """A runner without games or modules can't sample."""
        assert self.env is not None and self.module is not None

    def get_spaces(self) -> dict[str, Any]:
        """Observation and action space, of the environment and of each module."""
        if self.env is None:
            return dict(self._spaces)
        import gymnasium as gym

        one: tuple[Any, Any] = (
            observation_space(self.env),
            gym.spaces.Discrete(self.env.num_actions),
        )
        every = tuple(
            gym.spaces.Dict(dict.fromkeys(agent_ids(self.env.num_agents), space)) for space in one
        )
        return {INPUT_ENV_SPACES: every, **dict.fromkeys(self.config.policies, one)}

    def make_env(self) -> None:
        """Makes the games anew; they start when next sampled."""
        game, context = self._game()
        self._seed_of_run = context.pop("seed", self.config.seed)
        self.num_envs = int(self.config.num_envs_per_env_runner)
        self.env = make_simulator(game, self.num_envs, **context)
        self._agents = agent_ids(self.env.num_agents)
        self._num_rows = self.num_envs * self.env.num_agents
        self._episode_start = np.ones(self.num_envs, np.bool_)
        self._episode_numbers = np.zeros(self.num_envs, np.int64)
        self._actor = None
        self._buffers: dict[str, NDArray[Any]] = {}
        if self._listens("on_environment_created"):
            context = dict(self.config.env_config)
            self._call("on_environment_created", env=self.env, env_context=context)

    def _game(self) -> tuple[str, dict[str, Any]]:
        """Name of the game, and what its simulator is made from."""
        context = dict(self.config.env_config)
        return context.pop("game", None) or str(self.config.env).rpartition("/")[2], context

    def make_module(self) -> None:
        """Builds the modules that act."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=False)
        self.module = spec.build()
        self.module.foreach_module(lambda name, module: module.to(self._device).eval())

    def stop(self) -> None:
        """Lets go of the games."""
        self.env = None
        if self._crash_log is not None:
            self._crash_log.close()
            self._crash_log = None

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What RLlib rebuilds a runner with."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The modules; everything else is in `get_state`."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def get_metrics(self) -> Any:
        """What was logged since the last call."""
        return self.metrics.reduce()

    # -- sampling

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[Rollouts]:
        """One rollout of all games; in evaluation, whole held-out levels.

        Args:
            num_timesteps: env steps, rounded up to whole ticks of all games; default: the config's
                fragment of every game. In evaluation, levels are played until that many are over.
            num_episodes: levels to play, in evaluation only.
            explore: whether actions are drawn (else the likeliest); default: the config's.
            random_actions: whether they are uniformly random instead.
            force_reset: starts all games anew; in evaluation, with the first level of the list.

        Returns:
            One `Rollouts`. Its arrays are this runner's own and hold until the next call.

        Raises:
            ValueError: the runner has no games, or episodes are asked for in training.
        """
        if self.env is None:
            raise ValueError(f"runner {self.worker_index} has no games and can't sample.")
        explore = bool(self.config.explore) if explore is None else explore
        with self._watchdog() as self._watched, self.metrics.log_time(SAMPLE_TIMER):
            if self.config.in_evaluation:
                samples = self._evaluate(num_timesteps, num_episodes, explore, force_reset)
            elif num_episodes is not None:
                raise ValueError(
                    "a training runner samples steps; give num_timesteps, or evaluate on an "
                    "evaluation runner (config.evaluation(evaluation_interval=...))."
                )
            else:
                length = int(self.config.get_rollout_fragment_length(self.worker_index))
                if num_timesteps is not None:
                    length = -(-num_timesteps // self.num_envs)
                samples = self._roll(length, explore, random_actions, force_reset)
        if self._listens("on_sample_end"):
            self._call("on_sample_end", samples=[samples])
        return [samples]

    def _roll(
        self, num_steps: int, explore: bool, random_actions: bool, force_reset: bool
    ) -> Rollouts:
        """T ticks of all games, into this runner's arrays."""
        sim = self.env
        assert sim is not None
        if self._actor is None:
            self._start(())
        elif force_reset or self._actor.names != tuple(self._modules()):
            # Also where policies came or went: every seat is given anew.
            self._episode_numbers += 1
            self._reset_games()
            self._seat_all(self._actor.generator)
        actor = self._actor
        assert actor is not None
        self._take_snapshot(actor)
        buffers = self._allocate(num_steps)
        num_agents, rows = sim.num_agents, self._num_rows
        observations = _flat(sim.observations, rows)
        tensors = {name: torch.from_numpy(one) for name, one in observations.items()}
        states = {
            # Copies: with several modules the actor writes into its own.
            name: {key: np.array(one.cpu()) for key, one in state.items()}
            for name, state in actor.states.items()
            if self._learns(name)
        }
        records: list[NDArray[np.void]] = []
        for t in range(num_steps):
            for name, one in observations.items():
                buffers[name][:, t] = one
            start = torch.from_numpy(np.repeat(self._episode_start, num_agents))
            buffers["episode_start"][:, t] = start.numpy()
            buffers["alive"][:, t] = sim.alive.reshape(rows)
            buffers["owner"][:, t] = actor.owners
            acted = actor.act(tensors, start, greedy=not explore)
            if random_actions:
                acted = self._uniform(acted)
            actions = acted.actions.numpy()
            buffers["actions"][:, t] = actions
            buffers["log_probabilities"][:, t] = acted.of_actions().numpy()
            buffers["values"][:, t] = acted.values.numpy()
            sim.step(actions.reshape(self.num_envs, num_agents).astype(np.int32))
            buffers["rewards"][:, t] = sim.rewards.reshape(rows)
            buffers["terminated"][:, t] = np.repeat(sim.terminated, num_agents)
            buffers["truncated"][:, t] = np.repeat(sim.truncated, num_agents)
            if sim.truncated.any():
                self._value_cut_games(sim, actor, buffers["final_values"][:, t])
            self._episode_start = sim.terminated | sim.truncated
            if self._episode_start.any():
                records.extend(self._end_episodes(sim, actor))
        start = torch.from_numpy(np.repeat(self._episode_start, num_agents))
        bootstrap = actor.act(tensors, start, remember=False, greedy=True).values.numpy()
        episodes = np.concatenate([*records, sim.episodes()])
        self._remember(sim, episodes)
        rollouts = Rollouts(
            modules=self._split(actor, buffers, states, bootstrap),
            num_env_steps=num_steps * self.num_envs,
            num_agent_steps=num_steps * rows,
            episodes=episodes,
            # A local runner isn't started again without its process.
            curriculum=self._curriculum_state() if self.worker_index > 0 else None,
        )
        self._log(sim, rollouts, buffers["owner"], actor)
        return rollouts

    def _start(self, salt: tuple[int, ...]) -> BatchedActor:
        """Starts every game on streams of levels and actions of its own; `salt` tells runs apart.

        Game i of worker w has the stream hashed from (seed, w, i), as `env.rllib` does it.
        """
        assert self.env is not None
        generator = torch.Generator()
        seeds = None
        self._branch = salt[0] if salt else 0
        if self._seed_of_run is None:
            generator.seed()
        else:
            words = (int(self._seed_of_run), self.worker_index)
            seeds = [hash_words((*words, i, *salt)) for i in range(self.num_envs)]
            # Beyond any game's index: no stream of levels is hashed from these words.
            generator.manual_seed(hash_words((*words, 1 << 32, *salt)) >> 1)
        self._curriculum = self._make_curriculum(generator.initial_seed())
        self._league = self._make_league(generator.initial_seed())
        self._reset_games(seeds)
        return self._seat_all(generator)

    def _make_curriculum(self, seed: int) -> Curriculum | None:
        """A new curriculum that knows what the one before it has learned."""
        config: CurriculumConfig | None = getattr(self.config, "curriculum_config", None)
        if config is None or config.mode == "none" or self.config.in_evaluation:
            return None
        assert self.env is not None
        names = self.env.outcome_names
        made = Curriculum(config, self.env.difficulty_names, names.index("victory"), seed)
        known = self._curriculum_state() or self._known_curriculum
        if known is not None:
            made.set_state({**known, "generator": made.get_state()["generator"]})
        return made

    def _make_league(self, seed: int) -> League | None:
        """The league that there is, or a new one."""
        if self._league is not None:
            return self._league
        config: LeagueConfig | None = getattr(self.config, "league_config", None)
        if config is None or not config.snapshot_env_steps or self.config.in_evaluation:
            return None
        assert self.env is not None
        (learner,) = self._learned()
        seats = self.env.winning_seats
        outcomes = {i: seats[n] for i, n in enumerate(self.env.outcome_names) if n in seats}
        # Not the curriculum's draws, which have the same seed.
        return League(config, learner, outcomes, hash_words((seed, 3)))

    def _take_snapshot(self, actor: BatchedActor) -> None:
        """Adds the policy to its league, if it is time; games that are played go on."""
        league, env_steps = self._league, int(self.num_env_steps_sampled_lifetime)
        if league is not None and league.is_due(env_steps):
            name = league.add(self.module[league.learner], env_steps)
            actor.add(name, league.modules[name])

    def _curriculum_state(self) -> dict[str, Any] | None:
        return self._curriculum.get_state() if self._curriculum is not None else None

    def know_curriculum(self, state: dict[str, Any] | None) -> None:
        """What runners that are started again begin with: they get this one's state."""
        self._known_curriculum = state or self._known_curriculum

    def _reset_games(self, seeds: Sequence[int] | None = None) -> None:
        """Starts a level in every game, on new streams if seeds are given."""
        assert self.env is not None
        if self._curriculum is None:
            self.env.reset(seed=seeds)
            return
        levels = [self._curriculum.draw() for _ in range(self.num_envs)]
        self.env.reset(seed=seeds, levels=levels)
        self._queue_levels(range(self.num_envs))

    def _queue_levels(self, games: Collection[int]) -> None:
        """Names the next level of these games, so that none goes back to one it has played."""
        assert self.env is not None
        if self._curriculum is not None:
            for game in games:
                self.env.queue_levels(int(game), [self._curriculum.draw()])

    def _seat_all(self, generator: torch.Generator) -> BatchedActor:
        """Seats policies without memories in every game, at the start of its episode."""
        self._actor = BatchedActor(self._modules(), self._num_rows, generator=generator)
        self._episode_start[:] = True
        self._seat(range(self.num_envs), self._actor)
        return self._actor

    def _learned(self) -> dict[str, Any]:
        """The modules that RLlib knows."""
        return {name: self.module[name] for name in sorted(self.module.keys())}

    def _modules(self) -> dict[str, Any]:
        """All that play: those that RLlib knows, and a league's snapshots."""
        return self._learned() | (self._league.modules if self._league is not None else {})

    def _seat(self, games: Collection[int], actor: BatchedActor) -> None:
        """Asks the league or the mapping function who plays the seats of these games."""
        if len(actor.names) == 1:
            return
        assert self.env is not None
        mapping: Callable[..., str] = self.config.policy_mapping_fn
        for game in games:
            if self._league is not None:
                names = self._league.seats()
            else:
                episode = self._episode(game)
                names = [mapping(agent, episode) for agent in self._agents]
            first = game * self.env.num_agents
            actor.seat(np.arange(first, first + self.env.num_agents), names)

    def _episode(self, game: int, record: Any = None, number: int | None = None) -> GameEpisode:
        number = int(self._episode_numbers[game]) if number is None else number
        return GameEpisode(
            id_=f"{self.worker_index}-{self._branch}-{game}-{number}",
            game=int(game),
            number=number,
            worker_index=self.worker_index,
            record=record,
        )

    def _end_episodes(self, sim: BatchedGame, actor: BatchedActor) -> list[NDArray[np.void]]:
        """Tells callbacks of games that ended, and seats their next episodes.

        Returns the records that it has fetched: none, if nobody asked for them yet.
        """
        fetched = []
        listens = self._listens("on_episode_end")
        if listens or self._curriculum is not None or self._league is not None:
            fetched.append(sim.episodes())
        if self._curriculum is not None:
            self._curriculum.learn(fetched[0])
        if self._league is not None:
            for record in fetched[0]:
                first = int(record["game"]) * sim.num_agents
                owners = actor.owners[first : first + sim.num_agents]
                self._league.learn([actor.names[k] for k in owners], int(record["outcome"]))
        if listens:
            self._tell_ends(sim, fetched[0])
        ended = np.flatnonzero(self._episode_start)
        self._episode_numbers[ended] += 1
        self._queue_levels(ended)
        self._seat(ended, actor)
        return fetched

    def _tell_ends(
        self, sim: BatchedGame, records: NDArray[np.void], numbered_from: int | None = None
    ) -> None:
        """Tells callbacks of episodes that ended; in evaluation they are numbered through."""
        for index, record in enumerate(records):
            game = int(record["game"])
            number = None if numbered_from is None else numbered_from + index
            self._call(
                "on_episode_end",
                episode=self._episode(game, record, number),
                env=sim,
                env_index=game,
                rl_module=self.module,
            )

    def _remember(self, sim: BatchedGame, records: NDArray[np.void]) -> None:
        """Keeps length, return and terms (means over agents) of the newest episodes."""
        weights = np.array(list(sim.reward_weights.by_term().values()))
        records = records[-(self._finished.maxlen or 0) :]
        terms = records["terms"].mean(1)
        rows = np.column_stack([records["length"], terms @ weights, terms])
        self._finished.extend(rows)

    def _value_cut_games(
        self, sim: BatchedGame, actor: BatchedActor, final_values: NDArray[np.float32]
    ) -> None:
        """Values of the last observations of games that were cut off in this tick."""
        rows = np.flatnonzero(np.repeat(sim.truncated, sim.num_agents))
        last = _flat(sim.final_observations, self._num_rows)
        found = actor.act(
            {name: torch.from_numpy(one[rows]) for name, one in last.items()},
            torch.zeros(len(rows), dtype=torch.bool),
            torch.from_numpy(rows),
            greedy=True,
            remember=False,
        )
        final_values[rows] = found.values.numpy()

    def _uniform(self, acted: Any) -> Any:
        """Uniformly random actions, with the log-probabilities that they have."""
        assert self._actor is not None
        count = acted.log_probabilities.shape[1]
        actions = torch.randint(count, acted.actions.shape, generator=self._actor.generator)
        uniform = torch.full_like(acted.log_probabilities, -np.log(count))
        return acted._replace(actions=actions, log_probabilities=uniform)

    def _allocate(self, num_steps: int) -> dict[str, NDArray[Any]]:
        """This runner's arrays, made once: fresh pages would cost more than filling them."""
        rows = self._num_rows
        if not self._buffers or self._buffers["actions"].shape[1] != num_steps:
            assert self.env is not None
            kinds: dict[str, Any] = {
                "actions": np.int64,
                **dict.fromkeys(("log_probabilities", "values", "rewards"), np.float32),
                "final_values": np.float32,
                **dict.fromkeys(("terminated", "truncated", "alive", "episode_start"), np.bool_),
                "owner": np.int16,
            }
            # A tick after the other in memory, so that each writes to one place.
            self._buffers = {
                name: np.zeros((num_steps, rows), kind).T for name, kind in kinds.items()
            }
            for part in self.env.parts:
                self._buffers[part.name] = np.zeros((rows, num_steps, *part.shape), part.dtype)
        self._buffers["final_values"][:] = 0
        return self._buffers

    def _split(
        self,
        actor: BatchedActor,
        buffers: dict[str, NDArray[Any]],
        states: Mapping[str, dict[str, NDArray[Any]]],
        bootstrap: NDArray[np.float32],
    ) -> dict[str, Rollout]:
        """The rows of each module that learns."""
        assert self.env is not None
        num_agents = self.env.num_agents
        found = {}
        for index, name in enumerate(actor.names):
            if not self._learns(name):
                continue
            owned = buffers["owner"] == index
            rollout = Rollout(
                observations={part.name: buffers[part.name] for part in self.env.parts},
                active=buffers["alive"] & owned,
                owned=owned,
                states=states[name],
                bootstrap=bootstrap,
                game=np.repeat(np.arange(self.num_envs, dtype=np.int32), num_agents),
                seat=np.tile(np.arange(num_agents, dtype=np.int32), self.num_envs),
                **{key: buffers[key] for key in _COLUMNS},
            )
            rows = owned.any(1)
            if rows.any():
                found[name] = rollout if rows.all() else rollout.select(rows)
        return found

    def _learns(self, name: str) -> bool:
        if self._league is not None and name in self._league.modules:
            return False
        chosen = self.config.policies_to_train
        if chosen is None:
            return True
        return bool(chosen(name, None)) if callable(chosen) else name in chosen

    # -- evaluation

    def _evaluate(
        self, num_timesteps: int | None, num_episodes: int | None, explore: bool, reset: bool
    ) -> Rollouts:
        """Plays held-out levels of the list, each once."""
        sim = self.env
        assert sim is not None
        is_remote = self.worker_index > 0
        first, stride = (self.worker_index - 1, self.num_workers) if is_remote else (0, 1)
        if reset or not is_remote:
            self._next_level = 0
        played: list[Games] = []
        while True:
            count = self.num_envs if num_episodes is None else num_episodes
            numbers = range(self._next_level, self._next_level + count)
            self._next_level += count
            seeds = [first + stride * number for number in numbers]
            played.append(self.play(seeds, greedy=not explore))
            ticks = sum(int(one.records["length"].sum()) for one in played)
            if num_episodes is not None or ticks >= (num_timesteps or 1):
                break
        records = np.concatenate([one.records for one in played])
        wins = np.concatenate([one.wins for one in played])
        self._finished = self._no_episodes()
        self._remember(sim, records)
        if self._listens("on_episode_end"):
            self._tell_ends(sim, records, numbered_from=self._next_level - len(records))
        # Of several runners RLlib takes the mean of their means; counts add up exactly.
        self.metrics.log_value("win_rate", float(wins.mean()), window=1)
        self.metrics.log_value("num_wins", int(wins.sum()), reduce="sum")
        rollouts = Rollouts(
            modules={},
            num_env_steps=ticks,
            num_agent_steps=ticks * sim.num_agents,
            episodes=records,
        )
        self._log(sim, rollouts, None, None)
        return rollouts

    def play(self, seeds: Sequence[int], *, greedy: bool = False, held_out: bool = True) -> Games:
        """Plays named levels with the runner's modules, each once, beside its training games.

        Args:
            seeds: level seeds.
            greedy: takes the likeliest actions instead of drawing them.
            held_out: whether the seeds name held-out levels.
        """
        assert self.env is not None
        game, context = self._game()
        context.pop("seed", None)
        actor = NetworkActor(
            self._learned(),
            greedy=greedy,
            seed=hash_words((self._seed_of_run or 0, self.worker_index, 2 << 32)) >> 1,
            seats=self._seats if len(self.module.keys()) > 1 else None,
        )
        return play_levels(
            actor,
            lambda count: make_simulator(game, count, **context, seed=0),
            seeds,
            held_out=held_out,
            max_games=self.num_envs,
            each_tick=self._watched.beat if self._watched else None,
        )

    def _seats(self, game: int, number: int) -> list[str]:
        """Who plays level `number` of a game in evaluation."""
        episode = self._episode(game, number=number)
        return [self.config.policy_mapping_fn(agent, episode) for agent in self._agents]

    # -- metrics and callbacks

    def _log(
        self,
        sim: BatchedGame,
        rollouts: Rollouts,
        owner: NDArray[np.int16] | None,
        actor: BatchedActor | None,
    ) -> None:
        """RLlib's own counters, and means over the newest episodes: once a sample, not a step."""
        log = self.metrics.log_value
        steps, num_episodes = rollouts.num_env_steps, len(rollouts.episodes)
        self.num_env_steps_sampled_lifetime += steps
        self._log_env_steps(self._metrics_num_env_steps_sampled, steps)
        log(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        log(NUM_EPISODES, num_episodes, reduce="sum")
        log(NUM_EPISODES_LIFETIME, num_episodes, reduce="lifetime_sum")
        for agent in self._agents:
            log((NUM_AGENT_STEPS_SAMPLED, agent), steps, reduce="sum")
            log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent), steps, reduce="lifetime_sum")
        if owner is not None and actor is not None:
            counts = np.bincount(owner.ravel(), minlength=len(actor.names))
            for name, count in zip(actor.names, counts, strict=True):
                if name not in self.module:
                    continue  # a snapshot
                log((NUM_MODULE_STEPS_SAMPLED, name), int(count), reduce="sum")
                log((NUM_MODULE_STEPS_SAMPLED_LIFETIME, name), int(count), reduce="lifetime_sum")
        log(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        if self._curriculum is not None:
            log(f"{CURRICULUM}/rungs", self._curriculum.num_open, window=1)
            for name, rate in self._curriculum.success().items():
                log(f"{CURRICULUM}/{name}", rate, window=1)
        if self._league is not None:
            chances = list(self._league.chances().values())
            log(f"{LEAGUE}/snapshots", len(chances), window=1)
            if chances:
                log(f"{LEAGUE}/worst_chance", min(chances), window=1)
                log(f"{LEAGUE}/mean_chance", float(np.mean(chances)), window=1)
        if not self._finished:
            return
        length, own, *terms = np.mean(self._finished, axis=0)
        log(EPISODE_LEN_MEAN, float(length), window=1)
        # RLlib's is the sum over a game's agents.
        log(EPISODE_RETURN_MEAN, float(own) * sim.num_agents, window=1)
        for name, total in zip(sim.term_names, terms, strict=True):
            log(f"{LEDGER}/{name}", float(total), window=1)

    def _listens(self, hook: str) -> bool:
        """Whether anybody has given this callback."""
        base = getattr(RLlibCallback, hook)
        return bool(getattr(self.config, f"callbacks_{hook}", None)) or any(
            getattr(type(one), hook) is not base for one in self._callbacks
        )

    def _call(self, hook: str, **info: Any) -> None:
        """Calls the user's callbacks."""
        make_callback(
            hook,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{hook}", None),
            kwargs=dict(env_runner=self, metrics_logger=self.metrics, **info),
        )

    def _watchdog(self) -> Watchdog:
        """Ends this process if nothing moves for `config.hang_timeout_s`."""
        timeout = getattr(self.config, "hang_timeout_s", None)
        return Watchdog(timeout, getattr(self.config, "hang_log_dir", None), str(self.worker_index))

    # -- state

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Weights, counters, and everything that an exact resume needs, as RLlib asks for it."""
        state: dict[str, Any] = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime
        }
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        if self._known_curriculum is not None:
            state[CURRICULUM] = self._known_curriculum
        if self._check_component(SAMPLING, components, not_components):
            sampling = self.sampling_state()
            if sampling is not None:
                state[SAMPLING] = sampling
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what RLlib sends: newer weights, counters, games to go on with."""
        if COMPONENT_RL_MODULE in state:
            # Also under a number of its own: after a restore that says nothing about the weights.
            number = state.get(WEIGHTS_SEQ_NO, 0)
            weights = state[COMPONENT_RL_MODULE]
            if isinstance(weights, ray.ObjectRef):
                weights = ray.get(weights)
            self.module.set_state(weights)
            if number > 0:
                self._weights_seq_no = number
        self.know_curriculum(state.get(CURRICULUM))
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = int(state[NUM_ENV_STEPS_SAMPLED_LIFETIME])
            # Games made in place of others that have played already must not repeat their levels.
            used = self.num_env_steps_sampled_lifetime > 0 and not self.config.in_evaluation
            if self._actor is None and used:
                self.branch(self.num_env_steps_sampled_lifetime)
        sampling = state.get(SAMPLING)
        if sampling is not None and sampling["worker_index"] == self.worker_index:
            self.set_sampling_state(sampling)

    def branch(self, salt: int) -> None:
        """Sends every game on, from fresh starts, to levels that no other salt leads to."""
        if self.env is not None:
            self._start((salt,))

    def sampling_state(self) -> dict[str, Any] | None:
        """Games, memories, generator; None before the first sample or without games."""
        if self.env is None or self._actor is None:
            return None
        return {
            "worker_index": self.worker_index,
            "branch": self._branch,
            "games": [self.env.snapshot(i) for i in range(self.num_envs)],
            "episode_start": self._episode_start.copy(),
            "episode_numbers": self._episode_numbers.copy(),
            "finished": list(self._finished),
            "actor": self._actor.get_state(),
            "curriculum": self._curriculum_state(),
            "league": self._league.get_state() if self._league is not None else None,
        }

    def set_sampling_state(self, state: Mapping[str, Any]) -> None:
        """Goes on with other games' snapshots.

        Games of another number or another config (as after an exchange of hyperparameters) can't
        be gone on with: then fresh ones start, on levels of their own.
        """
        if self.env is None:
            return
        self._league = None
        if (known := state.get("league")) and (league := self._make_league(0)) is not None:
            league.set_state(known, self.module[league.learner])
            self._league = league
        actor = self._start(())
        if self._curriculum is not None and state.get("curriculum"):
            self._curriculum.set_state(state["curriculum"])
        try:
            if len(state["games"]) != self.num_envs:
                raise BadInputError(f"{len(state['games'])} games were saved, not {self.num_envs}.")
            for i, game in enumerate(state["games"]):
                self.env.restore(i, game)
        except BadInputError:
            self.branch(self.num_env_steps_sampled_lifetime)
            return
        actor.set_state(state["actor"])
        if self._league is not None and known:
            self._league.rewind(known)  # seats were drawn for the actor's making
        self._branch = state["branch"]
        self._episode_start = np.array(state["episode_start"])
        self._episode_numbers = np.array(state["episode_numbers"])
        self._finished = self._no_episodes()
        self._finished.extend(state["finished"])


_COLUMNS = (
    "actions",
    "log_probabilities",
    "values",
    "rewards",
    "terminated",
    "truncated",
    "final_values",
    "episode_start",
)


def _flat(arrays: Mapping[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
    """(games, seats, ...) as (rows, ...), without a copy."""
    return {name: one.reshape(rows, *one.shape[2:]) for name, one in arrays.items()}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
