"""Reports in a real browser: from a file and in a sandbox, in both themes, with games that play."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments import recipe as recipes
from experiments.compare_cli import write_comparison
from experiments.recipes import find_recipe
from experiments.report import make_report
from experiments.report.comparing import compare
from experiments.study import load_study
from tests.experiments.report.synthetic import Outcome, make_pool, make_study

EVIL = "<img src=x onerror=alert(1)>\"'&"
NUM_VARIANTS = 60


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with more variants than its table shows at first."""
    folder = tmp_path_factory.mktemp("study")
    configs = [
        {"rewards.own_block": 0.1 * (i % 3) / 2, "rewards.key": 0.01 * i, "run.seed": seed}
        for i in range(NUM_VARIANTS)
        for seed in (0, 1)
    ]

    def come_to(config: Mapping[str, Any], index: int) -> Outcome:
        rate = 0.1 + 8 * config["rewards.own_block"]
        hacked = "the return rises by alive; see time-typical" if index == 0 else "no"
        return Outcome(win_rate=rate, failing={"time": 0.6, "crushed": 0.4}, hacked=hacked)

    recipe = recipes.replace(find_recipe("smoke"), {"run.study": f"study {EVIL}".replace("/", "")})
    experiment = make_study(folder, make_pool(folder / "pool"), configs, come_to, recipe=recipe)
    return make_report(load_study(str(experiment)), folder / "report").page


@pytest.fixture
def opened(visit: Callable[..., Any]) -> Callable[..., Any]:
    """Opens a report from its file."""
    return functools.partial(visit, height=1000)


def play_first(tab: Any, button: str = ".actions button.watch") -> Any:
    """Clicks a button and returns the frame of the player, once it plays."""
    tab.locator(button).first.click()
    frame = tab.wait_for_selector("#frame").content_frame()
    frame.wait_for_function("window.player && player.tick() === 0")
    return frame


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_read_in_either_theme(opened: Any, page: Path, theme: str) -> None:
    tab = opened(page, color_scheme=theme)
    colours = tab.evaluate(
        """() => ["body", "h1", "svg text", "section"].map((name) => {
          const style = getComputedStyle(document.querySelector(name));
          return name === "svg text" ? style.fill : name === "h1" ? style.color
            : style.backgroundColor;
        })"""
    )
    paper, ink, drawn, card = (sum(map(int, one[4:-1].split(","))) for one in colours)
    if theme == "light":
        assert paper > 600 and card > 600 and ink < 200 and drawn < 400
    else:
        assert paper < 150 and card < 150 and ink > 600 and drawn > 400
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280


def test_two_clicks_show_what_cats_do_at_the_wrong_value(opened: Any, page: Path) -> None:
    tab = opened(page)
    assert "rewards.own_block matters most" in tab.inner_text("#matter .lead")
    frame = play_first(tab)
    frame.evaluate("player.seek(3)")
    assert frame.inner_text("#clock").startswith("tick 3 of")
    assert "lost" in frame.inner_text("#facts")
    assert "own_block=0 " in frame.inner_text("#title")
    assert tab.inner_text("#where").startswith("clowder watch /")
    tab.click("#close")
    assert not tab.evaluate("document.getElementById('player').open")
    assert "own_block=0.1 " in play_first(tab, "#along tr.best button.watch").inner_text("#title")


def test_escape_leads_back_to_the_report(opened: Any, page: Path) -> None:
    tab = opened(page)
    frame = play_first(tab)
    frame.press("body", "ArrowRight")
    assert frame.evaluate("player.tick()") == 1
    frame.press("body", "Escape")
    tab.wait_for_function("!document.getElementById('player').open")
    assert tab.locator("iframe").count() == 0
    play_first(tab)


def test_every_button_plays(opened: Any, page: Path) -> None:
    tab = opened(page)
    count = tab.evaluate("report.data.games.length")
    assert 3 <= count <= 24
    for index in range(count):
        tab.evaluate("index => report.watch(index)", index)  # one after the other
        frame = tab.wait_for_selector("#frame").content_frame()
        title = tab.evaluate("index => report.data.games[index].title", index)
        frame.wait_for_function(
            "title => window.player && document.getElementById('title').textContent === title",
            arg=title,
        )
        tab.evaluate("report.close()")


def test_the_ranking_sorts_and_grows(opened: Any, page: Path) -> None:
    tab = opened(page)
    rows = tab.locator("#variants tbody tr")
    assert rows.count() == 50
    tab.click("text=show all 60 variants")
    assert rows.count() == NUM_VARIANTS

    def ranks() -> list[int]:
        return [int(one) for one in tab.locator("#variants tbody td:first-child").all_inner_texts()]

    assert ranks() == list(range(1, NUM_VARIANTS + 1))
    tab.locator("#variants th", has_text="win rate").click()
    tab.locator("#variants th", has_text="win rate").click()
    rates = [
        int(one.removesuffix("%"))
        for one in tab.locator("#variants tbody td:nth-child(5)").all_inner_texts()
    ]
    assert rates == sorted(rates) and rates[0] < rates[-1]
    tab.locator("#variants th", has_text="variant").press("Enter")
    assert ranks() != list(range(1, NUM_VARIANTS + 1)), "ordered by name"
    assert tab.locator("#variants td.flag", has_text="yes").count() == 1


def test_the_links_at_the_top_lead_to_sections(opened: Any, page: Path) -> None:
    tab = opened(page)
    for link in tab.locator("nav a").all():
        anchor = link.get_attribute("href").removeprefix("#")
        link.click()
        tab.wait_for_function(
            "id => { const box = document.getElementById(id).getBoundingClientRect();"
            " return box.top < innerHeight && box.bottom > 0; }",
            arg=anchor,
        )


def test_a_narrow_screen_scrolls_tables_not_the_page(opened: Any, page: Path) -> None:
    tab = opened(page)
    tab.set_viewport_size({"width": 390, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_overlaps_the_labels_of_figures(opened: Any, page: Path) -> None:
    """All texts of a figure lie inside of it, and none on another."""
    tab = opened(page)
    problems = tab.evaluate(
        """() => [...document.querySelectorAll(".drawing svg")].flatMap((svg) => {
          const frame = svg.getBoundingClientRect(), found = [];
          const boxes = [...svg.querySelectorAll("text")].map((one) =>
            [one.textContent, one.getBoundingClientRect(), one.getAttribute("transform") || ""]);
          for (const [text, box] of boxes)
            if (box.left < frame.left - 1 || box.right > frame.right + 1
              || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) found.push(text);
          for (let i = 0; i < boxes.length; i++) for (let k = 0; k < i; k++) {
            const [, a, turned] = boxes[i], [, b, other] = boxes[k];
            if (/rotate\\(-?(?!0)/.test(turned + other)) continue;
            const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (width > 2 && height > 4) found.push(`${boxes[i][0]} lies on ${boxes[k][0]}`);
          }
          return found;
        })"""
    )
    assert problems == []


def test_text_of_strangers_stays_text(opened: Any, page: Path) -> None:
    tab = opened(page)
    assert EVIL in tab.inner_text("h1")
    assert tab.locator("img").count() == 0


def test_it_works_in_a_sandbox(browser: Any, page: Path, tmp_path: Path) -> None:
    """As in MLflow's artifact view: scripts run, but there is no storage and no origin."""
    outer = tmp_path / "outer.html"
    inner = json.dumps(page.read_text()).replace("<", "\\u003c")
    outer.write_text(
        "<iframe id=f sandbox='allow-scripts' width=1200 height=900></iframe>"
        f"<script>document.getElementById('f').srcdoc = {inner}</script>"
    )
    tab = browser.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(outer.as_uri())
    frame = tab.wait_for_selector("#f").content_frame()
    frame.wait_for_selector("#variants tbody tr")
    frame.locator("nav a").nth(2).click()
    player = play_first(frame)
    player.evaluate("player.seek(2)")
    assert player.inner_text("#clock").startswith("tick 2 of")
    player.press("body", "Escape")
    frame.wait_for_function("!document.getElementById('player').open")
    assert not errors
    tab.close()


def test_a_comparison_plays_the_levels_apart(opened: Any, tmp_path: Path) -> None:
    from tests.experiments.report.test_compare import make_run

    runs = [
        make_run(tmp_path / name, noise, varied={"variant": name})
        for name, noise in (("good", 0.1), ("bad", 0.5))
    ]
    tab = opened(write_comparison(compare(*map(str, runs)), tmp_path / "page"))
    assert tab.inner_text(".lead").startswith("A wins")
    row = tab.locator("#levels tbody tr", has=tab.locator("button.watch")).first
    seed = row.locator("td").first.inner_text()
    frame = play_first(tab, "#levels tbody button.watch")
    assert f"held-out level {seed}:" in frame.inner_text("#title")
