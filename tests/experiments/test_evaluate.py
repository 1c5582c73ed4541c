"""Judging: every named level once, the same for every batch, whatever the rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from algorithms import play
from algorithms.play import NetworkActor
from env.batch import HELD_OUT_BIT, BatchedGame, Level
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from experiments import evaluate
from experiments.evaluate import (
    RandomActor,
    ScriptedActor,
    behaviour_metrics,
    evaluate_module,
    held_out_seeds,
    ledger,
    objective,
    play_levels,
    success_metrics,
)
from experiments.policy import build_module
from experiments.recipe import Recipe
from models import RecurrentActorCritic

MEADOW = PicoParkConfig(preset="meadow", num_agents=2)


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


def make_module(*, sharp: float = 300.0, **model: Any) -> RecurrentActorCritic:
    """An untrained network with logits large enough for what it remembers to change its actions."""
    recipe = Recipe(name="any", env=MEADOW)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **model))
    module = build_module(recipe)
    with torch.no_grad():
        module.actor.weight.mul_(sharp)
    return module


class HashActor:
    """Deterministic: every cat's action follows from what it sees, and from nothing else."""

    entropy = 0.0

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        pass

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        seen = sim.observations["grid"][playing].astype(np.int64)
        weights = np.arange(seen[0, 0].size).reshape(seen.shape[2:]) % 97
        moved = np.rint(sim.observations["global"][playing] * 1000).astype(np.int64).sum(-1)
        actions: NDArray[np.int64] = ((seen * weights).sum((2, 3, 4)) + moved) % sim.num_actions
        return actions


@pytest.fixture
def few_games(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda count: monkeypatch.setattr(play, "MAX_GAMES", count)


# -- which levels are played


def test_each_named_level_is_played_once_in_the_order_of_the_list(few_games: Any) -> None:
    few_games(3)
    seeds = [17, 4, 99, 0, 23, 5, 1, 12]
    records = play_levels(HashActor(), MEADOW, seeds).records
    assert (records["level_seed"] ^ np.uint64(HELD_OUT_BIT)).tolist() == seeds
    assert (records["length"] > 0).all()


@pytest.mark.parametrize("actor", [HashActor, ScriptedActor])
def test_the_number_of_games_side_by_side_changes_nothing(actor: Any, few_games: Any) -> None:
    found = []
    for count in (1, 3, 8, 256):
        few_games(count)
        records = play_levels(actor(), MEADOW, range(10)).records
        found.append(np.delete(records.view(np.int64).reshape(10, -1), 0, axis=1))  # but for `game`
    assert all((one == found[0]).all() for one in found)
    assert len(np.unique(found[0], axis=0)) == 10


def test_a_greedy_network_plays_the_same_in_any_batch(few_games: Any) -> None:
    module = make_module()
    lengths = []
    for count in (2, 7):
        few_games(count)
        games = play_levels(NetworkActor({"team": module}, greedy=True, seed=0), MEADOW, range(9))
        lengths.append(games.records["length"].tolist())
    assert lengths[0] == lengths[1]


def test_held_out_levels_are_marked_and_differ_from_training_ones() -> None:
    held_out = play_levels(HashActor(), MEADOW, range(12))
    training = play_levels(HashActor(), MEADOW, range(12), held_out=False)
    assert (held_out.records["level_seed"] >= HELD_OUT_BIT).all()
    assert (training.records["level_seed"] < HELD_OUT_BIT).all()
    texts = []
    for is_held_out in (True, False):
        sim = PicoPark(12, MEADOW, seed=0)
        sim.reset(level_seeds=range(12), held_out=is_held_out)
        texts.append({sim.text(i) for i in range(12)})
    assert not texts[0] & texts[1]


def test_an_evaluation_plays_the_standard_list(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[int], str, dict[str, Any]]] = []
    play = evaluate.play_levels

    def spy(actor: Any, config: Any, seeds: Any, **options: Any) -> Any:
        asked.append((list(seeds), config.preset, options))
        return play(actor, config, seeds, **options)

    monkeypatch.setattr(evaluate, "play_levels", spy)
    found = evaluate_module(
        make_module(),
        MEADOW,
        PicoParkRewards(),
        num_levels=5,
        seed=0,
        with_greedy=True,
        presets=("gates",),
    )
    assert [seeds for seeds, _, _ in asked] == [[0, 1, 2, 3, 4]] * 3
    assert all(options.get("held_out", True) for _, _, options in asked)
    assert [preset for _, preset, _ in asked] == ["meadow", "meadow", "gates"]
    assert {"eval/win_rate_greedy", "eval/win_rate_gates", "eval/objective"} <= set(found)


def test_the_standard_list_starts_where_it_is_told() -> None:
    assert list(held_out_seeds(3)) == [0, 1, 2]
    assert list(held_out_seeds(3, 100)) == [100, 101, 102]


def test_another_preset_is_played_as_published() -> None:
    short = PicoParkConfig(preset="meadow", length=20, num_agents=2)
    gates = PicoParkConfig(preset="gates", num_agents=2)
    assert short.at("gates") == gates and short.at("meadow") is short


# -- what is measured


def test_behaviour_and_success_depend_on_no_reward_weight() -> None:
    module = make_module()

    def measure(rewards: PicoParkRewards) -> dict[str, float]:
        return evaluate_module(module, MEADOW, rewards, num_levels=20, seed=3, with_greedy=True)

    default, other = measure(PicoParkRewards()), measure(PicoParkRewards(alive=0.7, victory=-3.0))
    for name, value in default.items():
        assert name.startswith("reward/") or other[name] == value
    assert other["reward/return"] != default["reward/return"]


@pytest.mark.parametrize("team_share", [0.0, 0.6])
def test_the_ledger_sums_to_the_mean_return(team_share: float) -> None:
    """Against the rewards of every tick, played one level at a time."""
    rewards = PicoParkRewards(alive=0.013, victory=3.0, defeat=-0.4, team_share=team_share)
    games = play_levels(RandomActor(seed=1), MEADOW, range(8))
    games_by_script = play_levels(ScriptedActor(), MEADOW, range(8))
    returns = []
    for seed in range(8):
        sim = PicoPark(1, MEADOW, rewards, seed=0)
        sim.reset(level_seeds=[seed], held_out=True)
        actor, total = ScriptedActor(), np.zeros(2)
        while not sim.terminated[0]:
            actor.start(sim, np.zeros(1, np.bool_))
            sim.step(actor.act(sim, np.arange(1)))
            total += sim.rewards[0]
        returns.append(total.mean())
    found = ledger(games_by_script, rewards)
    assert found["reward/return"] == pytest.approx(np.mean(returns), rel=1e-5)
    assert found["reward/victory"] == pytest.approx(3.0 * games_by_script.wins.mean())
    parts = {name: value for name, value in found.items() if name != "reward/return"}
    assert sum(parts.values()) == pytest.approx(found["reward/return"])
    assert {f"reward/{name}" for name in PicoParkRewards.terms()} == set(parts)
    assert ledger(games, rewards)["reward/return"] != found["reward/return"]


def test_metrics_are_what_the_records_say() -> None:
    games = play_levels(RandomActor(seed=0), PicoParkConfig(preset="meadow"), range(50))
    records, found = games.records, behaviour_metrics(games)
    causes = [games.cause_names[one] for one in records["cause"]]
    for metric, cause in (("crushed", "crushed"), ("shot", "shot"), ("timeouts", "time")):
        assert found[f"behaviour/{metric}"] == causes.count(cause) / 50
    assert found["behaviour/shots"] == records["shots"].mean() > 0
    assert found["behaviour/idle_share"] == pytest.approx(1 / 6, abs=0.05)
    success = success_metrics(games)
    assert success["eval/episode_length"] == records["length"].mean()
    assert success["eval/win_rate_low"] <= success["eval/win_rate"] <= success["eval/win_rate_high"]


def test_random_actions_never_win_and_the_script_does() -> None:
    config = PicoParkConfig(preset="meadow")
    assert play_levels(RandomActor(seed=0), config, range(200)).wins.mean() == 0
    assert play_levels(ScriptedActor(), config, range(40)).wins.mean() > 0.9


def test_the_script_plays_every_difficulty(few_games: Any) -> None:
    few_games(4)
    games = play_levels(ScriptedActor(), PicoParkConfig(preset="gates"), range(8))
    assert games.wins.mean() > 0.7
    assert games.entropy == 0


# -- acting


def reference(module: RecurrentActorCritic, config: PicoParkConfig, seed: int) -> list[list[int]]:
    """A greedy team on one held-out level, alone and slowly: its actions, tick by tick."""
    sim = PicoPark(1, config, seed=0)
    sim.reset(levels=[Level(seed=seed, held_out=True)])
    states = module.initial_states(sim.num_agents)
    history = []
    while not sim.terminated[0]:
        observations = {key: torch.from_numpy(one[0]) for key, one in sim.observations.items()}
        logits, _, states = module.act(observations, states)
        history.append(logits.argmax(-1).tolist())
        sim.step(np.array([history[-1]]))
    return history


class Recorder(NetworkActor):
    """Remembers what each game did."""

    history: dict[int, list[list[list[int]]]]

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        self.history = getattr(self, "history", {i: [] for i in range(sim.num_envs)})
        for i in np.flatnonzero(started):
            self.history[int(i)].append([])
        super().start(sim, started)

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        actions = super().act(sim, playing)
        for i, row in zip(playing, actions, strict=True):
            self.history[int(i)][-1].append(row.tolist())
        return actions


def test_memory_is_kept_within_a_level_and_lost_between_levels(few_games: Any) -> None:
    few_games(3)
    module = make_module()
    recorder = Recorder({"team": module}, greedy=True, seed=0)
    play_levels(recorder, MEADOW, range(10))
    for level in range(10):
        game, position = level % 3, level // 3
        assert recorder.history[game][position] == reference(module, MEADOW, level), level


def test_memory_matters_to_the_network_of_this_test() -> None:
    """Else the test before would pass without any memory."""
    module = make_module()
    whole = [reference(module, MEADOW, level) for level in range(4)]
    blank = module.initial_states(2)
    module_act = module.act
    module.act = lambda observations, states, start=None: module_act(  # type: ignore[method-assign]
        observations, blank, start
    )
    assert [reference(module, MEADOW, level) for level in range(4)] != whole


def test_a_network_without_memory_plays_too() -> None:
    module = make_module(lstm=False)
    recorder = Recorder({"team": module}, greedy=True, seed=0)
    play_levels(recorder, MEADOW, range(3))
    assert recorder.history[2][0] == reference(module, MEADOW, 2)


def test_greedy_takes_the_likeliest_and_sampling_follows_the_distribution() -> None:
    module = make_module(sharp=0.0)
    with torch.no_grad():
        module.actor.bias.copy_(torch.log(torch.tensor([0.05, 0.05, 0.05, 0.5, 0.05, 0.3])))
    sim = PicoPark(200, MEADOW, seed=0)
    sim.reset()
    for greedy in (True, False):
        actor = NetworkActor({"team": module}, greedy=greedy, seed=0)
        actor.start(sim, np.ones(200, np.bool_))
        actions = [actor.act(sim, np.arange(200)) for _ in range(5)]
        shares = np.bincount(np.concatenate(actions).ravel(), minlength=6) / 2000
        expected = [0, 0, 0, 1, 0, 0] if greedy else [0.05, 0.05, 0.05, 0.5, 0.05, 0.3]
        assert shares == pytest.approx(expected, abs=0.05)


def test_sampling_repeats_with_its_seed_and_changes_with_another() -> None:
    module = make_module(sharp=1.0)

    def play(seed: int) -> bytes:
        actor = NetworkActor({"team": module}, greedy=False, seed=seed)
        return play_levels(actor, MEADOW, range(8)).records.tobytes()

    assert play(1) == play(1) != play(2)


def test_the_entropy_is_that_of_the_distribution_where_cats_are_in_play() -> None:
    probabilities = np.array([0.1, 0.2, 0.3, 0.2, 0.1, 0.1])
    module = make_module(sharp=0.0)
    with torch.no_grad():
        module.actor.bias.copy_(torch.log(torch.tensor(probabilities)))
    games = play_levels(NetworkActor({"team": module}, greedy=False, seed=0), MEADOW, range(10))
    assert games.entropy == pytest.approx(-(probabilities * np.log(probabilities)).sum(), rel=1e-5)
    uniform = play_levels(RandomActor(seed=0), MEADOW, range(3))
    assert behaviour_metrics(uniform)["behaviour/action_entropy"] == pytest.approx(np.log(6))


def test_cats_that_are_out_count_for_no_entropy() -> None:
    module = make_module(sharp=50.0)
    sim = PicoPark(1, PicoParkConfig(preset="meadow", num_agents=2, on_death="continue"), seed=0)
    sim.reset()
    sim.alive[0] = [True, False]
    actor = NetworkActor({"team": module}, greedy=True, seed=0)
    actor.start(sim, np.ones(1, np.bool_))
    actor.act(sim, np.arange(1))
    observations = {key: torch.from_numpy(one[0]) for key, one in sim.observations.items()}
    logits, _, _ = module.act(observations, module.initial_states(2))
    expected = torch.distributions.Categorical(logits=logits[0]).entropy()
    assert actor.entropy == pytest.approx(float(expected), rel=1e-5)


# -- what sweeps maximise


def test_the_objective_orders_by_wins_and_then_by_exits() -> None:
    num_levels, num_agents = 20, 4
    ranked = sorted(
        ((wins, exits) for wins in range(21) for exits in (0.0, 1.5, 3.99, 4.0)),
        key=lambda one: objective(one[0] / num_levels, one[1], num_agents, num_levels),
    )
    assert ranked == sorted(ranked)
    assert len({objective(w / num_levels, e, num_agents, num_levels) for w, e in ranked}) == 84


# -- what a team uses


def test_what_is_hidden_is_taken_out_of_what_networks_see() -> None:
    seen: list[int] = []

    class Spy(RecurrentActorCritic):
        def act(self, observations: Any, *rest: Any) -> Any:
            seen.append(int(observations["grid"][:, 3].max()))
            return super().act(observations, *rest)

    module = make_module()
    module.__class__ = Spy
    for hide in (None, PicoPark.ablations["teammates"]):
        seen.clear()
        actor = NetworkActor({"team": module}, greedy=False, seed=0, hide=hide)
        play_levels(actor, MEADOW, range(4))
        assert (max(seen) > 0) == (hide is None)


def test_a_team_without_memory_forgets_every_tick() -> None:
    sim = PicoPark(2, MEADOW, seed=0)
    sim.reset()
    module = make_module()
    playing = np.arange(2)
    states = []
    for remembers in (True, False):
        actor = NetworkActor({"team": module}, greedy=True, seed=0, remembers=remembers)
        for tick in range(3):
            actor.start(sim, np.full(2, tick == 0))
            actor.act(sim, playing)
        assert actor._actor is not None
        states.append({key: one.clone() for key, one in actor._actor.states["team"].items()})
    fresh = NetworkActor({"team": module}, greedy=True, seed=0)
    fresh.start(sim, np.ones(2, np.bool_))
    fresh.act(sim, playing)
    assert fresh._actor is not None
    for key, once in fresh._actor.states["team"].items():
        assert torch.equal(states[1][key], once)
        assert not torch.equal(states[0][key], once)
