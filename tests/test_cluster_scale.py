"""What benchmarks/cluster_scale.py makes of sizes and reports: no slope hides, clocks are real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.cluster_scale import NUM_GROWN, Size, judge_growth, rate
from experiments.history import HISTORY_FILE


def sizes(driver: Callable[[int], float], step: int = 1) -> list[Size]:
    return [
        Size(
            num_trials=n,
            tracking=1e6 + 300e3 * n,
            storage=2e6 * n,
            driver=driver(n),
            driver_cpu_s=0.5 * n,
            server_cpu_s=0.2 * n,
        )
        for n in range(1, NUM_GROWN + 1, step)
    ]


@pytest.mark.parametrize(
    "driver, holds",
    [
        (lambda n: 4e8 + 2e5 * n, True),  # linear
        (lambda n: 4e8 - 1e3 * n, True),  # shrinks a little
        (lambda n: 4e8 + 1e4 * n * n, False),  # quadratic
        # Falls first and grows then: the ratio of the slopes is negative, and no good sign.
        (lambda n: 4e8 + 5e5 * abs(n - 20), False),
    ],
)
def test_growth_faster_than_linear_is_seen(
    driver: Callable[[int], float], holds: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = {one.name.partition(":")[0]: one for one in judge_growth(sizes(driver))}
    assert bars["driver"].holds == holds
    assert bars["tracking"].holds and bars["storage"].holds
    said = capsys.readouterr().out
    assert "a trial takes 0.50 s of the driver's CPU time" in said
    assert "a trial adds 300 kB in the first half, 300 kB in the second" in said


def test_too_few_points_are_no_slope() -> None:
    with pytest.raises(SystemExit, match="trials were caught at their end; repeat it"):
        judge_growth(sizes(lambda n: 4e8, step=5))


def test_a_rate_is_by_the_drivers_clock_while_both_train(tmp_path: Path) -> None:
    for name, start, speed in (("a", 100.0, 1000.0), ("b", 110.0, 500.0)):
        trial = tmp_path / "sweep-1" / name
        trial.mkdir(parents=True)
        rows = [{"env_steps": int(speed * 10 * k), "heard_s": start + 10 * k} for k in range(1, 12)]
        (trial / HISTORY_FILE).write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert rate(tmp_path) == pytest.approx(1500.0)
