"""Wilson's interval is the one that scipy computes."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, norm

from experiments.statistics import wilson


@pytest.mark.parametrize("trials", [1, 2, 3, 10, 32, 100, 400, 12345])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_it_is_wilsons(trials: int, level: float) -> None:
    z = float(norm.ppf((1 + level) / 2))
    for successes in sorted({0, 1, trials // 3, trials // 2, trials - 1, trials}):
        expected = binomtest(successes, trials).proportion_ci(level, method="wilson")
        found = wilson(successes, trials, z)
        assert found == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert 0 <= found[0] <= successes / trials <= found[1] <= 1


def test_it_is_of_95_percent_by_default() -> None:
    expected = binomtest(7, 20).proportion_ci(0.95, method="wilson")
    assert wilson(7, 20) == pytest.approx((expected.low, expected.high), abs=1e-7)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 4), (5, 4), (0, 0)])
def test_what_is_no_share_is_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(successes, trials)
