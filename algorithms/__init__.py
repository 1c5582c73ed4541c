"""Learning on RLlib: batched sampling, and algorithms that learn from what it fills.

    from algorithms import SegmentPPOConfig

`env_runner` steps hundreds of games in one call and fills a `rollout`; `actor` seats networks in
their rows; `play` judges on named levels; `advantages` and `segments` are what a `learner` needs;
`segment_ppo` is the default algorithm made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from algorithms.segment_ppo import SegmentPPO, SegmentPPOConfig

AdvantageMode = Literal["gae", "vtrace", "puff"]
"""How advantages are estimated; see `algorithms.advantages.estimate`."""

_LAZY = ("SegmentPPO", "SegmentPPOConfig")

__all__ = ["AdvantageMode", "SegmentPPO", "SegmentPPOConfig"]


def __getattr__(name: str) -> Any:
    # Command lines must start at once; Ray and torch come when an algorithm does.
    if name in _LAZY:
        from algorithms import segment_ppo

        return getattr(segment_ppo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
