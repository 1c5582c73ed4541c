"""Ends a process that hangs, with or without the interpreter's lock held; tells where it crashed.

RLlib never repairs a runner that doesn't answer. A process that has ended, it does: so a hang is
turned into a crash, and a file says where it hung.
"""

from __future__ import annotations

import faulthandler
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO


class CrashLog:
    """Where a segmentation fault of this process writes where it was: `crash-<name>-<pid>.txt`.

    The file stays only if the process crashed, or ended without `close`.
    """

    def __init__(self, folder: str | Path, name: str) -> None:
        self._path = Path(folder) / f"crash-{name}-{os.getpid()}.txt"
        self._file = self._path.open("w")  # held open as long as the process lives
        faulthandler.enable(file=self._file)

    def close(self) -> None:
        """The process is well and needs it no more."""
        faulthandler.disable()
        self._file.close()
        self._path.unlink(missing_ok=True)


class Watchdog:
    """A context in which something must move on.

    >>> with Watchdog(120.0, folder, "evaluation") as watchdog:
    ...     watchdog.beat()
    """

    def __init__(self, timeout_s: float | None, folder: str | Path | None, name: str) -> None:
        """Sets it up; it watches inside `with`.

        Args:
            timeout_s: seconds from one beat to the next, or to the end; None or 0: for ever.
            folder: for `hang-<name>-<pid>.txt`, which stays only if it hung; None: where we are.
            name: of what is watched.
        """
        self.timeout_s = timeout_s or 0.0
        self._path = Path(folder or os.getcwd()) / f"hang-{name}-{os.getpid()}.txt"
        self._file: TextIO | None = None
        self._beaten_at = 0.0

    def __enter__(self) -> Watchdog:
        if self.timeout_s:
            self._file = self._path.open("w")
            self._arm()
        return self

    def beat(self, *ignored: Any) -> None:
        """Says that it moves on; cheap enough for every tick."""
        if self._file and time.monotonic() - self._beaten_at > self.timeout_s / 8:
            self._arm()

    def _arm(self) -> None:
        self._beaten_at = time.monotonic()
        assert self._file is not None
        faulthandler.dump_traceback_later(self.timeout_s, exit=True, file=self._file)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file:
            faulthandler.cancel_dump_traceback_later()
            self._file.close()
            self._path.unlink(missing_ok=True)
            self._file = None
