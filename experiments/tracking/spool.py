"""The spool: what MLflow is to be told, kept on disk until it has been told.

A spool is a folder that belongs to one sweep:

    spool.json          study, tracking URI, and an id that marks this spool's runs in MLflow
    runs/KEY.jsonl      one run's operations, oldest first, append-only; the parent's key is
                        `parent`, a trial's is its Ray trial id
    state/KEY.json      MLflow's run id, and the offset in runs/KEY.jsonl that MLflow has acked
    artifacts/          files that were copied so that they can be delivered later
    refused.jsonl       operations that MLflow refused for good, each with the reason
    delivery.lock       held by the process that delivers

Guarantees: an operation that reached the file survives the death of this process; one that was
also synced survives a power cut; a last line that was cut short counts as never written.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

PARENT = "parent"
"""Key of the parent run."""

Op = dict[str, Any]
"""One operation: a JSON object whose `op` is create, report, metrics, tags, status, artifact,
replays or view."""

POINT_OPS = ("report", "metrics")
"""Operations that carry metric points. Reports also move a run's last logged step."""

_BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `spool.json` says."""

    id: str
    """Random; the tag `clowder.run` of this spool's runs starts with it."""
    study: str
    """Name of the MLflow experiment."""
    tracking_uri: str
    """Where the points go. Holds no credentials: `check_tracking_uri` refuses them."""
    artifact_root: str
    """Folder or URI for artifacts; not used with an MLflow server, which has its own."""


class MemoryBudget:
    """What a spool may keep in memory while its disk takes nothing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Bytes."""
        self.used = 0
        """Bytes kept now."""
        self.dropped_points = 0
        """Points that found room neither on disk nor in memory."""


def num_points(op: Op | None) -> int:
    """The number of metric points in an operation."""
    return len(op["metrics"]) if op and op.get("op") in POINT_OPS else 0


def write_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """Replaces a small JSON file so that readers see the old content or the new, never a part."""
    from env.files import in_one_piece  # Whose package brings numpy.

    with in_one_piece(path) as temporary:
        temporary.write_text(json.dumps(content))


def read_manifest(directory: Path) -> Manifest | None:
    """Returns what a folder's `spool.json` says; None if it is not there or not readable."""
    try:
        return Manifest(**json.loads((directory / "spool.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def decode(line: bytes) -> Op | None:
    """Returns the operation in a line, or None if the line is damaged."""
    try:
        op = json.loads(line)
    except ValueError:
        return None
    return op if isinstance(op, dict) and isinstance(op.get("op"), str) else None


class RunLog:
    """One run's operations: a file of JSON lines and, after it, what the disk would not take.

    `append`, `flush`, `forget` and `close` happen under the tracker's lock. The delivery alone
    calls `flush` and `forget`, so that no line moves to disk while it is being delivered.
    """

    def __init__(self, path: Path, budget: MemoryBudget) -> None:
        self.path = path
        self.backlog: deque[bytes] = deque()
        """Lines that follow the file's, in memory."""
        self.size = _size_of_whole_lines(path)
        """Bytes of whole lines in the file."""
        self._budget = budget
        self._fd: int | None = None
        self._dirty = False

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever logged here."""
        return self.size == 0 and not self.backlog

    def append(self, op: Op) -> OSError | None:
        """Adds an operation: to the file or, if the disk takes nothing, to memory.

        Returns:
            The disk's error, if it went to memory.
        """
        line = json.dumps(op, separators=(",", ":"), default=str).encode() + b"\n"
        failure: OSError | None = None
        if not self.backlog:
            failure = self._write(line)
            if failure is None:
                return None
        points = num_points(op)
        if points and self._budget.used + len(line) > self._budget.limit:
            self._budget.dropped_points += points
        else:
            self._budget.used += len(line)
            self.backlog.append(line)
        return failure

    def flush(self, limit: int = 100) -> bool:
        """Moves up to `limit` lines from memory to the file; whether the disk took any."""
        moved = 0
        while self.backlog and moved < limit and self._write(self.backlog[0]) is None:
            self.forget(1)
            moved += 1
        return moved > 0

    def forget(self, count: int) -> None:
        """Drops the oldest lines in memory, which have reached the file or MLflow."""
        for _ in range(count):
            self._budget.used -= len(self.backlog.popleft())

    def sync(self) -> None:
        """Waits until the file's content is on the disk, if anything is new.

        Takes a descriptor of its own, since the tracker may close the other at any time.
        """
        if not self._dirty:
            return
        self._dirty = False
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Closes the file; a later append opens it again."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def read(self, offset: int) -> list[tuple[Op | None, int]]:
        """Returns operations from `offset` of the file on, each with the offset after it.

        A damaged line gives None. Returns at least one operation if there is one.
        """
        if offset >= self.size:
            return []
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read(min(_BLOCK, self.size - offset))
                if b"\n" not in data:
                    data += file.read(self.size - offset - len(data))
        except OSError:
            return []
        found = []
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            offset += len(line)
            found.append((decode(line), offset))
        return found

    def last_step(self) -> int | None:
        """The step of the last report, from the end of the file backwards."""
        for line in reversed(self.backlog):
            op = decode(line)
            if op and op["op"] == "report":
                return int(op["step"])
        end = self.size
        window = _BLOCK
        while end:
            start = max(0, end - window)
            with self.path.open("rb") as file:
                file.seek(start)
                lines = file.read(end - start).splitlines()
            # The first line of a window may be the second half of a line.
            for line in reversed(lines if start == 0 else lines[1:]):
                op = decode(line)
                if op and op["op"] == "report":
                    return int(op["step"])
            if start == 0:
                return None
            window *= 4
        return None

    def _write(self, line: bytes) -> OSError | None:
        """Appends a whole line to the file, or leaves the file as it was."""
        try:
            if self._fd is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                # What follows the last whole line was cut short by a power cut or a full disk.
                os.ftruncate(self._fd, self.size)
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.close()  # opening it again cuts off the part that was written
            return error
        self.size += len(line)
        self._dirty = True
        return None


class Spool:
    """The folder of one sweep, opened."""

    def __init__(self, directory: Path, memory_limit: int = 64 << 20) -> None:
        """Opens a spool; nothing is written before the first operation.

        Args:
            directory: The spool's folder.
            memory_limit: Bytes kept in memory while the disk takes nothing.
        """
        self.directory = directory
        self.budget = MemoryBudget(memory_limit)
        self.logs: dict[str, RunLog] = {}
        for path in sorted((directory / "runs").glob("*.jsonl")):
            self.logs[unquote(path.stem)] = RunLog(path, self.budget)

    def log(self, key: str) -> RunLog:
        """Returns a run's log, a new one for a new key."""
        if key not in self.logs:
            path = self.directory / "runs" / f"{quote(key, safe='')}.jsonl"
            self.logs[key] = RunLog(path, self.budget)
        return self.logs[key]

    def state_path(self, key: str) -> Path:
        """The file that says how far a run's log has been delivered."""
        return self.directory / "state" / f"{quote(key, safe='')}.json"

    def claim(self, *, study: str, tracking_uri: str, artifact_root: str) -> Manifest:
        """Returns the manifest, for this study and address from now on.

        Raises:
            OSError: If the folder can't be written.
        """
        old = read_manifest(self.directory)
        manifest = Manifest(
            id=old.id if old else uuid.uuid4().hex,
            study=study,
            tracking_uri=tracking_uri,
            artifact_root=artifact_root,
        )
        if manifest != old:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_atomically(self.directory / "spool.json", asdict(manifest))
        return manifest


def _size_of_whole_lines(path: Path) -> int:
    """Bytes up to and with the last newline of a file; 0 if there is no file."""
    try:
        end = path.stat().st_size
        with path.open("rb") as file:
            while end:
                start = max(0, end - _BLOCK)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    return start + newline + 1
                end = start
    except OSError:
        pass
    return 0
