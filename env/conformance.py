"""Checks that any batched game must pass, yours too: `check_game(make)`.

`make(num_envs, seed)` returns a new simulator; seed is an integer or one a game. Each check raises
`AssertionError` with what was promised and what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env.batch import BatchedGame, Level
from env.errors import BadInputError

Make = Callable[[int, int | Sequence[int]], BatchedGame]


def random_actions(sim: BatchedGame, rng: np.random.Generator) -> NDArray[np.int32]:
    """Uniformly random actions for every agent, int32 (num_envs, num_agents)."""
    shape = (sim.num_envs, sim.num_agents)
    return rng.integers(0, sim.num_actions, shape, dtype=np.int32)


def play(sim: BatchedGame, actions: NDArray[np.int32]) -> NDArray[np.uint64]:
    """State hashes (num_ticks, num_envs) of a game played with actions (num_ticks, N, A)."""
    hashes = np.zeros(actions.shape[:2], np.uint64)
    for tick, row in enumerate(actions):
        sim.step(row)
        hashes[tick] = [sim.state_hash(i) for i in range(sim.num_envs)]
    return hashes


def _script(make: Make, num_envs: int, num_ticks: int) -> NDArray[np.int32]:
    sim, rng = make(num_envs, 0), np.random.default_rng(0)
    return np.stack([random_actions(sim, rng) for _ in range(num_ticks)])


def check_buffers(make: Make) -> None:
    """Shapes and dtypes are the declared ones, arrays stay in place, numbers in their ranges."""
    sim = make(3, 1)
    sim.reset()
    n, a = sim.num_envs, sim.num_agents
    before = {name: array.ctypes.data for name, array in sim.observations.items()}
    rng = np.random.default_rng(1)
    for _ in range(50):
        sim.step(random_actions(sim, rng))
        for part in sim.parts:
            array = sim.observations[part.name]
            assert array.shape == (n, a, *part.shape), f"{part.name} has shape {array.shape}"
            assert array.dtype == part.dtype, f"{part.name} is {array.dtype}"
            assert array.min() >= part.low and array.max() <= part.high, f"{part.name} out of range"
    assert before == {k: v.ctypes.data for k, v in sim.observations.items()}, "buffers moved"
    assert sim.terms.shape == (n, a, len(sim.term_names)) and sim.terms.dtype == np.float32
    assert sim.rewards.shape == (n, a) and sim.rewards.dtype == np.float32
    assert sim.alive.shape == (n, a) and sim.alive.dtype == np.bool_
    for flags in (sim.terminated, sim.truncated):
        assert flags.shape == (n,) and flags.dtype == np.bool_


def check_determinism(make: Make) -> None:
    """Seed and actions give one history, also when other games share the batch."""
    script = _script(make, 4, 200)
    seeds = [11, 12, 13, 14]
    whole, again = make(4, seeds), make(4, seeds)
    whole.reset()
    again.reset()
    hashes = play(whole, script)
    assert (hashes == play(again, script)).all(), "the same seed and actions differ"
    parts = [make(1, seeds[:1]), make(3, seeds[1:])]
    columns = [slice(0, 1), slice(1, 4)]
    for part, column in zip(parts, columns, strict=True):
        part.reset()
        found = play(part, np.ascontiguousarray(script[:, column]))
        assert (found == hashes[:, column]).all(), "a history depends on the partition"


def check_rewards(make: Make) -> None:
    """Rewards are the weighted terms after team sharing; record totals are the sums of terms."""
    sim, rng = make(3, 5), np.random.default_rng(5)
    sim.reset()
    weights = np.array(list(sim.reward_weights.by_term().values()), np.float32)
    share = np.float32(sim.reward_weights.team_share)
    totals = np.zeros(sim.terms.shape, np.int64)
    lengths = np.zeros(sim.num_envs, np.int64)
    for _ in range(400):
        sim.step(random_actions(sim, rng))
        own = sim.terms @ weights
        expected = (1 - share) * own + share * own.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(sim.rewards, expected, atol=1e-5)
        totals += sim.terms.astype(np.int64)
        lengths += 1
        for record in sim.episodes():
            game = record["game"]
            assert (record["terms"] == totals[game]).all(), "record totals are not the sums"
            assert record["length"] == lengths[game], "record length is not the number of ticks"
            totals[game] = lengths[game] = 0


def check_episode_ends(make: Make) -> None:
    """Ends are flagged and recorded once; the next level stands where the last one ended."""
    sim, rng = make(2, 6), np.random.default_rng(6)
    sim.reset()
    num_ended = 0
    for _ in range(1000):
        sim.step(random_actions(sim, rng))
        ended = sim.terminated | sim.truncated
        assert not (sim.terminated & sim.truncated).any(), "terminated and truncated at once"
        num_ended += int(ended.sum())
        for i in np.flatnonzero(ended):
            assert sim.alive[i].all(), "somebody is missing at the start of a level"
            level, fresh = sim.level(int(i)), make(1, 0)
            assert level.seed is not None, "the next level has no seed"
            fresh.reset(level_seeds=[level.seed], held_out=level.held_out)
            assert fresh.state_hash(0) == sim.state_hash(int(i)), "the level's seed names another"
    assert len(sim.episodes()) == num_ended > 0, "ends and records don't agree"


def check_snapshots(make: Make) -> None:
    """A restored game goes on exactly as the original, in another batch too."""
    script = _script(make, 2, 300)
    sim, other = make(2, 7), make(2, 99)
    sim.reset()
    other.reset()
    play(sim, script[:100])
    other.restore(1, sim.snapshot(0))
    assert other.state_hash(1) == sim.state_hash(0), "a restored state hashes differently"
    swapped = script[100:].copy()
    swapped[:, 1] = script[100:, 0]
    original, copied = play(sim, script[100:])[:, 0], play(other, swapped)[:, 1]
    assert (original == copied).all(), "a restored game goes another way"
    data = sim.snapshot(0)
    for broken in (b"", data[:-1], data[:40], bytes([data[0] ^ 1]) + data[1:], data[::-1]):
        before = sim.state_hash(0)
        try:
            sim.restore(0, broken)
        except BadInputError:
            assert sim.state_hash(0) == before, "a refused snapshot changed the game"
        else:
            raise AssertionError("a damaged snapshot was accepted")


def check_levels(make: Make) -> None:
    """Named levels come back; queued ones are played in order, each once."""
    sim = make(1, 8)
    sim.reset(level_seeds=[41], held_out=True)
    first, rng = sim.state_hash(0), np.random.default_rng(8)
    sim.queue_levels(0, [Level(seed=5), Level(seed=6, held_out=True)])
    seen: list[tuple[int | None, bool]] = []
    for _ in range(200_000):
        sim.step(random_actions(sim, rng))
        if (sim.terminated | sim.truncated)[0]:
            level = sim.level(0)
            seen.append((level.seed, level.held_out))
            if len(seen) == 3:
                break
    assert seen == [(5, False), (6, True), (41, True)], f"levels came as {seen}"
    assert sim.state_hash(0) == first, "the same level starts differently"


def check_bad_actions(make: Make) -> None:
    """Actions that are none are refused, and no game moves."""
    sim = make(2, 9)
    sim.reset()
    before = [sim.state_hash(i) for i in range(2)]
    good = np.zeros((2, sim.num_agents), np.int32)
    wrong = good.copy()
    wrong[1, -1] = sim.num_actions
    huge = good.astype(np.int64)
    huge[0, 0] = 1 << 32
    refused: tuple[Any, ...] = (
        wrong, -1 - wrong, huge, good[:1], good.astype(np.float32), good[0],
    )  # fmt: skip
    for actions in refused:
        try:
            sim.step(actions)
        except BadInputError:
            assert before == [sim.state_hash(i) for i in range(2)], "a refused action moved a game"
        else:
            raise AssertionError(f"actions were accepted: {actions!r}")


CHECKS: tuple[Callable[[Make], None], ...] = (
    check_buffers,
    check_determinism,
    check_rewards,
    check_episode_ends,
    check_snapshots,
    check_levels,
    check_bad_actions,
)


def check_game(make: Make) -> None:
    """Runs every check."""
    for check in CHECKS:
        check(make)
