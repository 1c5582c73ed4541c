"""The view that a sweep shares in MLflow."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from experiments.tracking.charts import SECTIONS, share_key, view, view_tag

from .conftest import MakeTracker, start


def read(value: str) -> dict[str, Any]:
    """As MLflow's page reads it."""
    kind, _, packed = value.partition(";")
    assert kind == "deflate"
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def test_the_view_is_of_one_sweep_its_best_first() -> None:
    found = view("abc", ["rewards.alive"], [])
    assert found["searchFilter"] == "tags.mlflow.parentRunId = 'abc'"
    assert found["orderByKey"] == "metrics.`eval/win_rate`" and not found["orderByAsc"]
    assert found["selectedColumns"][0] == "params.`rewards.alive`"


def test_every_chart_has_a_section_and_a_name_of_its_own() -> None:
    found = view("abc", ["rewards.alive", "ppo.lr"], ["worst failure"])
    sections = {one["uuid"] for one in found["compareRunSections"]}
    charts = found["compareRunCharts"]
    assert len(sections) == len(SECTIONS)
    assert {one["metricSectionId"] for one in charts} <= sections
    assert len({one["uuid"] for one in charts}) == len(charts)
    kinds = [one["type"] for one in charts]
    assert kinds[:2] == ["LINE", "PARALLEL"] and kinds.count("IMAGE") == 1
    assert charts[1]["selectedParams"] == ["rewards.alive", "ppo.lr"]


def test_without_variants_there_are_no_parallel_coordinates() -> None:
    kinds = [one["type"] for one in view("abc", [], [])["compareRunCharts"]]
    assert "PARALLEL" not in kinds


def test_a_sweep_over_many_fields_fits_a_tag() -> None:
    name, value = view_tag("f" * 32, [f"rewards.a_rather_long_name_{i}" for i in range(25)], ["a"])
    assert name == f"mlflow.sharedViewState.{share_key('f' * 32)}"
    assert len(value) < 5000 and read(value)["groupBy"] is None


def test_the_experiment_carries_it(make_tracker: MakeTracker, client: Any) -> None:
    tracker = make_tracker()
    start(tracker)
    tracker.share_view(["rewards.alive"], ["victory"])
    assert tracker.drain(60)
    parent = str(tracker.run_id())
    tags = client.get_experiment(tracker.experiment_id).tags
    found = read(tags[f"mlflow.sharedViewState.{share_key(parent)}"])
    assert parent in found["searchFilter"]
