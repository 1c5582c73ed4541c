"""A real sweep: two trials under Tune, one of which fails and is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.tracking import MLflowCallback, RunInfo, TrackerConfig, audit
from experiments.tracking.mlflow_callback import open_tracker

from .conftest import WAIT_S, history


def test_a_sweep_and_its_resume(ray: Any, root: Path, client: Any) -> None:
    from ray import tune

    flag = root / "repaired"

    def train(config: dict[str, Any]) -> None:
        for iteration in range(1, 4):
            if iteration == 3 and config["own_block"] > 0.05 and not flag.exists():
                raise RuntimeError("no exit in sight")
            tune.report({"steps": 100 * iteration, "win_rate": iteration * config["own_block"]})

    config = TrackerConfig(study="tiny", spool_dir=root / "results" / "spool", root=root)
    callback = MLflowCallback(
        config,
        parent="tiny sweep",
        describe=lambda trial: RunInfo(
            name=f"own_block={trial.config['own_block']}",
            params={"rewards.own_block": trial.config["own_block"]},
            tags={"study": "tiny", "ray_trial_id": trial.trial_id},
        ),
        metrics_of=lambda result: {"eval/win_rate": result["win_rate"]},
        step_of=lambda result: result["steps"],
    )
    tuner = tune.Tuner(
        train,
        param_space={"own_block": tune.grid_search([0.03, 0.1])},
        run_config=tune.RunConfig(
            name="tiny", storage_path=str(root / "results"), callbacks=[callback], verbose=0
        ),
    )
    assert tuner.fit().num_errors == 1

    def runs() -> tuple[Any, Any, Any]:
        found = client.search_runs([callback.tracker.experiment_id])
        by_name = {run.info.run_name: run for run in found}
        assert len(by_name) == len(found) == 3
        return by_name["tiny sweep"], by_name["own_block=0.03"], by_name["own_block=0.1"]

    parent, good, bad = runs()
    assert [run.info.status for run in (parent, good, bad)] == ["FINISHED", "FINISHED", "FAILED"]
    assert bad.data.tags["error"] == "RuntimeError: no exit in sight"
    assert good.data.params == {"rewards.own_block": "0.03"}
    assert all(r.data.tags["mlflow.parentRunId"] == parent.info.run_id for r in (good, bad))
    assert history(client, good.info.run_id, "eval/win_rate") == [
        (100, 0.03), (200, 0.06), (300, 0.09),
    ]  # fmt: skip
    assert callback.tracker.audit().num_stored == 5

    # A new driver would open the spool anew.
    assert callback.tracker.close(WAIT_S)
    flag.touch()
    restored = tune.Tuner.restore(
        str(root / "results" / "tiny"), trainable=train, resume_errored=True
    )
    assert restored.fit().num_errors == 0
    parent_after, good_after, bad_after = runs()
    assert bad_after.info.run_id == bad.info.run_id
    assert parent_after.info.run_id == parent.info.run_id
    assert bad_after.info.status == "FINISHED"
    assert "error" not in bad_after.data.tags and "failed_trials" not in parent_after.data.tags
    # Without a checkpoint the trial began again: its first two rows came twice.
    assert [step for step, _ in history(client, bad.info.run_id, "eval/win_rate")] == [
        100, 200, 300,
    ]  # fmt: skip
    assert good_after.data.metrics == good.data.metrics
    assert open_tracker(config).close(WAIT_S)
    result = audit(config.spool_dir)
    assert result.complete and result.num_stored == 6
