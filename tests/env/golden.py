"""Golden histories of Pico Park: recorded actions, and what must come of them on every build.

The actions were played by the scripted team, with random ones mixed in so that cats also die; they
are part of the file, so that a better team changes nothing here. Hashes are kept per game, because
no history may depend on the games beside it.

    python -m tests.env.golden            # prints the hashes of this build as JSON
    python -m tests.env.golden --write    # after a deliberate change: writes the hashes anew
    python -m tests.env.golden --record   # plays and records new actions as well
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env import Level, PicoPark, PicoParkConfig, PicoParkRewards
from env.conformance import random_actions

FILE = Path(__file__).with_name("golden_histories.json")
NUM_GAMES = 4
CHECKPOINT = 20
"""Ticks between two hashes in the file: a failure names the stretch it began in."""
NOISE = 0.01
"""Share of random actions in the scripted team's play."""

LANES = """
0...a.b....#..b.......a....
1...b.a....#..a..K....b...D
....a.b.......b.......a....
..........a#b..........b...
"""
OPEN_DOOR = """
0.a.b....
1.b.a...O
"""
YARD = """
....................
0..4....a...........
1..5....b...........
........c....#....D.
2..6....d....#......
3..7....e....#......
........f...........
........g.....K.....
........h...........
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A batch of games to play."""

    config: dict[str, Any]
    rewards: str = "default"
    num_ticks: int = 360
    held_out: bool = False
    """Whether the games repeat held-out levels 0, 1, ... instead of fresh ones."""
    map: str | None = None
    queue: list[Level] = field(default_factory=list)


CASES: dict[str, Case] = {
    "meadow": Case(config={"preset": "meadow", "num_agents": 2}),
    "gates": Case(config={"preset": "gates"}),
    "curtains of eight": Case(
        config={"preset": "curtains", "num_agents": 8, "on_death": "continue"}, rewards="blog"
    ),
    "tunnels": Case(config={}, num_ticks=480),
    "tunnels of two": Case(config={"num_agents": 2}, held_out=True),
    "tunnels of seven": Case(config={"num_agents": 7, "screen_width": 31}),
    "gauntlet": Case(config={"preset": "gauntlet", "on_death": "continue"}, num_ticks=480),
    "classic": Case(config={"preset": "classic"}, num_ticks=600),
    "classic of eight": Case(config={"preset": "classic", "num_agents": 8}, held_out=True),
    "tall, long and quick": Case(
        config={
            "height": 23,
            "length": 131,
            "scroll_period": 3,
            "bullet_speed": 5,
            "shot_cooldown": 1,
            "time_limit": 330,
            "on_death": "continue",
        },
    ),
    "one slow bullet": Case(
        config={
            "preset": "curtains",
            "bullets_per_agent": 1,
            "bullet_speed": 1,
            "height": 9,
            "shot_cooldown": 0,
        },
        rewards="blog",
    ),
    "all difficulties": Case(
        config={"preset": "meadow", "num_agents": 3},
        num_ticks=600,
        queue=[Level(difficulty=d, held_out=d % 2 == 0) for d in (1, 2, 3, 4, 5)],
    ),
    "lanes by hand": Case(config={"num_agents": 2, "screen_width": 20}, map=LANES),
    "an open door": Case(config={"num_agents": 2}, map=OPEN_DOOR, num_ticks=120),
    "a yard of eight": Case(
        config={"num_agents": 8, "screen_width": 18, "on_death": "continue"}, map=YARD
    ),
}


def make(case: Case, games: list[int]) -> PicoPark:
    """Some games of a case, reset; their histories don't depend on which others are there."""
    config, rewards = PicoParkConfig(**case.config), PicoParkRewards.preset(case.rewards)
    sim = PicoPark(len(games), config, rewards, seed=[1000 + game for game in games])
    if case.map is not None:
        sim.reset(maps=[case.map.strip()] * len(games))
    elif case.held_out:
        sim.reset(level_seeds=games, held_out=True)
    else:
        sim.reset()
    for i in range(len(games)):
        sim.queue_levels(i, case.queue)
    return sim


@dataclass(kw_only=True)
class History:
    """Running hashes of one game."""

    states: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=8))
    outputs: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=8))
    checkpoints: list[str] = field(default_factory=list)

    def add(self, sim: PicoPark, i: int, tick: int) -> None:
        """Takes in all that the tick wrote for game `i`."""
        self.states.update(sim.state_hash(i).to_bytes(8, "little"))
        ended = sim.terminated[i]
        arrays = [*sim.observations.values(), sim.terms, sim.rewards, sim.alive, sim.terminated]
        for array in arrays + list(sim.final_observations.values()) * int(ended):
            self.outputs.update(array[i].tobytes())
        if tick % CHECKPOINT == 0:
            self.checkpoints.append(self.states.hexdigest())


def play(case: Case, actions: NDArray[np.int32], games: list[int]) -> list[dict[str, Any]]:
    """What comes of the recorded actions (num_ticks, NUM_GAMES, A), for the games asked for."""
    sim = make(case, games)
    histories = [History() for _ in games]
    for tick, row in enumerate(actions[:, games], 1):
        sim.step(np.ascontiguousarray(row))
        for i, history in enumerate(histories):
            history.add(sim, i, tick)
    records = sim.episodes()
    fields = [name for name in records.dtype.names or () if name != "game"]
    found = []
    for i, history in enumerate(histories):
        mine = records[records["game"] == i]
        for name in fields:
            history.outputs.update(mine[name].tobytes())
        found.append({"states": history.checkpoints, "outputs": history.outputs.hexdigest()})
    return found


def count_events(case: Case, actions: NDArray[np.int32]) -> dict[str, int]:
    """How often each term was counted, over all games."""
    sim = make(case, list(range(NUM_GAMES)))
    totals = np.zeros(len(sim.term_names), np.int64)
    for row in actions:
        sim.step(row)
        totals += np.abs(sim.terms).sum((0, 1)).astype(np.int64)
    return dict(zip(sim.term_names, totals.tolist(), strict=True))


def record(case: Case) -> NDArray[np.int32]:
    """Lets the scripted team play, with noise; the last game is random play."""
    from env.scripted import ScriptedTeam

    sim = make(case, list(range(NUM_GAMES)))
    team, rng = ScriptedTeam(sim.num_agents, sim.config), np.random.default_rng(0)
    rows = []
    for _ in range(case.num_ticks):
        actions, noise = team.actions(sim), random_actions(sim, rng)
        is_noise = rng.random(actions.shape) < NOISE
        is_noise[-1] = True
        actions = np.where(is_noise, noise, actions).astype(np.int32)
        rows.append(actions)
        sim.step(actions)
    return np.stack(rows)


def pack(actions: NDArray[np.int32]) -> str:
    """Actions as text."""
    return base64.b85encode(zlib.compress(actions.astype(np.uint8).tobytes(), 9)).decode()


def unpack(case: Case, text: str) -> NDArray[np.int32]:
    """The actions (num_ticks, NUM_GAMES, A) of `pack`."""
    flat = np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8)
    agents = PicoParkConfig(**case.config).num_agents
    return flat.reshape(case.num_ticks, NUM_GAMES, agents).astype(np.int32)


def load() -> dict[str, Any]:
    """The file: per case its packed actions and, per game, the hashes."""
    return dict(json.loads(FILE.read_text()))


def hashes(recorded: dict[str, Any]) -> dict[str, Any]:
    """What this build makes of the recorded actions."""
    everyone = list(range(NUM_GAMES))
    return {
        name: play(case, unpack(case, recorded[name]["actions"]), everyone)
        for name, case in CASES.items()
    }


def main() -> None:
    """Command line, see the top of this file."""
    parser = argparse.ArgumentParser(description="Golden histories of Pico Park.")
    parser.add_argument("--write", action="store_true", help="write the hashes of this build")
    parser.add_argument("--record", action="store_true", help="play new actions, then write")
    arguments = parser.parse_args()
    if arguments.record:
        recorded = {name: {"actions": pack(record(case))} for name, case in CASES.items()}
    else:
        recorded = load()
    found = hashes(recorded)
    if arguments.write or arguments.record:
        lines = [
            f"{json.dumps(name)}: "
            + json.dumps({"actions": recorded[name]["actions"], "games": games})
            for name, games in found.items()
        ]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    else:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
