"""Starting Ray, quietly and closed to strangers."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path

from env.errors import BadInputError


def prepare(*, starts_cluster: bool = True) -> None:
    """Settings that Ray reads when it is imported: call this first.

    A cluster that is started here asks for a token that only this process and its workers know,
    since Ray's ports run whatever they are sent. The rest silences what libraries tell people who
    use them directly.
    """
    if starts_cluster and "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    settings = {
        "RAY_DEDUP_LOGS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    # Optuna on a resumed trial's repeated reports; PBT on a setting that is no user's matter.
    warnings.filterwarnings("ignore", message="The reported value is ignored")
    warnings.filterwarnings("ignore", message="Consider boosting PBT performance")
    # Ray sets the level of its top loggers itself when it is imported, but not of those below.
    for name in ("ray", "ray.rllib", "ray._common.deprecation", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Tune logs the traceback of every failed attempt; we tell a trial's failure in one sentence.
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def in_ray_job() -> bool:
    """Whether this process is the driver of `ray job submit`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def start_ray() -> None:
    """Connects to the cluster that RAY_ADDRESS names, or starts one on this machine."""
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except ConnectionError as error:
        raise BadInputError(
            f"no Ray cluster answers at {address!r}; start one or unset RAY_ADDRESS."
        ) from error


def check_cpus(needed: int) -> None:
    """Refuses a trial that could never start; Tune would wait for processors without a word.

    A cluster that can grow may yet get them, so only a machine of our own is judged.
    """
    import ray

    found = int(ray.cluster_resources().get("CPU", 0))
    if needed > found and "RAY_ADDRESS" not in os.environ and not in_ray_job():
        raise BadInputError(
            f"a trial asks for {needed} processors, but there are {found}; lower --run.num-threads "
            "or --ppo.num-env-runners."
        )


@contextlib.contextmanager
def writing(
    folder: Path, remedy: str = "free some room or name another folder with --run.storage"
) -> Iterator[None]:
    """Makes a folder of results, if need be, for what is written to it inside.

    Raises:
        BadInputError: the storage takes no more, or is no folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise BadInputError(f"{folder} can't be written ({error.strerror}); {remedy}.") from error


def storage_folder(storage: str) -> Path:
    """Where results go: as given; a relative folder in a Ray job means the home folder, since the
    uploaded working folder is thrown away.

    Raises:
        BadInputError: an address of a store that isn't mounted.
    """
    if "://" in storage:
        raise BadInputError(
            f"{storage!r} is no folder; mount that store on every node and name the folder with "
            "--run.storage."
        )
    path = Path(storage).expanduser()
    if not path.is_absolute():
        path = (Path.home() / "clowder" if in_ray_job() else Path.cwd()) / path
    return path
