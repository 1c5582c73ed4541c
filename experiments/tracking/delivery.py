"""Delivery: tells MLflow what the spool holds, in order, and notes on disk what MLflow has acked.

Why nothing appears twice: MLflow's stores keep one row for each (run, key, timestamp, step, value),
so a batch that was acked and is sent again, because this process died before it could note the ack,
changes nothing. A run that was created and not noted is found again by its tag `clowder.run`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from experiments.tracking.failures import Unavailable, is_refusal, one_sentence
from experiments.tracking.spool import (
    PARENT,
    POINT_OPS,
    Manifest,
    Op,
    Spool,
    decode,
    num_points,
    write_atomically,
)
from experiments.tracking.store import Store, connect

MAX_POINTS = 1000
"""Metric points in one call; MLflow's own bound."""

DAMAGED = "damaged line"
"""Stands for an operation that can't be read."""

MAX_ARTIFACT_ATTEMPTS = 5
"""Failures after which an artifact no longer holds up the points behind it."""


@dataclass(kw_only=True)
class RunState:
    """How far one run's log has been delivered."""

    run_id: str | None = None
    """MLflow's id of the run; None before it was created."""
    offset: int = 0
    """Bytes of the log's file that MLflow has acked."""
    num_points: int = 0
    """Metric points that MLflow has acked."""


class Delivery:
    """Sends a spool's operations to MLflow. Belongs to one thread at a time."""

    def __init__(
        self,
        spool: Spool,
        manifest: Manifest,
        *,
        lock: AbstractContextManager[Any] | None = None,
        client: Callable[[str], Any] = connect,
        on_refused: Callable[[str], object] = lambda sentence: None,
        from_start: bool = False,
    ) -> None:
        """Prepares a delivery; no file is touched and nothing is sent before `step`.

        Args:
            spool: What to deliver.
            manifest: Where to.
            lock: Held by whoever appends to the spool meanwhile.
            client: Makes an `MlflowClient` from a tracking URI.
            on_refused: Told in one sentence when MLflow refuses an operation for good.
            from_start: Whether to forget what was delivered before.
        """
        self.spool = spool
        self.manifest = manifest
        self.states: dict[str, RunState] = {}
        self.num_points_sent = 0
        self.num_refused = 0
        self._from_start = from_start
        self._checked: set[str] = set()
        self._lock = lock or nullcontext()
        self._make_client = client
        self._client: Any = None
        self._store: Store | None = None
        self._on_refused = on_refused
        self._turns: deque[str] = deque()
        self._attempts: dict[str, int] = {}
        self._lock_fd: int | None = None

    @property
    def experiment_id(self) -> str | None:
        """MLflow's id of the study; None before the first connection."""
        return self._store.experiment_id if self._store else None

    def state(self, key: str) -> RunState:
        """How far a run has been delivered, as noted on disk."""
        if key in self.states:
            return self.states[key]
        try:
            noted = RunState(**json.loads(self.spool.state_path(key).read_text()))
        except (OSError, ValueError, TypeError):
            noted = RunState()
        # A log can be shorter than its state only if somebody took its file away.
        noted.offset = min(noted.offset, self.spool.log(key).size)
        if self._lock_fd is not None:  # without the lock another process may change it
            self.states[key] = noted
        return noted

    def points_left(self) -> tuple[int, int]:
        """Counts what is left: metric points, and runs with anything left."""
        points = runs = 0
        for key, log in list(self.spool.logs.items()):
            offset = self.state(key).offset
            runs += bool(log.backlog) or log.size > offset
            with self._lock:
                points += sum(num_points(decode(line)) for line in log.backlog)
            while found := log.read(offset):
                points += sum(num_points(op) for op, _ in found)
                offset = found[-1][1]
        return points, runs

    def secure(self) -> None:
        """Moves what is in memory to the disk as far as it goes, and syncs the disk."""
        for log in list(self.spool.logs.values()):
            while log.backlog:
                with self._lock:
                    if not log.flush():
                        break
            with suppress(OSError):
                log.sync()

    def step(self) -> bool:
        """Delivers one batch of one run; the runs take turns, the parent first.

        Returns:
            False if there was nothing to deliver.

        Raises:
            Unavailable: If MLflow can't be told now; the next step tries the next run.
        """
        self._acquire()
        try:
            self._connected()
        except Unavailable:
            raise
        except Exception as error:
            raise Unavailable(one_sentence(error)) from error
        new = [key for key in list(self.spool.logs) if key not in self._turns]
        self._turns.extend(sorted(new, key=lambda key: key != PARENT))
        for _ in range(len(self._turns)):
            key = self._turns[0]
            self._turns.rotate(-1)
            log = self.spool.log(key)
            if not log.backlog and log.size <= self.state(key).offset:
                continue
            self._check_run(key)
            ops, offset = self._take(key)
            if ops:
                self._deliver(key, ops)
                self._acked(key, ops, offset)
                return True
        return False

    def release(self) -> None:
        """Lets another process deliver this spool."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _acquire(self) -> None:
        """Takes the lock of the spool.

        Raises:
            Unavailable: If another process holds it.
        """
        if self._lock_fd is None:
            try:
                self.spool.directory.mkdir(parents=True, exist_ok=True)
                path = self.spool.directory / "delivery.lock"
                fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise Unavailable(f"the spool's lock can't be made: {error}") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(fd)
                raise Unavailable("another process is delivering this spool") from error
            except OSError:
                pass  # a file system without locks
            self._lock_fd = fd
            # What another process delivered before it gave the lock back counts.
            self.states.clear()
            if self._from_start:
                shutil.rmtree(self.spool.directory / "state", ignore_errors=True)
            self._forget_other_store()

    def _connected(self) -> Store:
        """Returns MLflow, connected at the first call."""
        if self._store is None:
            self._client = self._client or self._make_client(self.manifest.tracking_uri)
            self._store = Store(self._client, self.manifest)
        return self._store

    def _forget_other_store(self) -> None:
        """Starts from the beginning if what is noted is about another store.

        That is safe even if it was the same store under another address: runs are found by their
        tag, and identical points count once.
        """
        path = self.spool.state_path(PARENT).with_name("store")
        try:
            noted = path.read_text()
        except OSError:
            noted = None
        if noted == self.manifest.tracking_uri:
            return
        with suppress(OSError):
            if noted is not None:
                shutil.rmtree(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.manifest.tracking_uri)

    def _check_run(self, key: str) -> None:
        """Starts a run from its beginning if the store no longer knows it, as a new file would."""
        state = self.state(key)
        if key not in self._checked and state.run_id is not None:
            try:
                if not self._connected().has_run(state.run_id):
                    self.states[key] = RunState()
            except Exception as error:
                raise Unavailable(one_sentence(error)) from error
        self._checked.add(key)

    def _take(self, key: str) -> tuple[list[Op], int | None]:
        """Returns what to deliver next for a run, and the offset after it (None: from memory)."""
        log, state = self.spool.log(key), self.state(key)
        if log.backlog:
            with self._lock:
                log.flush()
        found: list[tuple[Op | None, int | None]] = list(log.read(state.offset))
        if not found:
            # The disk takes nothing, but MLflow may.
            with self._lock:
                found = [(decode(line), None) for line in islice(log.backlog, 100)]
        ops: list[Op] = []
        points = 0
        end: int | None = None
        for op, offset in found:
            if op is None:
                if ops:
                    break
                op = {"op": DAMAGED}
            points += num_points(op)
            if ops and (op["op"] not in POINT_OPS or points > MAX_POINTS):
                break
            ops.append(op)
            end = offset
            if op["op"] not in POINT_OPS:
                break
        return ops, end

    def _acked(self, key: str, ops: Sequence[Op], offset: int | None) -> None:
        """Notes that MLflow has some operations."""
        state = self.state(key)
        points = sum(num_points(op) for op in ops)
        state.num_points += points
        self.num_points_sent += points
        if offset is None:
            with self._lock:
                self.spool.log(key).forget(len(ops))
        else:
            state.offset = offset
        # Without the note the batch would be sent again after a restart, which changes nothing.
        with suppress(OSError):
            write_atomically(self.spool.state_path(key), asdict(state))
        for op in ops:
            if op["op"] == "artifact" and op["copied"]:
                shutil.rmtree(Path(op["path"]).parent, ignore_errors=True)

    def _deliver(self, key: str, ops: Sequence[Op]) -> None:
        """Tells MLflow; sets aside what it refuses for good."""
        try:
            run_id = self._run_id(key)
            if ops[0]["op"] == DAMAGED:
                self._set_aside(key, ops[0], "nobody can read it")
            else:
                self._connected().apply(run_id, ops)
        except Unavailable:
            raise
        except Exception as error:
            first = ops[0]["op"]
            refused = is_refusal(error) and self.state(key).run_id is not None
            if first in ("artifact", "replays") and not refused:
                refused = self._give_up_artifact(key, ops[0]["path"])
            if not refused:
                raise Unavailable(one_sentence(error)) from error
            if len(ops) > 1:
                for op in ops:
                    self._deliver(key, [op])
            else:
                self._set_aside(key, ops[0], one_sentence(error))
        self._attempts.pop(key, None)

    def _give_up_artifact(self, key: str, path: str) -> bool:
        """Whether a failed artifact is beyond hope: gone, or refused while all else works."""
        if not os.path.exists(path):
            return True
        if not self._connected().answers():
            return False
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return self._attempts[key] >= MAX_ARTIFACT_ATTEMPTS

    def _run_id(self, key: str) -> str:
        """Returns MLflow's id of a run; looks for it by its tag and else creates it."""
        state = self.state(key)
        if state.run_id is not None:
            return state.run_id
        log = self.spool.log(key)
        head = log.read(0)
        op = head[0][0] if head else decode(log.backlog[0]) if log.backlog else None
        op = op if op is not None and op["op"] == "create" else {}
        parent, parent_run_id = op.get("parent"), None
        if parent in self.spool.logs:
            self._check_run(parent)
            known = self.state(parent).run_id is not None or not self.spool.log(parent).is_new
            parent_run_id = self._run_id(parent) if known else None
        state.run_id = self._connected().find_or_create_run(key, op, parent_run_id)
        return state.run_id

    def _set_aside(self, key: str, op: Op, reason: str) -> None:
        """Notes an operation that will never be delivered, so that those behind it can be."""
        self.num_refused += 1
        path = self.spool.directory / "refused.jsonl"
        entry = {"run": key, "reason": reason, "time": int(time.time() * 1000), "op": op}
        with suppress(OSError), path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self._on_refused(
            f"MLflow will not get the {op['op']} of run {key!r} ({reason}): it is set aside in "
            f"{str(path)!r}."
        )
