"""The calls to MLflow: what the delivery says, in MLflow's words. Everything here can block."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.tracking.address import is_server
from experiments.tracking.charts import view_tag
from experiments.tracking.failures import Unavailable
from experiments.tracking.spool import Manifest, Op

RUN_TAG = "clowder.run"
"""Tag that marks a run as a spool's: `SPOOL_ID/KEY`."""


ENDING_TAGS = frozenset({"error", "stopped_by", "failed_trials"})
"""Tags that tell how a run ended; a run that goes on loses them."""


def prepare_environment() -> None:
    """Sets MLflow's bounds on retries and time, unless the user has set them.

    By default one call to a server that is down blocks for 247 s, and telemetry has a race that
    once cost a batch.
    """
    for name, value in (
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),  # two lines a run
    ):
        os.environ.setdefault(name, value)


def connect(tracking_uri: str) -> Any:
    """Returns an `MlflowClient`. The first call imports MLflow, which takes about two seconds."""
    prepare_environment()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def artifact_source(op: Op) -> str | None:
    """Returns the path to an artifact: the spool's copy, else the original.

    Returns:
        None if neither is left of one that was copied: a copy goes once MLflow has it, so this is
        a second delivery.
    """
    if op["copied"] and not os.path.exists(op["path"]):
        return op["original"] if os.path.exists(op["original"]) else None
    return str(op["path"])


class Store:
    """MLflow, for one study. Every method may raise whatever MLflow raises."""

    def __init__(self, client: Any, manifest: Manifest) -> None:
        """Looks up the study's experiment, or makes it.

        Args:
            client: An `MlflowClient`.
            manifest: The spool's study, id and places.

        Raises:
            Unavailable: If somebody deleted the experiment.
        """
        self.client = client
        self._manifest = manifest
        self.experiment_id = self._find_experiment()

    def _find_experiment(self) -> str:
        study = self._manifest.study
        found = self.client.get_experiment_by_name(study)
        if found is not None:
            if found.lifecycle_stage != "active":
                raise Unavailable(
                    f"its experiment {study!r} is deleted, which "
                    f"`mlflow experiments restore -x {found.experiment_id}` undoes"
                )
            return str(found.experiment_id)
        local = not is_server(self._manifest.tracking_uri)
        return str(
            self.client.create_experiment(
                study,
                artifact_location=self._manifest.artifact_root if local else None,
                # Opens the UI in the mode that has charts, not in GenAI mode.
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
        )

    def answers(self) -> bool:
        """Whether MLflow answers at all."""
        try:
            self.client.get_experiment(self.experiment_id)
        except Exception:
            return False
        return True

    def has_run(self, run_id: str) -> bool:
        """Whether the store knows a run, deleted or not."""
        try:
            self.client.get_run(run_id)
        except Exception as error:
            if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return True

    def find_or_create_run(self, key: str, op: Op, parent_run_id: str | None) -> str:
        """Returns the id of the run with this spool's mark.

        Args:
            key: The run's key in the spool.
            op: Its `create` operation; what is missing in it is left out.
            parent_run_id: MLflow's id of the parent run.
        """
        mark = f"{self._manifest.id}/{key}"
        where = f"tags.`{RUN_TAG}` = '{mark}'"
        found: Sequence[Any] = self.client.search_runs([self.experiment_id], where)
        if not found:
            tags: Mapping[str, str] = {**op.get("tags", {}), RUN_TAG: mark}
            if parent_run_id is not None:
                tags = {**tags, "mlflow.parentRunId": parent_run_id}
            run = self.client.create_run(
                self.experiment_id,
                start_time=op.get("time"),
                tags=tags,
                run_name=op.get("name", key),
            )
            found = [run]
            if is_server(self._manifest.tracking_uri):
                # A request that was repeated because its answer got lost made two runs.
                found = self.client.search_runs([self.experiment_id], where) or found
        first, *extra = sorted(run.info.run_id for run in found)
        for run_id in extra:
            self.client.delete_run(run_id)
        return str(first)

    def apply(self, run_id: str, ops: Sequence[Op]) -> None:
        """Makes the calls for operations of one run: several only if all carry points."""
        from mlflow.entities import Metric, Param, RunTag

        op = ops[0]
        tags = [RunTag(name, value) for name, value in op.get("tags", {}).items()]
        match op["op"]:
            case "report" | "metrics":
                points = [
                    Metric(name, value, each["time"], each["step"])
                    for each in ops
                    for name, value in each["metrics"].items()
                ]
                self.client.log_batch(run_id, metrics=points, synchronous=True)
            case "create":
                params = [Param(name, value) for name, value in op["params"].items()]
                self.client.log_batch(run_id, params=params, synchronous=True)
            case "tags":
                self.client.log_batch(run_id, tags=tags, synchronous=True)
            case "status":
                if op["status"] == "RUNNING":
                    for name in ENDING_TAGS & self.client.get_run(run_id).data.tags.keys():
                        self.client.delete_tag(run_id, name)
                    self.client.update_run(run_id, status="RUNNING")
                self.client.log_batch(run_id, tags=tags, synchronous=True)
                if op["status"] != "RUNNING":
                    self.client.set_terminated(run_id, op["status"], op["time"])
            case "artifact":
                if path := artifact_source(op):
                    self.client.log_artifact(run_id, path, op["artifact_path"])
            case "replays":
                self._log_replays(run_id, op)
            case "view":
                name, value = view_tag(run_id, op["varied"], op["strips"], op.get("step", 0))
                self.client.set_experiment_tag(self.experiment_id, name, value)
            case other:
                raise AssertionError(f"a spool has no operation {other!r}")

    def _log_replays(self, run_id: str, op: Op) -> None:
        """Draws a folder of replays, and logs what comes of it."""
        from experiments.media import make_media

        with tempfile.TemporaryDirectory(prefix="clowder-") as scratch:
            media = make_media(Path(op["path"]), Path(scratch), with_videos=op["videos"])
            for file in media.files:
                self.client.log_artifact(run_id, str(file), f"replays/{op['step']}")
            for name, strip in media.strips.items():
                self.client.log_image(run_id, strip, key=name, step=op["step"])
