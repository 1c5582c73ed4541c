"""Pong in the player, in a real browser: the same page, another game's drawing."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from env.film import frames
from env.player import write_page
from tests.env.test_pong_shown import a_game


@pytest.fixture
def page(visit: Callable[..., Any], tmp_path: Path) -> Any:
    return visit(write_page(a_game(), tmp_path / "pong.html"), height=1300)


def test_ball_and_paddles_are_where_the_simulator_has_them(page: Any) -> None:
    shown = list(frames(a_game()))
    for tick in (0, 1, 60, 150, len(shown) - 1):
        page.evaluate(f"player.setTheme('dark'); player.seek({tick})")
        picture = Image.open(io.BytesIO(page.locator("#level").screenshot())).convert("RGB")
        pixels = np.asarray(picture).astype(int)
        unit = picture.width / 800
        ball = np.argwhere((np.abs(pixels - [231, 235, 243]) < 12).all(axis=2))
        frame = shown[tick]
        if abs(frame.x) < 385:
            wanted = ((200 - frame.y) * unit, (400 + frame.x) * unit)
            assert np.abs(ball.mean(axis=0) - wanted).max() < 3
        assert page.evaluate("player.state()").startswith(
            f"{frame.score[0]:7d} : {frame.score[1]:<5d}\n"
        )
        seen = page.evaluate("player.sees(1)")
        assert seen["x"] == pytest.approx(-frame.x, abs=0.02)
        assert seen["own"] == pytest.approx(frame.paddle_y[1], abs=0.02)
        assert page.evaluate("player.sees(0)")["other"] is None, "it is hidden from the left seat"


def test_words_are_pongs(page: Any) -> None:
    replay = a_game()
    assert "left wins 2 : " in page.inner_text("#facts")
    assert "seat 0" in page.inner_text("#agent0") and "left" in page.inner_text("#agent0")
    assert not page.is_visible("#channels")
    assert page.input_value("#speed") == "60"
    page.evaluate(f"player.seek({replay.num_ticks})")
    assert "left scores, 2 : " in page.inner_text("#caption")
    page.keyboard.press("2")
    assert page.get_attribute("#agent1", "aria-pressed") == "true"
    assert "right seat sees" in page.inner_text("#viewtext")
    assert "cat" not in page.inner_text("body").replace("category", "")
