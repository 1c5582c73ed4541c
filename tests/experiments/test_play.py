"""Playing with a team: people's keys become actions, and every game a replay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from env.errors import BadInputError
from env.pico_park import PicoPark
from env.replay import load, verify
from experiments.play_cli import Game, PlayOptions, Window, make_game, run_play

RIGHT, SHOOT, IDLE = (PicoPark.action_names.index(one) for one in ("right", "shoot", "idle"))


@pytest.fixture
def game(tmp_path: Path) -> Game:
    options = PlayOptions(seats=(1, 3), preset="meadow", storage=str(tmp_path / "plays"))
    return make_game("scripted", options)


@pytest.fixture
def pygame(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Without a screen."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    module = pytest.importorskip("pygame", reason="pygame-ce is not installed")
    yield module
    module.quit()


def test_people_play_their_seats_and_the_team_the_others(game: Game) -> None:
    game.step({1: RIGHT})
    game.step({3: SHOOT})
    assert [row[[1, 3]].tolist() for row in game.taken] == [[RIGHT, IDLE], [IDLE, SHOOT]]
    others = {tuple(row[[0, 2]]) for row in game.taken}
    assert others != {(IDLE, IDLE)}


def test_a_game_that_is_over_is_a_replay(game: Game) -> None:
    while not game.is_over:
        game.step({})
    (path,) = game.saved
    replay = load(path)
    assert verify(replay) is None and replay.level.held_out and replay.level.seed == 0
    assert replay.source == {"run": "scripted", "people": "cat 1, cat 3"}
    length = replay.num_ticks
    game.step({1: RIGHT})  # nothing happens any more
    assert len(game.taken) == length and game.sim.frame(0, ended=True).tick == length
    game.next_level()
    assert not game.is_over and game.number == 1 and game.sim.frame(0).tick == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seats": (4,)}, "there is no cat 4; this team has 0 to 3"),
        ({"seats": (1, 1)}, "each once"),
        ({"seats": ()}, "seats are none"),
        ({"preset": "medow"}, "did you mean 'meadow'"),
        ({"level": -1}, "level -1"),
        ({"scale": 1}, "scale 1"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        make_game("scripted", PlayOptions(**changes))


def test_keys_move_cats(game: Game, pygame: Any) -> None:
    window = Window(game, PlayOptions(ticks_per_second=0))
    pygame.display.init()
    events = [pygame.event.Event(pygame.KEYDOWN, key=one) for one in (pygame.K_RIGHT, pygame.K_e)]
    assert window._handle(events, pygame)
    assert window.pressed == {1: RIGHT, 3: SHOOT}
    assert window._is_due(0.0)
    assert not window._handle([pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE)], pygame)


def test_the_window_plays_and_ends(
    game: Game, pygame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = Window(game, PlayOptions(ticks_per_second=1000))
    shown: list[int] = []
    show = window._show

    def spy(module: Any) -> None:
        show(module)
        shown.append(int(window.screen.get_at((3, 3))[0]))
        if len(game.taken) >= 3:
            module.event.post(module.event.Event(module.QUIT))

    monkeypatch.setattr(window, "_show", spy)
    window.run()
    assert len(game.taken) >= 3 and shown


def test_a_paused_game_stands_still(game: Game, pygame: Any) -> None:
    window = Window(game, PlayOptions())
    pygame.display.init()
    window._handle([pygame.event.Event(pygame.KEYDOWN, key=pygame.K_p)], pygame)
    assert window.is_paused and not window._is_due(100.0)


def test_without_pygame_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(BadInputError, match="pip install"):
        run_play(["scripted"])
