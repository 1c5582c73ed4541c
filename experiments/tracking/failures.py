"""What went wrong between us and MLflow, in one sentence, once, and without a flood."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from experiments.tracking.address import redact

LOGGER = logging.getLogger("clowder.tracking")
"""Everything that tracking has to say to a user."""

_FOR_GOOD = frozenset(
    {
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "MALFORMED_REQUEST",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)
"""MLflow's error codes that the same request would meet again at any time."""

_CHATTY = ("urllib3.connectionpool", "mlflow.utils.rest_utils", "mlflow.store.db.utils", "alembic")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\")]+)")
_delivering: set[int] = set()


class Unavailable(Exception):
    """MLflow can't be told now; its text is the reason, without a full stop."""


def is_refusal(error: Exception) -> bool:
    """Whether MLflow itself refused this request for good.

    An answer that is not MLflow's, such as the 404 of some other server at that address, does not
    count: nothing may be set aside because of it.
    """
    from mlflow.exceptions import MlflowException, RestException

    if not isinstance(error, MlflowException) or error.error_code not in _FOR_GOOD:
        return False
    return isinstance(error, RestException) or not str(error).startswith("API request to")


def one_sentence(error: BaseException | str, limit: int = 240) -> str:
    """Returns the gist of an error: one line, no credentials, no full stop."""
    text = redact(_ANSI.sub("", str(error))).strip()
    errno = _ERRNO.search(text)
    if "failed with timeout" in text or "Read timed out" in text:
        text = "no answer in time"
    elif errno and ("HTTPConnectionPool" in text or text.startswith("[Errno")):
        text = errno.group(1).lower()
    elif "too many" in text and "error responses" in text:
        text = "the server answers with errors: " + text[text.find("too many") :].rstrip("')")
    text = text.splitlines()[0] if text else type(error).__name__
    return (text if len(text) <= limit else text[: limit - 1] + "…").rstrip(". ")


def reason_of_trial(text: str) -> str:
    """Returns the gist of a trial's error file: the exception's line of the latest failure."""
    latest = _ANSI.sub("", text).split("Failure # ")[-1]
    lines = [line.strip() for line in latest.splitlines()[1:] if line.strip()]
    if not lines:
        return "unknown"
    return one_sentence(lines[-1] if "Traceback" in latest or "ray::" in latest else lines[0], 500)


class Notices:
    """Warnings that are given once a topic until the topic is settled."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    def warn(self, topic: str, sentence: str) -> bool:
        """Warns, unless this topic has been warned about and not settled since; whether it did."""
        if topic in self._open:
            return False
        self._open.add(topic)
        LOGGER.warning("%s", sentence)
        return True

    def settle(self, topic: str) -> bool:
        """Lets the topic be warned about again; whether there was a warning."""
        was_open = topic in self._open
        self._open.discard(topic)
        return was_open


class _Quiet(logging.Filter):
    """Drops what libraries log while they deliver: `Notices` says it once, in one sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread not in _delivering or record.levelno >= logging.ERROR


_QUIET = _Quiet()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silences retry warnings and migration notes of the calling thread."""
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_QUIET)  # adding it twice is adding it once
    _delivering.add(threading.get_ident())
    try:
        yield
    finally:
        _delivering.discard(threading.get_ident())
