"""Jobs of a Ray cluster by its job server: Ray's own client, with sentences for errors."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from env.errors import BadInputError

STUDY = "clowder_study"
"""Key of a job's metadata: the study that it runs."""
TIMEOUT_S = 10.0
"""How long a server may take to answer, seconds."""
QUIET_S = 30.0
"""A job that has said nothing for so long is asked after, seconds."""
GONE_S = 180.0
"""A cluster that hasn't answered for so long is taken to be gone, seconds."""
CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers that tell users of the verb what they needn't know; Ray sets each one's level itself."""
_ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


def address_of(given: str) -> str:
    """The job server's address: as given, else RAY_API_SERVER_ADDRESS.

    Raises:
        BadInputError: there is none, or it is not one of HTTP.
    """
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS", "")
    if not address:
        raise BadInputError(
            "which cluster? name its job server with --address, such as http://127.0.0.1:8265, or "
            "set RAY_API_SERVER_ADDRESS."
        )
    if not address.startswith(("http://", "https://")):
        raise BadInputError(
            f"{address!r} is no job server's address; give one like http://127.0.0.1:8265 (the "
            "head's dashboard)."
        )
    return address


def bracketed(host: str) -> str:
    """A host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def connect(given: str) -> Any:
    """Ray's `JobSubmissionClient`.

    The token comes from RAY_AUTH_TOKEN, from the file that RAY_AUTH_TOKEN_PATH names, or from
    `~/.ray/auth_token`; RAY_AUTH_MODE=disabled sends none.

    Raises:
        BadInputError: nobody answers there, or it wants another token.
    """
    address = address_of(given)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Ray prefers these to what it is told.
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        os.environ.pop(name, None)
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)

    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        what = "wants a token" if "required" in str(error) else "refuses this token"
        raise BadInputError(
            f"the cluster at {address} {what}; put its token into a file of your own and name that "
            "with RAY_AUTH_TOKEN_PATH."
        ) from error
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise BadInputError(
            f"no Ray job server answers at {address} ({_first_line(error)}); is the cluster up, "
            "and the tunnel to it?"
        ) from error


def nodes(address: str, token_path: Path | None = None) -> list[dict[str, Any]]:
    """What the cluster says of its nodes that are up, to whoever has the token; nothing without it.

    Args:
        address: the job server's.
        token_path: file of the token; without it the one that Ray would use.
    """
    import requests

    path = token_path or token_file()
    token = "" if token_path else os.environ.get("RAY_AUTH_TOKEN", "")
    if not token and path.is_file():
        token = path.read_text(encoding="utf-8").strip()
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy sees the token, no .netrc replaces it
            answer = session.get(
                f"{address.rstrip('/')}/nodes?view=summary",
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=TIMEOUT_S,
            )
        found = answer.json()["data"]["summary"]
        return [one["raylet"] for one in found if one["raylet"].get("state") == "ALIVE"]
    except (requests.RequestException, OSError, ValueError, KeyError, TypeError):
        return []


def token_file() -> Path:
    """Where Ray looks for the token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()


def find(client: Any, job: str) -> Any:
    """Details of a job by its id, or of the newest job of a study by the study's name.

    Raises:
        BadInputError: there is none.
    """
    jobs = of_clowder(client)
    for one in jobs:
        if job in (one.submission_id, one.metadata[STUDY]):
            return one
    known = ", ".join(one.submission_id for one in jobs[:8]) or "none"
    raise BadInputError(f"there is no job {job!r} on this cluster; there are: {known}.")


def of_clowder(client: Any) -> list[Any]:
    """Details of all jobs that were submitted by `clowder submit`, the newest first."""
    mine = [one for one in client.list_jobs() if STUDY in (one.metadata or {})]
    return sorted(mine, key=lambda one: -(one.start_time or 0))


def is_over(status: str) -> bool:
    """Whether a job has ended, well or not."""
    return status in _ENDED


def follow(client: Any, job: str, show: Callable[[str], None]) -> str:
    """Passes a job's output on until it ends; a connection that breaks, or falls silent with a
    cluster that doesn't answer, is made again.

    Returns:
        The status that it ended with.

    Raises:
        BadInputError: the cluster has not answered for GONE_S, knows no such job any more, or wants
            another token.
    """
    import aiohttp
    from ray.exceptions import AuthenticationError

    num_shown, silent_since = 0, None

    def ask() -> str:
        return str(_within(TIMEOUT_S, lambda: client.get_job_status(job)).value)

    async def tail() -> None:
        """The output from its beginning, which is how Ray sends it, without what was shown."""
        nonlocal num_shown
        position, texts = 0, client.tail_job_logs(job)
        while True:
            coming = asyncio.ensure_future(anext(texts, None))
            # Ray sets no time limit: whoever was cut off without a word would wait for good.
            while not (await asyncio.wait({coming}, timeout=QUIET_S))[0]:
                try:
                    ask()
                except BaseException:
                    coming.cancel()
                    raise
            if (text := coming.result()) is None:
                return
            new = text[max(0, num_shown - position) :]
            position += len(text)
            if new:
                show(new)
                num_shown = position

    while True:
        try:
            asyncio.run(tail())
            status = ask()
            if is_over(status):
                return status
            silent_since = None
        except AuthenticationError as error:
            raise BadInputError(
                f"the cluster refuses this token now ({_first_line(error)}); put its new one into "
                "the file that RAY_AUTH_TOKEN_PATH names, and attach again."
            ) from error
        except (OSError, RuntimeError, aiohttp.ClientError) as error:
            if _knows_nothing_of(client, job):
                raise BadInputError(
                    f"the cluster knows no job {job} any more (its head was started anew?); submit "
                    "the same again, it goes on from the study's storage."
                ) from error
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > GONE_S:
                raise BadInputError(
                    f"the cluster has not answered for {GONE_S:.0f} s ({_first_line(error)}); the "
                    "job may go on: attach again later. If the cluster is lost, submit the same "
                    "again to another one, it goes on from the study's storage."
                ) from error
        time.sleep(1.0)


def _knows_nothing_of(client: Any, job: str) -> bool:
    """Whether the cluster answers, and has no such job."""
    try:
        _within(TIMEOUT_S, lambda: client.get_job_status(job))
    except RuntimeError as error:
        return "status code 404" in str(error)
    except Exception:  # no answer, or another one
        return False
    return False


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What a call returns or raises; Ray's client has no time limits of its own.

    Raises:
        TimeoutError: it hasn't returned in time; its thread is left behind.
    """
    found: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def run() -> None:
        try:
            found.put((call(), None))
        except BaseException as error:
            found.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = found.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None
    if error is not None:
        raise error
    return value


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
