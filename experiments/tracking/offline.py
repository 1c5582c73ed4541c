"""Work on a spool without a sweep: delivering what was kept, checking that nothing is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.tracking.delivery import Delivery
from experiments.tracking.failures import Unavailable, one_sentence, quiet_libraries
from experiments.tracking.spool import POINT_OPS, Manifest, Spool, read_manifest
from experiments.tracking.store import connect


@dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """What a delivery did."""

    num_points_sent: int
    """Metric points that MLflow acked in this delivery."""
    num_points_left: int
    """Metric points that MLflow is yet to get."""
    num_runs_left: int
    """Runs that MLflow is yet to get something of."""
    num_refused: int
    """Operations that MLflow refused for good; `refused.jsonl` in the spool has them."""
    reason: str
    """Why something is left; empty if nothing is."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Whether MLflow's store has every metric point of a spool."""

    num_spooled: int
    """Distinct points in the spool."""
    num_sent: int
    """Those of them that MLflow acked."""
    num_stored: int
    """Those of them that the store gave back."""
    num_missing: int
    """Acked points that the store has not."""
    num_repeated: int
    """Points that the store has more than once."""
    missing: tuple[str, ...]
    """The first of the missing points, as text."""

    @property
    def complete(self) -> bool:
        """Whether every point of the spool is stored, once."""
        return self.num_stored == self.num_spooled and not self.num_repeated


def _open(spool_dir: Path | str, tracking_uri: str | None) -> tuple[Spool, Manifest]:
    """Opens a spool for delivery to its own address or another.

    Raises:
        ValueError: If there is no spool.
    """
    spool = Spool(Path(spool_dir).absolute())
    manifest = read_manifest(spool.directory)
    if manifest is None:
        raise ValueError(
            f"{str(spool_dir)!r} holds no spool (its spool.json is missing or unreadable): name "
            "the folder that the warning named."
        )
    return spool, replace(manifest, tracking_uri=tracking_uri) if tracking_uri else manifest


def deliver(
    spool_dir: Path | str,
    *,
    tracking_uri: str | None = None,
    timeout_s: float = 60.0,
    from_start: bool = False,
    client: Callable[[str], Any] = connect,
) -> DeliveryReport:
    """Delivers what a spool kept.

    Args:
        spool_dir: The spool's folder.
        tracking_uri: Where to; default: where the sweep meant it to go. Another store gets
            everything from the start.
        timeout_s: How long to go on trying while MLflow can't be told, in seconds.
        from_start: Whether to send everything again, for a store that lost it; a store that has it
            is not changed.
        client: Makes an `MlflowClient` from a tracking URI.

    Raises:
        ValueError: If there is no spool.
    """
    spool, manifest = _open(spool_dir, tracking_uri)
    delivery = Delivery(spool, manifest, client=client, from_start=from_start)
    deadline = time.monotonic() + timeout_s
    wait_s, reason = 1.0, ""
    try:
        with quiet_libraries():
            while True:
                try:
                    while delivery.step():
                        wait_s, reason = 1.0, ""
                    reason = ""
                    break
                except Unavailable as error:
                    reason = str(error)
                if time.monotonic() + wait_s > deadline:
                    break
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, 30.0)
        points, runs = delivery.points_left()
        return DeliveryReport(
            num_points_sent=delivery.num_points_sent,
            num_points_left=points,
            num_runs_left=runs,
            num_refused=delivery.num_refused,
            reason=reason,
        )
    finally:
        delivery.release()


def audit(
    spool_dir: Path | str,
    *,
    tracking_uri: str | None = None,
    client: Callable[[str], Any] = connect,
) -> Audit:
    """Reads back every metric point of a spool from MLflow's store and compares.

    Raises:
        ValueError: If there is no spool.
        Unavailable: If the store can't be read.
    """
    spool, manifest = _open(spool_dir, tracking_uri)
    delivery = Delivery(spool, manifest, client=client)
    spooled = sent = stored = repeated = 0
    missing: list[str] = []
    try:
        with quiet_libraries():
            mlflow = client(manifest.tracking_uri)
            for key, log in spool.logs.items():
                state = delivery.state(key)
                wanted: dict[tuple[str, int, int, float], bool] = {}
                offset = 0
                while found := log.read(offset):
                    for op, offset in found:
                        if op is None or op["op"] not in POINT_OPS:
                            continue
                        for name, value in op["metrics"].items():
                            point = (name, op["time"], op["step"], value)
                            wanted[point] = offset <= state.offset
                spooled += len(wanted)
                sent += sum(wanted.values())
                if state.run_id is None:
                    continue
                there: dict[tuple[str, int, int, float], int] = {}
                for name in sorted({point[0] for point in wanted}):
                    for metric in mlflow.get_metric_history(state.run_id, name):
                        point = (name, metric.timestamp, metric.step, metric.value)
                        there[point] = there.get(point, 0) + 1
                stored += sum(point in there for point in wanted)
                repeated += sum(there.get(point, 0) > 1 for point in wanted)
                missing += [
                    f"{point[0]} of run {key} at step {point[2]}"
                    for point, acked in wanted.items()
                    if acked and point not in there
                ]
    except Unavailable:
        raise
    except Exception as error:
        raise Unavailable(one_sentence(error)) from error
    return Audit(
        num_spooled=spooled,
        num_sent=sent,
        num_stored=stored,
        num_missing=len(missing),
        num_repeated=repeated,
        missing=tuple(missing[:10]),
    )
