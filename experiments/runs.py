"""Finding a trained policy by whatever name its user knows."""

from __future__ import annotations

import json
from pathlib import Path

from env.errors import BadInputError
from experiments import runner, shipped
from experiments.policy import CONFIG_FILE


def find_policy(run: str, tracking_uri: str = "") -> Path:
    """The folder of a RUN's portable policy.

    Args:
        run: a folder (a policy, a checkpoint, a trial, or a whole experiment, of which the longest
            trained checkpoint counts), the name of shipped weights, an MLflow run id, or an MLflow
            run's name.
        tracking_uri: MLflow store; empty: MLFLOW_TRACKING_URI, or `mlflow.db` in this folder.

    Raises:
        BadInputError: nothing of that name has a policy.
    """
    return newest_policy(find_folder(run, tracking_uri))


def find_folder(run: str, tracking_uri: str = "") -> Path:
    """The folder of a RUN: of its policy, its checkpoint, its trial or its experiment.

    Args:
        run, tracking_uri: as for `find_policy`.

    Raises:
        BadInputError: there is nothing of that name.
    """
    folder = Path(run).expanduser()
    if folder.is_dir():
        return folder
    if (of_team := shipped.find(run)) is not None:
        return of_team
    tracked = _tracked_folder(run, tracking_uri)
    if tracked is None:
        known = ", ".join(shipped.names()) or "none yet"
        raise BadInputError(
            f"there is no run {run!r}: it is neither a folder, nor shipped ({known}), nor the id "
            "or name of a tracked run; see `make ui` for what there is."
        )
    if not tracked.is_dir():
        raise BadInputError(
            f"run {run!r} left its results in {tracked}, which is not here; copy that folder and "
            "name it."
        )
    return tracked


def newest_policy(folder: Path) -> Path:
    """The newest policy in or below a folder."""
    if (folder / CONFIG_FILE).is_file():
        return folder
    found = sorted(folder.rglob(CONFIG_FILE), key=_age)
    if not found:
        raise BadInputError(
            f"there is no policy in {folder}; name a folder with {CONFIG_FILE} in or below it."
        )
    return found[-1].parent


def _age(path: Path) -> tuple[int, str]:
    """Longest trained last; file dates change when folders are copied."""
    try:
        return int(json.loads(path.read_text())["env_steps"]), str(path)
    except (OSError, ValueError, KeyError, TypeError):
        return -1, str(path)


def _tracked_folder(run: str, given: str) -> Path | None:
    """The results folder that a tracked run's tag names, the newest run of that name first."""
    uri = runner.tracking_uri(given)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return None
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    try:
        found = [client.get_run(run)]
    except MlflowException:
        experiments = [one.experiment_id for one in client.search_experiments()]
        name = run.replace("'", "")
        found = client.search_runs(
            experiments,
            filter_string=f"attributes.run_name = '{name}'",
            order_by=["attributes.start_time DESC"],
        )
    for one in found:
        if one.data.tags.get("folder"):
            return Path(one.data.tags["folder"])
    return None
