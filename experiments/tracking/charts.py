"""How MLflow's pages show a sweep: which charts, in what order, which columns, which runs.

MLflow keeps a view that somebody shares in a tag of the experiment, and opens it from a link that
names it (`mlflow.sharedViewState.KEY`, `viewStateShareKey=KEY`; MLflow 3.17). A sweep shares one of
its own, so that its link opens on the answer and not on an empty page.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

TAG = "mlflow.sharedViewState."
WIN_RATE = "eval/win_rate"
FOLDED = ("time", "train", "reward", "Model metrics", "System metrics")
"""Sections that are closed at first."""
SECTIONS = ("answer", "eval", "behaviour", *FOLDED)
BEHAVIOUR = ("crushed", "shot", "timeouts", "own_blocks", "wasted_shots", "friendly_kills")
"""Of the family `behaviour/`: what is charted first."""


def share_key(parent_run_id: str) -> str:
    """Name of a sweep's view."""
    return f"clowder-{parent_run_id[:12]}"


def view_tag(
    parent_run_id: str, varied: Sequence[str], strips: Sequence[str], step: int = 0
) -> tuple[str, str]:
    """Tag of the experiment that shares a sweep's view: name and value.

    Args:
        parent_run_id: the sweep's run.
        varied: parameters that differ between its trials.
        strips: names of its film strips.
        step: of the film strips that are shown at first.
    """
    # As MLflow writes long views; a tag holds 5,000 characters.
    text = json.dumps(view(parent_run_id, varied, strips, step), separators=(",", ":")).encode()
    value = "deflate;" + base64.b64encode(zlib.compress(text, 9)).decode()
    return TAG + share_key(parent_run_id), value


def view(
    parent_run_id: str, varied: Sequence[str], strips: Sequence[str], step: int = 0
) -> dict[str, Any]:
    """The view in MLflow's words."""
    columns = [WIN_RATE, "eval/win_rate_low", "eval/exits", "behaviour/crushed", "reward/return"]
    return {
        "searchFilter": f"tags.mlflow.parentRunId = '{parent_run_id}'",
        "orderByKey": f"metrics.`{WIN_RATE}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"params.`{name}`" for name in varied),
            *(f"metrics.`{name}`" for name in columns),
        ],
        "compareRunCharts": _charts(varied, strips, step),
        "compareRunSections": [
            {
                "uuid": _section(name),
                "name": name,
                "display": name not in FOLDED,
                "isReordered": True,
                "deleted": False,
                "isGenerated": name != "answer",
                # Wide enough for axes with names.
                **({"columns": 2, "cardHeight": 380} if name == "answer" else {}),
            }
            for name in SECTIONS
        ],
        "isAccordionReordered": True,
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": True,
        "groupBy": None,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


def _section(name: str) -> str:
    return f"clowder-section-{name}".replace(" ", "-")


def _charts(varied: Sequence[str], strips: Sequence[str], step: int) -> list[dict[str, Any]]:
    charts = [_line(WIN_RATE, "answer")]
    if varied:
        charts.append(
            _chart("PARALLEL", "weights", "answer")
            | {
                "selectedParams": list(varied),
                "selectedMetrics": [WIN_RATE],
                "showAllRuns": True,
            }
        )
    charts.append(_line("train/return", "answer"))  # does it rise without wins?
    charts += [
        _chart("IMAGE", name, "answer")
        | {"imageKeys": [name], "step": step, "showRunParams": False}
        for name in strips
    ]
    charts += [_line(f"behaviour/{name}", "behaviour") for name in BEHAVIOUR]
    return charts


def _chart(kind: str, name: str, section: str) -> dict[str, Any]:
    # MLflow titles a chart itself: by its metric, its kind, its image.
    return {
        "uuid": f"clowder-{section}-{name}".replace(" ", "-"),
        "type": kind,
        "runsCountToCompare": 20,
        "metricSectionId": _section(section),
        "deleted": False,
        "isGenerated": False,
    }


def _line(metric: str, section: str) -> dict[str, Any]:
    return _chart("LINE", metric, section) | {
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
