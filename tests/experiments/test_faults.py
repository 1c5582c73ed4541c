"""Faults that strike a real run: what is quick enough of `python -m benchmarks.faults`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from benchmarks import faults
from benchmarks.outcomes import CHECKPOINT_ENV_STEPS, ENV_STEPS, Outcome, lost_steps

QUICK = ("kill_trial", "truncated_checkpoint", "not_a_number")
Outcomes = dict[str, Future[Outcome]]
BATCH = 256
"""Env steps of an iteration."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """The faults, each on a Ray of its own, side by side: starting up is most of their time."""
    folders = {name: tmp_path_factory.mktemp(name) for name in QUICK}
    with ThreadPoolExecutor() as pool:
        yield {name: pool.submit(faults.FAULTS[name], folders[name]) for name in QUICK}


def test_a_killed_trial_goes_on_from_its_checkpoint(outcomes: Outcomes) -> None:
    outcome = outcomes["kill_trial"].result()
    assert outcome.holds, outcome
    assert outcome.env_steps >= ENV_STEPS
    assert 0 <= outcome.lost_env_steps <= CHECKPOINT_ENV_STEPS + BATCH


def test_a_truncated_newest_checkpoint_is_passed_over_and_named(
    outcomes: Outcomes,
) -> None:
    outcome = outcomes["truncated_checkpoint"].result()
    assert outcome.holds, outcome
    assert outcome.env_steps >= ENV_STEPS
    assert 0 < outcome.lost_env_steps <= 2 * CHECKPOINT_ENV_STEPS + BATCH
    assert "is damaged; it goes on from checkpoint_" in outcome.told


def test_training_that_blows_up_fails_with_reason_and_remedy(outcomes: Outcomes) -> None:
    outcome = outcomes["not_a_number"].result()
    assert outcome.holds, outcome
    assert outcome.env_steps < ENV_STEPS
    for part in ("failed: base: training blew up", "NaN or infinite", "lower the learning rate"):
        assert part in outcome.told
    assert outcome.told.endswith(".")


@pytest.mark.parametrize(
    ("rows", "lost"),
    [
        ([256], 0),
        ([256, 512, 768], 0),
        ([256, 512, 768, 512, 768, 1024], 512),
        ([256, 512, 256, 512], 512),  # started anew
        ([256, 512, 768, 768, 1024], 256),
        ([256, 512, 512, 768, 768], 512),  # twice
    ],
)
def test_lost_env_steps_are_those_sampled_twice(rows: list[int], lost: int) -> None:
    assert lost_steps(rows) == lost
