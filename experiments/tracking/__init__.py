"""Tracking: one writer to MLflow, that training never waits for.

Importing this package imports neither MLflow nor Ray; `MLflowCallback` imports Ray when it is used,
and the delivery thread imports MLflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.tracking.address import (
    DEFAULT_ARTIFACTS,
    DEFAULT_TRACKING_URI,
    chart_url,
    check_tracking_uri,
    resolve_tracking_uri,
)
from experiments.tracking.config import Extras, RunInfo, TrackerConfig
from experiments.tracking.failures import Unavailable
from experiments.tracking.offline import Audit, DeliveryReport, audit, deliver
from experiments.tracking.spool import PARENT
from experiments.tracking.tracker import Tracker

if TYPE_CHECKING:
    from experiments.tracking.mlflow_callback import MLflowCallback, open_tracker

__all__ = [
    "DEFAULT_ARTIFACTS",
    "DEFAULT_TRACKING_URI",
    "PARENT",
    "Audit",
    "DeliveryReport",
    "Extras",
    "MLflowCallback",
    "RunInfo",
    "Tracker",
    "TrackerConfig",
    "Unavailable",
    "audit",
    "chart_url",
    "check_tracking_uri",
    "deliver",
    "open_tracker",
    "resolve_tracking_uri",
]


def __getattr__(name: str) -> Any:
    if name in ("MLflowCallback", "open_tracker"):
        from experiments.tracking import mlflow_callback

        return getattr(mlflow_callback, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
