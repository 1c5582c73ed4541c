"""The games of the house: one line a game."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from env.batch import BatchedGame, Rewards
from env.errors import BadInputError, unknown_name
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.pong import Pong, PongConfig, PongRewards


@dataclass(frozen=True, kw_only=True)
class Game:
    """What belongs to a game."""

    simulator: type[Any]
    config: type[Any]
    rewards: type[Rewards]


GAMES: dict[str, Game] = {
    "pico_park": Game(simulator=PicoPark, config=PicoParkConfig, rewards=PicoParkRewards),
    "pong": Game(simulator=Pong, config=PongConfig, rewards=PongRewards),
}


def find_game(name: str) -> Game:
    """The game of that name, or an error that suggests the nearest."""
    if name not in GAMES:
        raise unknown_name("game", name, GAMES)
    return GAMES[name]


def _build(kind: type[Any], value: Any, what: str) -> Any:
    """A config object from itself, a mapping of its fields, or nothing."""
    if value is None:
        return kind()
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise BadInputError(
            f"{what} is {value!r}; it must be a {kind.__name__} or a dict of its fields."
        )
    known = [one.name for one in fields(kind)]
    for name in value:
        if name not in known:
            raise unknown_name(f"field of {what}", str(name), known)
    return kind(**value)


def make_simulator(
    name: str,
    num_envs: int,
    *,
    config: Any = None,
    rewards: Any = None,
    seed: Any = None,
) -> BatchedGame:
    """A batched simulator from plain data.

    Args:
        name: of the game.
        num_envs: games in the batch.
        config, rewards: objects, dicts of their fields, or None for the defaults.
        seed: as the simulator takes it.
    """
    game = find_game(name)
    sim: BatchedGame = game.simulator(
        num_envs,
        _build(game.config, config, "config"),
        _build(game.rewards, rewards, "rewards"),
        seed,
    )
    return sim
