"""The player in a real browser: shows what the simulator says, from a file, without a network."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from env.batch import Level
from env.film import frames
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.player import make_page, write_page
from env.replay import Replay, play, record
from tests.env.picture_reader import expected, read

FRIENDLY_FIRE = "0..1....K\n.........\n2......D."


def random_game(preset: str, seed: int, num_agents: int = 4, **config: Any) -> Replay:
    """A random game with thoughts beside, to its end."""
    rules = PicoParkConfig(preset=preset, num_agents=num_agents, **config)  # type: ignore[arg-type]
    level = Level(seed=seed)
    sim = PicoPark(1, rules, seed=0)
    sim.reset(levels=[level])
    rng = np.random.default_rng(seed)
    actions: list[Any] = []
    while not actions or not sim.terminated[0]:
        actions.append(rng.choice([0, 1, 2, 3, 3, 4, 5], num_agents))
        sim.step(actions[-1][None])
    ticks = len(actions)
    return record(
        "pico_park",
        rules,
        PicoParkRewards(),
        level,
        np.array(actions),
        probabilities=rng.dirichlet(np.ones(6), (ticks, num_agents)),
        values=rng.normal(size=(ticks, num_agents)),
        source={"run": "random </script><b>&"},
    )


@pytest.fixture
def opened(visit: Callable[..., Any], tmp_path: Path) -> Callable[[Replay], Any]:
    """Opens a replay's page from a file."""
    numbers = itertools.count()

    def show(replay: Replay) -> Any:
        return visit(write_page(replay, tmp_path / f"{next(numbers)}.html"), height=1400)

    return show


GAMES = [
    ("gauntlet", 4, {"on_death": "continue"}),
    ("classic", 4, {}),
    ("curtains", 8, {"on_death": "continue"}),
    ("meadow", 2, {"screen_width": 12, "length": 90}),
]


@pytest.mark.parametrize(("preset", "num_agents", "config"), GAMES)
def test_every_tick_is_what_the_simulator_says(
    opened: Any, preset: str, num_agents: int, config: dict[str, Any]
) -> None:
    replay = random_game(preset, 3, num_agents, **config)
    page = opened(replay)
    paid = np.zeros(num_agents)
    for tick, sim in enumerate(play(replay)):
        page.evaluate("tick => player.seek(tick)", tick)
        if tick:
            paid += sim.rewards[0]
        assert page.evaluate("player.paid()") == pytest.approx(paid, abs=1e-4)
        if tick == replay.num_ticks:
            break  # the simulator shows the next level
        assert page.evaluate("player.state()") == sim.text(0)
        for cat in range(num_agents):
            seen = np.array(page.evaluate("cat => player.sees(cat)", cat))
            assert np.array_equal(seen.transpose(2, 0, 1), sim.observations["grid"][0, cat]), tick


def test_the_level_is_drawn_as_it_stands(opened: Any) -> None:
    """The same reader of pictures as for videos and film strips."""
    replay = random_game("gates", 6, on_death="continue")
    page = opened(replay)
    page.evaluate("player.setTheme('dark')")
    screen = PicoParkConfig().screen_width
    for frame in frames(replay):
        page.evaluate("tick => player.seek(tick)", frame.tick)
        drawn = page.evaluate("document.getElementById('level').toDataURL()")
        data = base64.b64decode(drawn.partition(",")[2])
        image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert read(image, frame, screen) == expected(frame, screen), frame.tick


def test_the_end_is_shown(opened: Any) -> None:
    config = PicoParkConfig(num_agents=3)
    actions = np.array([[4, 5, 5]])  # right into its team-mate
    level = Level(map=FRIENDLY_FIRE)
    replay = record("pico_park", config, PicoParkRewards(), level, np.repeat(actions, 4, 0))
    page = opened(replay)
    page.keyboard.press("End")
    assert page.inner_text("#caption") == f"tick {replay.num_ticks}: cat 1 was shot by cat 0."
    assert "lost" in page.inner_text("#facts") and "shot" in page.inner_text("#facts")
    assert "dead" in page.inner_text("#agent1")
    assert "1" not in page.evaluate("player.state()").split("\n")[0]


def test_it_is_played_by_buttons_and_keys(opened: Any) -> None:
    replay = random_game("gauntlet", 5, on_death="continue")
    page = opened(replay)

    def tick() -> int:
        return int(page.evaluate("player.tick()"))

    assert tick() == 0
    page.keyboard.press("ArrowRight")
    page.click("#forward")
    assert tick() == 2
    page.keyboard.press("ArrowLeft")
    assert tick() == 1
    page.keyboard.press("Shift+ArrowRight")
    assert tick() == 11
    page.keyboard.press("Home")
    assert tick() == 0
    page.keyboard.press("n")
    first = tick()
    assert first > 0 and page.inner_text("#caption").startswith(f"tick {first}:")
    page.keyboard.press("p")
    assert tick() == 0
    page.keyboard.press("End")
    assert tick() == replay.num_ticks
    page.fill("#scrub", "7")
    assert tick() == 7
    page.select_option("#speed", "60")
    page.click("#play")
    page.wait_for_function("player.tick() > 12")
    page.keyboard.press("Space")
    stopped = tick()
    page.wait_for_timeout(100)
    assert tick() == stopped
    page.keyboard.press("3")
    assert page.get_attribute("#agent2", "aria-pressed") == "true"
    assert "cat 2" in page.inner_text("#viewtext")
    page.keyboard.press("c")
    assert page.is_checked("#channels")
    box = page.locator("#timeline").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 11, box["y"] + 10)
    assert tick() == replay.num_ticks


def test_probabilities_and_values_are_the_replays(opened: Any) -> None:
    replay = random_game("meadow", 2)
    assert replay.probabilities is not None and replay.values is not None
    page = opened(replay)
    page.evaluate("player.seek(3)")
    for cat in range(4):
        shares = [
            float(one) for one in page.locator(f"#agent{cat} .share").all_inner_texts() if one
        ]
        if shares:
            assert shares == pytest.approx(replay.probabilities[3, cat], abs=0.006)
        said = page.inner_text(f"#agent{cat} .value span")
        assert float(said.split()[-1]) == pytest.approx(float(replay.values[3, cat]), abs=0.006)


def test_without_thoughts_only_actions_are_shown(opened: Any) -> None:
    replay = dataclasses.replace(random_game("meadow", 2), probabilities=None, values=None)
    page = opened(replay)
    assert page.locator(".value").count() == 0
    for cat, action in enumerate(replay.actions[0]):
        assert page.locator(f"#agent{cat} .taken").inner_text() == PicoPark.action_names[action]
        assert "".join(page.locator(f"#agent{cat} .share").all_inner_texts()) == ""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_are_drawn(browser: Any, tmp_path: Path, theme: str) -> None:
    path = write_page(random_game("tunnels", 1), tmp_path / "a.html")
    page = browser.new_page(color_scheme=theme)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(paper.removeprefix("rgb(").split(",")[0])
    assert (red > 200) == (theme == "light")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != theme
    page.close()


def test_it_works_in_a_sandbox(browser: Any, tmp_path: Path) -> None:
    """As in MLflow's artifact view: scripts run, but there is no storage and no origin."""
    replay = random_game("gates", 4)
    outer = tmp_path / "outer.html"
    inner = json.dumps(make_page(replay)).replace("<", "\\u003c")
    outer.write_text(
        f"<iframe id=f sandbox='allow-scripts' width=1200 height=900></iframe>"
        f"<script>document.getElementById('f').srcdoc = {inner}</script>"
    )
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(outer.as_uri())
    frame = page.wait_for_selector("#f").content_frame()
    frame.wait_for_function("window.player && player.tick() === 0")
    frame.evaluate("player.seek(2)")
    assert frame.inner_text("#clock") == f"tick 2 of {replay.num_ticks}"
    assert not errors
    page.close()


def test_text_in_a_replay_stays_text(opened: Any) -> None:
    page = opened(random_game("gates", 4))
    assert "run random </script><b>&" in page.inner_text("#facts")
    assert page.locator("#facts b").count() == 1
