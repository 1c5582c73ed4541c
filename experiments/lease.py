"""A lease on a folder: one process, of all machines that see the folder, works in it.

    with Lease(folder, what="the study reward_sweep"):
        ...

The holder renews a file in the folder. Whoever finds one that a living holder renews is refused;
one that nobody renews any more is taken over. Clocks of machines are never compared: who wants the
folder watches the file for a while, by an own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from env.errors import BadInputError
from env.files import in_one_piece

LEASE_FILE = "lease"
"""Not .json or .pkl: whatever ends so in an experiment's folder Tune copies when it restores and
writes back with its state, over a holder's renewals and not in one piece."""
RENEW_S = 3.0
"""How often a holder renews, seconds."""
EXPIRE_S = 20.0
"""A lease that was not renewed for so long, by the clock of who looks, is nobody's; seconds."""


def _interrupt(reason: str) -> None:
    """Ends this process as Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


class Lease:
    """Held inside `with`."""

    def __init__(
        self,
        folder: Path,
        *,
        what: str,
        on_loss: Callable[[str], None] = _interrupt,
        renew_s: float = RENEW_S,
        expire_s: float = EXPIRE_S,
    ) -> None:
        """Sets it up.

        Args:
            folder: what is to be held; must exist.
            what: how to call it in messages.
            on_loss: called from another thread, with the reason, if somebody else took over or the
                file could not be renewed for `expire_s`.
            renew_s, expire_s: see `RENEW_S` and `EXPIRE_S`.
        """
        self.path = folder / LEASE_FILE
        self.what = what
        self.loss = ""
        """Why it was lost; empty as long as it is held."""
        self._on_loss = on_loss
        self._renew_s = renew_s
        self._expire_s = expire_s
        self._token = uuid.uuid4().hex
        self._count = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Takes the lease, which may mean to watch a dead holder's for `expire_s`.

        Raises:
            BadInputError: somebody holds it.
            OSError: the folder can't be written.
        """
        while not self._create():
            found = _read(self.path)
            if found is None or not self._is_abandoned(found):
                continue  # gone, or renewed: `_is_abandoned` has raised for a living holder
            self._remove(found)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(self._renew_s)
        with contextlib.suppress(OSError):
            if (found := _read(self.path)) and found["token"] == self._token:
                self.path.unlink()

    # -- taking

    def _create(self) -> bool:
        """Writes the file if there is none; exactly one of all who try succeeds, on NFS as well."""
        temporary = self.path.with_name(f".{LEASE_FILE}.{self._token}")
        temporary.write_text(self._text())
        try:
            os.link(temporary, self.path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def _is_abandoned(self, found: dict[str, Any]) -> bool:
        """Watches a lease: True if its holder is dead or silent, False if it has gone meanwhile.

        Raises:
            BadInputError: it was renewed.
        """
        if _is_dead(found):
            return True
        end = time.monotonic() + self._expire_s
        while time.monotonic() < end:
            time.sleep(min(self._renew_s / 4, 0.5))
            now = _read(self.path)
            if now is None:
                return False
            if now != found:
                raise BadInputError(
                    f"{self.what} is being run by process {now['pid']} on {now['host']}; wait for "
                    "it, stop it, or use --resume never to start another beside it."
                )
        return True

    def _remove(self, found: dict[str, Any]) -> None:
        """Takes an abandoned lease away. Of all who try one succeeds, and what that one has in hand
        may be a new holder's, who was quicker: then it is put back."""
        aside = self.path.with_name(f".{LEASE_FILE}.{self._token}.old")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        if _read(aside) != found:
            with contextlib.suppress(FileExistsError):
                os.link(aside, self.path)
        aside.unlink()

    # -- keeping

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(self._renew_s):
            try:
                found = _read(self.path)
                if found is not None and found["token"] != self._token:
                    return self._lose(f"process {found['pid']} on {found['host']} took over")
                self._count += 1
                with in_one_piece(self.path) as temporary:
                    temporary.write_text(self._text())
                renewed = time.monotonic()
            except OSError as error:
                if time.monotonic() - renewed > self._expire_s:
                    return self._lose(f"{self.path} can't be written ({error.strerror})")
        return None

    def _lose(self, reason: str) -> None:
        self.loss = f"{self.what} is no longer run from here: {reason}."
        self._on_loss(self.loss)

    def _text(self) -> str:
        return json.dumps(_this_process() | {"token": self._token, "count": self._count}) + "\n"


def is_held(folder: Path) -> bool:
    """Whether a process works in a folder, as far as one look can tell."""
    found = _read(folder / LEASE_FILE)
    if found is None or _is_dead(found):
        return False
    try:
        return time.time() - (folder / LEASE_FILE).stat().st_mtime < EXPIRE_S
    except OSError:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    """A lease; None if there is no readable one.

    Raises:
        OSError: the storage doesn't answer.
    """
    try:
        found = json.loads(path.read_text())
        if {"token", "pid", "host", "where", "born"} <= set(found):
            return dict(found)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        pass
    # Leases appear in one piece; whatever this is, nobody will renew it.
    return {"token": "", "pid": 0, "host": "nowhere", "where": "", "born": ""}


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "where": _where(), "born": _born(pid)}


def _where() -> str:
    """Inside what process numbers mean something: this boot of this machine, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, in ticks since the boot; empty if there is none, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _is_dead(found: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    return (
        bool(found["where"]) and found["where"] == _where() and _born(found["pid"]) != found["born"]
    )
