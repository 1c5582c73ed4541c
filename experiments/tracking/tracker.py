"""The tracker: takes what happens in a sweep, and tells MLflow off the caller's thread.

Calls only append a line to the spool's file; whether MLflow is up, slow or gone changes nothing for
the caller. One delivery thread does everything that can block, imports of MLflow included.
"""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.tracking.address import redact
from experiments.tracking.config import RunInfo, TrackerConfig
from experiments.tracking.delivery import Delivery
from experiments.tracking.failures import LOGGER, Notices, Unavailable, quiet_libraries
from experiments.tracking.names import clean_name, clean_text, short_name
from experiments.tracking.offline import Audit, audit
from experiments.tracking.spool import PARENT, Manifest, Op, Spool
from experiments.tracking.store import connect, prepare_environment


class Tracker:
    """Tracks one sweep. Every method but `drain` and `close` returns without waiting for MLflow.

    Runs are named by a key: `PARENT`, or whatever `start_run` was given (a Ray trial id).
    """

    def __init__(
        self,
        config: TrackerConfig,
        *,
        client: Callable[[str], Any] = connect,
        backoff_s: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        """Opens the spool, and starts delivering what an earlier process left in it.

        Args:
            config: Where.
            client: Makes an `MlflowClient` from a tracking URI.
            backoff_s: First and longest wait between attempts while MLflow can't be told, seconds.

        Raises:
            ValueError: If an address or folder makes no sense; one sentence.
        """
        prepare_environment()
        self.config = config = config.resolved()
        self.notices = Notices()
        self._changed = threading.Condition()
        self._spool = Spool(config.spool_dir, config.memory_limit)
        claim = {"tracking_uri": config.tracking_uri, "artifact_root": config.artifact_location}
        try:
            manifest = self._spool.claim(study=config.study, **claim)
        except OSError as error:  # a full disk: the id is lost with this process
            manifest = Manifest(id=uuid.uuid4().hex, study=config.study, **claim)
            self._warn_of_disk(error)
        self._delivery = Delivery(
            self._spool,
            manifest,
            lock=self._changed,
            client=client,
            on_refused=lambda sentence: self.notices.warn("refused", sentence),
        )
        self._client = client
        self._backoff_s = backoff_s
        self._num_appended = 0
        self._num_handled = -1
        self._urgent = False
        self._closing = False
        self._reason = ""
        self._steps: dict[str, int | None] = {}
        self._thread = threading.Thread(target=self._run, name="clowder-tracking", daemon=True)
        self._thread.start()

    # --- what callers log ---------------------------------------------------------------------

    def start_run(self, key: str, info: RunInfo, *, parent: str | None = PARENT) -> None:
        """Creates a run, or continues it if this spool has it; its parameters then stay."""
        tags = {clean_name(name): clean_text(value) for name, value in info.tags.items()}
        if info.note:
            tags["mlflow.note.content"] = clean_text(info.note)
        name = short_name(info.name)
        if name != info.name:
            tags["clowder.full_name"] = clean_text(info.name)
        if not self._spool.log(key).is_new:
            self._append(key, {"op": "status", "status": "RUNNING", "tags": tags})
            return
        params = {clean_name(name): clean_text(value, 6000) for name, value in info.params.items()}
        op = {"op": "create", "name": name, "tags": tags, "params": params}
        self._append(key, {**op, "parent": None if key == PARENT else parent})

    def report(self, key: str, metrics: Mapping[str, float], step: int) -> bool:
        """Logs a training report: all its metrics, in one batch.

        Returns:
            False if it was left out because the run already has a report of that step or a later
            one, as after a resume from an older checkpoint.
        """
        with self._changed:
            if key not in self._steps:
                self._steps[key] = self._spool.log(key).last_step()
            last = self._steps[key]
            if last is not None and step <= last:
                return False
            self._steps[key] = step
        self._log_points("report", key, metrics, step)
        return True

    def log_metrics(self, key: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs metrics beside the reports, such as a final evaluation or a sweep's summary."""
        self._log_points("metrics", key, metrics, step)

    def set_tags(self, key: str, tags: Mapping[str, object]) -> None:
        """Sets tags of a run."""
        named = {clean_name(name): clean_text(value) for name, value in tags.items()}
        self._append(key, {"op": "tags", "tags": named})

    def set_note(self, key: str, text: str) -> None:
        """Sets the Markdown text shown on a run's page."""
        self._append(key, {"op": "tags", "tags": {"mlflow.note.content": clean_text(text)}})

    def end_run(self, key: str, status: str, tags: Mapping[str, object] | None = None) -> None:
        """Ends a run as FINISHED, FAILED or KILLED; it can be started again and logged to."""
        named = {clean_name(name): clean_text(value) for name, value in (tags or {}).items()}
        self._append(key, {"op": "status", "status": status, "tags": named})
        with self._changed:
            self._spool.log(key).close()

    def log_artifact(
        self, key: str, path: str | Path, artifact_path: str | None = None, *, copy: bool = False
    ) -> None:
        """Adds a file or folder to a run's artifacts.

        Args:
            key: The run.
            path: File or folder; without `copy` it must stay there until it is delivered.
            artifact_path: Folder among the artifacts.
            copy: Whether to hold on to it in the spool: by hard links, or copies across disks. A
                hard link protects against removal, not against writing into the same file.
        """
        source = Path(path).absolute()
        copied = False
        if copy:
            kept = self._spool.directory / "artifacts" / uuid.uuid4().hex / source.name
            try:
                kept.parent.mkdir(parents=True)
                if source.is_dir():
                    shutil.copytree(source, kept, copy_function=_link_or_copy)
                else:
                    _link_or_copy(str(source), str(kept))
                source, copied = kept, True
            except OSError as error:
                self._warn_of_disk(error)
        op = {"op": "artifact", "path": str(source), "artifact_path": artifact_path}
        op["original"] = str(Path(path).absolute())
        self._append(key, {**op, "copied": copied})

    def log_replays(self, key: str, folder: str | Path, step: int, *, videos: bool) -> None:
        """Adds replays to a run: the files, a page that plays each, film strips by step.

        They are drawn when they are delivered, off the caller's thread; the folder must stay until
        then.

        Args:
            key: The run.
            folder: With the replays.
            step: Of the strips.
            videos: Whether to make videos of some, too.
        """
        path = str(Path(folder).absolute())
        self._append(key, {"op": "replays", "path": path, "step": int(step), "videos": videos})

    def share_view(self, varied: Sequence[str], strips: Sequence[str], step: int = 0) -> None:
        """Arranges MLflow's charts and columns for this sweep; see `experiments.tracking.charts`.

        Args:
            varied: Parameters that differ between its runs.
            strips: Names of film strips.
            step: Of the film strips that are shown at first; one that has none shows nothing.
        """
        op = {"op": "view", "varied": list(varied), "strips": list(strips), "step": step}
        self._append(PARENT, op)

    # --- what became of it --------------------------------------------------------------------

    @property
    def experiment_id(self) -> str | None:
        """MLflow's id of the study; None before the first delivery."""
        return self._delivery.experiment_id

    def run_id(self, key: str = PARENT) -> str | None:
        """MLflow's id of a run; None before it was delivered."""
        return self._delivery.state(key).run_id

    @property
    def num_points_sent(self) -> int:
        """Metric points of this spool that MLflow has acked."""
        return sum(self._delivery.state(key).num_points for key in list(self._spool.logs))

    @property
    def num_points_dropped(self) -> int:
        """Metric points that found room neither on the full disk nor in memory."""
        return self._spool.budget.dropped_points

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def audit(self) -> Audit:
        """Reads every point back from MLflow's store and compares. Waits for MLflow.

        Raises:
            Unavailable: If the store can't be read.
        """
        return audit(self.config.spool_dir, client=self._client)

    def drain(self, timeout_s: float | None = None) -> bool:
        """Waits until MLflow has everything; says in one sentence what is left if it hasn't.

        Args:
            timeout_s: Longest wait in seconds; default: the config's `drain_timeout_s`.

        Returns:
            Whether MLflow has everything.
        """
        timeout_s = self.config.drain_timeout_s if timeout_s is None else timeout_s
        with self._changed:
            self._urgent = True
            self._changed.notify_all()
            done = self._changed.wait_for(
                lambda: self._num_handled >= self._num_appended, timeout=timeout_s
            )
            self._urgent = False
        if done:
            self.notices.settle("left")
        else:
            self.notices.warn("left", self._what_is_left())
        if self.num_points_dropped:
            self.notices.warn(
                "dropped",
                f"{self.num_points_dropped} points are lost: neither the full disk of "
                f"{str(self._spool.directory)!r} nor {self.config.memory_limit} bytes of memory "
                "took them.",
            )
        return done

    def close(self, timeout_s: float | None = None) -> bool:
        """Drains, then ends the delivery thread; whether MLflow has everything."""
        if self._closing:
            return self._num_handled >= self._num_appended
        done = self.drain(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        # A thread that hangs in a call is left behind; what it was sending is in the spool.
        self._thread.join(timeout=1.0)
        for log in self._spool.logs.values():
            log.close()
        return done

    # --- inside -------------------------------------------------------------------------------

    def _append(self, key: str, op: Op) -> None:
        """Adds an operation to the spool, with the time of now."""
        op["time"] = int(time.time() * 1000)
        with self._changed:
            failure = self._spool.log(key).append(op)
            self._num_appended += 1
            self._changed.notify_all()
        if failure is not None:
            self._warn_of_disk(failure)

    def _log_points(self, kind: str, key: str, metrics: Mapping[str, float], step: int) -> None:
        """Logs finite metrics as points, and says of the others on the run that they are not.

        A database can't hold an infinite value, and a chart can't show one: MLflow's own stand-in,
        1.8e308, flattens every other point of the chart.
        """
        points: dict[str, float] = {}
        bad: list[str] = []
        for name, value in metrics.items():
            try:
                number = float(value)
            except (TypeError, ValueError):
                self.notices.warn(
                    f"metric {name}", f"metric {name!r} is {value!r}, not a number: left out."
                )
                continue
            if math.isfinite(number):
                points[clean_name(name)] = number
            else:
                bad.append(f"{name} was {number} at step {step}")
        self._append(key, {"op": kind, "step": int(step), "metrics": points})
        if bad and self.notices.warn(
            f"non-finite {key}", f"run {key!r}: {bad[0]}, which no chart can show."
        ):
            self.set_tags(key, {"non_finite": "; ".join(bad)})

    def _warn_of_disk(self, error: OSError) -> None:
        self.notices.warn(
            "disk",
            f"the spool {str(self._spool.directory)!r} takes nothing more ({error.strerror}): "
            f"points are kept in memory, up to {self.config.memory_limit / 2**20:.0f} MiB, until "
            "it does.",
        )

    def _what_is_left(self) -> str:
        """One sentence: what MLflow hasn't got, where it lies, and how it is delivered later."""
        points, runs = self._delivery.points_left()
        where = str(self._spool.directory)
        return (
            f"MLflow at {redact(self.config.tracking_uri)} is yet to get {points} points of {runs} "
            f"runs{f' ({self._reason})' if self._reason else ''}; they are kept in {where!r} and "
            f"delivered by `python -m experiments.tracking deliver {where}`."
        )

    def _run(self) -> None:
        """The delivery thread."""
        with quiet_libraries():
            wait_s = 0.0
            while True:
                with self._changed:
                    self._rest(wait_s)
                    if self._closing:
                        break
                wait_s = self._attempt(wait_s)
        self._delivery.release()

    def _rest(self, wait_s: float) -> None:
        """Waits for something to deliver or, after a failure, for the next attempt."""
        started = time.monotonic()
        while not self._closing:
            if wait_s:
                # Somebody who waits for the end shall not wait for a long back-off.
                limit = min(wait_s, self._backoff_s[0]) if self._urgent else wait_s
                left = started + limit - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)
            elif self._num_handled < self._num_appended:
                return
            else:
                self._changed.wait()

    def _attempt(self, waited_s: float) -> float:
        """Delivers all there is; returns how long to wait before the next attempt, in seconds."""
        goal = self._num_appended
        try:
            self._delivery.secure()
            if not any(log.backlog for log in list(self._spool.logs.values())):
                self.notices.settle("disk")
            while self._delivery.step():
                if self._closing:
                    return 0.0
        except Exception as error:  # Unavailable, or a bug that must not end the deliveries
            self._reason = str(error) if isinstance(error, Unavailable) else repr(error)
            self.notices.warn(
                "mlflow",
                f"MLflow at {redact(self.config.tracking_uri)} can't be told ({self._reason}): "
                f"training goes on, and points are kept in {str(self._spool.directory)!r} until "
                "it can.",
            )
            first, longest = self._backoff_s
            return min(longest, max(first, 2 * waited_s))
        self._reason = ""
        if self.notices.settle("mlflow"):
            LOGGER.warning("MLflow answers again and has everything that was kept.")
        with self._changed:
            self._num_handled = goal
            self._changed.notify_all()
        return 0.0


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
