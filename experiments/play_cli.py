"""`clowder play RUN`: a person takes a seat, or several, and a trained team the others."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env.batch import Level
from env.errors import BadInputError
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.replay import SUFFIX, Replay, record
from experiments.overrides import split_run

KEYS: tuple[Mapping[str, str], ...] = (
    {"up": "up", "down": "down", "left": "left", "right": "right", "space": "shoot"},
    {"w": "up", "s": "down", "a": "left", "d": "right", "e": "shoot"},
    {"i": "up", "k": "down", "j": "left", "l": "right", "o": "shoot"},
)
"""Keys of the first, second and third person: names of keys, and of actions."""
IDLE = PicoPark.action_names.index("idle")
USAGE = """usage: clowder play RUN [--OPTION VALUE ...]

RUN is whatever `clowder evaluate` takes. `clowder play RUN --help` explains keys and options."""


@dataclass(frozen=True, kw_only=True)
class PlayOptions:
    """Play with a team: arrows and space for the first of your seats, WASD and E for the second,
    IJKL and O for the third. Enter begins the next level, P pauses, Escape ends."""

    seats: tuple[int, ...] = (0,)
    """Which cats you are."""
    preset: str = ""
    """Difficulty; by default the one that the team was trained on."""
    level: int = 0
    """First held-out level; the next follows."""
    ticks_per_second: float = 5.0
    """How fast time runs; 0 waits for you: a tick passes when you press a key."""
    scale: int = 24
    """Pixels a tile."""
    greedy: bool = False
    """Whether the others play their likeliest actions."""
    seed: int = 0
    """Of the others' sampled actions."""
    num_agents: int | None = None
    """Cats in the team; by default as trained."""
    storage: str = "plays"
    """Folder that your games are kept in, as replays."""
    tracking_uri: str = ""
    """MLflow store that knows the run; empty: MLFLOW_TRACKING_URI, or `mlflow.db` here."""


def run_play(words: list[str]) -> int:
    """The verb; returns the exit status."""
    run, options = split_run(words, PlayOptions(), usage=USAGE, prog="clowder play RUN")
    try:
        import pygame  # noqa: F401
    except ImportError as error:
        raise BadInputError(
            "to play you need a window, which pygame-ce makes; install it with: pip install "
            "'clowder[play]' or pip install pygame-ce."
        ) from error
    game = make_game(run, options)
    Window(game, options).run()
    for path in game.saved:
        print(f"kept {path}   see it again: clowder watch {path}")
    return 0


class Game:
    """Levels played one after the other, some seats by people."""

    def __init__(
        self,
        config: PicoParkConfig,
        rewards: PicoParkRewards,
        actor: Any,
        *,
        seats: Sequence[int],
        first_level: int,
        folder: Path,
        source: Mapping[str, Any],
    ) -> None:
        """Starts the first level.

        Args:
            config, rewards: of the game.
            actor: plays the other seats, see `algorithms.play.Actor`.
            seats: of people.
            first_level: held-out level seed; the next ones follow.
            folder: where replays go.
            source: what a replay says of where it comes from.
        """
        for seat in seats:
            if not 0 <= seat < config.num_agents:
                raise BadInputError(
                    f"there is no cat {seat}; this team has 0 to {config.num_agents - 1}."
                )
        if len(set(seats)) < len(seats) or not 0 < len(seats) <= len(KEYS):
            raise BadInputError(
                f"seats are {', '.join(map(str, seats)) or 'none'}; name one to {len(KEYS)}, each "
                "once."
            )
        self.config, self.rewards, self.actor = config, rewards, actor
        self.seats, self.folder, self.source = tuple(seats), folder, dict(source)
        self.sim = PicoPark(1, config, rewards, seed=0)
        self.sim.keep_ended()
        self.saved: list[Path] = []
        self.number = first_level
        self.start()

    def start(self) -> None:
        """Starts level `number`."""
        level = Level(seed=self.number, difficulty=self.config.preset, held_out=True)
        self.level = level
        self.sim.reset(levels=[level])
        self.taken: list[NDArray[np.int64]] = []
        self.is_over = False
        self.cause = ""

    def next_level(self) -> None:
        """Goes on to the next level, whatever became of this one."""
        self.number += 1
        self.start()

    def step(self, chosen: Mapping[int, int]) -> None:
        """One tick: people's actions by seat, idle where none is given; the actor's elsewhere."""
        if self.is_over:
            return
        first = np.array([not self.taken])
        self.actor.start(self.sim, first)
        actions = self.actor.act(self.sim, np.zeros(1, np.intp))[0].copy()
        for seat in self.seats:
            actions[seat] = chosen.get(seat, IDLE)
        self.taken.append(actions)
        self.sim.step(actions[None])
        if self.sim.terminated[0]:
            self.is_over = True
            self._save()

    def _save(self) -> None:
        """Keeps the game as a replay."""
        replay = self.replay()
        self.cause = replay.ending
        self.folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = f"{self.config.preset}-{self.number}-{stamp}{SUFFIX}"
        self.saved.append(replay.save(self.folder / name))

    def replay(self) -> Replay:
        """The game that is over."""
        return record(
            "pico_park",
            self.config,
            self.rewards,
            self.level,
            np.array(self.taken),
            source=self.source,
        )


def make_game(run: str, options: PlayOptions) -> Game:
    """Seats a trained team, `random` or `scripted`, and people.

    Raises:
        BadInputError: no such run, preset or seat.
    """
    from experiments.teams import find_team

    if options.level < 0 or options.ticks_per_second < 0 or not 4 <= options.scale <= 128:
        raise BadInputError(
            f"level {options.level}, ticks_per_second {options.ticks_per_second} and scale "
            f"{options.scale}: give at least 0, at least 0, and 4 to 128."
        )
    team = find_team(run, options.tracking_uri)
    config = team.config.at(options.preset or team.config.preset)
    if options.num_agents is not None:
        config = dataclasses.replace(config, num_agents=options.num_agents)
    people = ", ".join(f"cat {seat}" for seat in options.seats)
    return Game(
        config,
        team.rewards,
        team.make_actor(seed=options.seed, greedy=options.greedy),
        seats=options.seats,
        first_level=options.level,
        folder=Path(options.storage),
        source={"run": run, "people": people},
    )


class Window:
    """The game in a window, with a keyboard."""

    def __init__(self, game: Game, options: PlayOptions) -> None:
        """Opens nothing yet."""
        self.game = game
        self.scale = options.scale
        self.ticks_per_second = options.ticks_per_second
        self.is_paused = False
        self.pressed: dict[int, int] = {}

    def run(self) -> None:
        """Plays until the window is closed.

        Raises:
            BadInputError: there is no screen.
        """
        import pygame

        try:
            pygame.display.init()
            pygame.font.init()
            self.screen = pygame.display.set_mode(self._size())
        except pygame.error as error:
            raise BadInputError(
                f"no window can be opened here ({error}); play on a machine with a screen."
            ) from error
        pygame.display.set_caption("Clowder")
        clock, waited = pygame.time.Clock(), 0.0
        try:
            while self._handle(pygame.event.get(), pygame):
                waited += clock.tick(60) / 1000
                if self._is_due(waited):
                    waited = 0.0
                    self.game.step(self._chosen(pygame))
                    self.pressed.clear()
                self._show(pygame)
        finally:
            pygame.quit()

    def _size(self) -> tuple[int, int]:
        frame = self.game.sim.frame(0)
        columns = min(frame.tiles.shape[1], self.game.config.screen_width)
        return columns * self.scale, frame.tiles.shape[0] * self.scale + 28

    def _is_due(self, waited: float) -> bool:
        if self.is_paused or self.game.is_over:
            return False
        if self.ticks_per_second == 0:
            return bool(self.pressed)
        return waited >= 1 / self.ticks_per_second

    def _handle(self, events: Sequence[Any], pygame: Any) -> bool:
        """Takes what was pressed; False: enough."""
        for event in events:
            if event.type == pygame.QUIT:
                return False
            if event.type != pygame.KEYDOWN:
                continue
            name = pygame.key.name(event.key)
            if name == "escape":
                return False
            if name == "p":
                self.is_paused = not self.is_paused
            elif name in ("return", "enter"):
                self.game.next_level()
            for person, seat in enumerate(self.game.seats):
                if name in KEYS[person]:
                    self.pressed[seat] = PicoPark.action_names.index(KEYS[person][name])
        return True

    def _chosen(self, pygame: Any) -> dict[int, int]:
        """What each person wants: what was pressed since the last tick, else what is held."""
        held = pygame.key.get_pressed()
        chosen = {}
        for person, seat in enumerate(self.game.seats):
            for key, action in KEYS[person].items():
                if held[pygame.key.key_code(key)]:
                    chosen[seat] = PicoPark.action_names.index(action)
        return chosen | self.pressed

    def _show(self, pygame: Any) -> None:
        from env.drawing import draw

        game = self.game
        frame = game.sim.frame(0, ended=game.is_over)
        pixels = draw(frame, scale=self.scale, screen_width=game.config.screen_width)
        self.screen.fill((16, 20, 28))
        self.screen.blit(pygame.surfarray.make_surface(pixels.transpose(1, 0, 2)), (0, 0))
        if game.is_over:
            text = f"{game.cause} after {frame.tick} ticks: Enter for the next level"
        else:
            people = " and ".join(f"cat {seat}" for seat in game.seats)
            text = f"you are {people}   tick {frame.tick}{'   paused' if self.is_paused else ''}"
        font = pygame.font.Font(None, 22)
        self.screen.blit(
            font.render(text, True, (231, 235, 243)), (6, self.screen.get_height() - 22)
        )
        pygame.display.flip()
