"""What must not pass as success: crashing, dead, hanging and lazy runners, and weights gone bad.

RLlib and Tune report a trial as well whose every runner dies in every iteration, or that was
promised a million steps and sampled none. A guard looks at each iteration and says the reason.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STOPPED_FILE = "stopped.json"
"""Left in a trial's folder by a failure that trying again can't mend."""
MAX_SHORT_ITERATIONS = 3
"""Iterations in a row with fewer env steps than promised, after which a trial has failed..."""
PATIENCE_S = 30.0
"""...if they took this long: a runner that is started again needs some seconds."""


class TrialFailure(RuntimeError):
    """Why a trial has failed, in one sentence."""


class RunnerGuard:
    """Watches what the runners of one trial deliver."""

    def __init__(
        self,
        *,
        promised_env_steps: int,
        num_env_runners: int,
        max_failures: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts with nothing held against anybody.

        Args:
            promised_env_steps: of every iteration.
            num_env_runners: remote ones.
            max_failures: restarts of runners that are still forgiven.
            clock: seconds.
        """
        self.promised_env_steps = promised_env_steps
        self.num_env_runners = num_env_runners
        self.max_failures = max_failures
        self.num_restarts = 0
        self._restarts_before = 0
        self._num_short = 0
        self._clock = clock
        self._short_since = 0.0

    def check(self, result: Mapping[str, Any], num_env_steps: int) -> None:
        """Judges an iteration.

        Args:
            result: RLlib's.
            num_env_steps: sampled in it.

        Raises:
            TrialFailure: runners crashed once too often, or delivered too little too often.
        """
        health = result.get("fault_tolerance", {})
        self.num_restarts = self._restarts_before + int(health.get("num_remote_worker_restarts", 0))
        if self.num_restarts > self.max_failures:
            raise TrialFailure(
                f"its runners crashed or hung {_times(self.num_restarts)}, more than the "
                f"{self.max_failures} that are forgiven (run.max_failures)."
            )
        self._num_short = self._num_short + 1 if num_env_steps < self.promised_env_steps else 0
        if self._num_short <= 1:
            self._short_since = self._clock()
        is_long = self._clock() - self._short_since >= PATIENCE_S
        if self._num_short >= MAX_SHORT_ITERATIONS and is_long:
            healthy = int(health.get("num_healthy_workers", 0))
            alive = f", {healthy} of {self.num_env_runners} runners alive"
            raise TrialFailure(
                f"{self._num_short} iterations in a row brought too few env steps, the last "
                f"{num_env_steps} of {self.promised_env_steps}"
                f"{alive * bool(self.num_env_runners)}; see why in hang-*.txt and crash-*.txt in "
                "the trial's folder, or raise run.hang_timeout_s if runners are only slow."
            )

    def get_state(self) -> dict[str, int]:
        """What outlives a restart of the trial."""
        return {"num_restarts": self.num_restarts}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes on counting."""
        self.num_restarts = self._restarts_before = int(state.get("num_restarts", 0))


def mark_stopped(folder: Path, reason: str) -> None:
    """Notes a failure for good: Tune would start the trial again, only to meet it again."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOPPED_FILE).write_text(json.dumps({"reason": reason}) + "\n")


def check_not_stopped(folder: Path) -> None:
    """Refuses to go on with a trial that has failed for good.

    Raises:
        TrialFailure: with the reason of then.
    """
    try:
        reason = json.loads((folder / STOPPED_FILE).read_text())["reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    raise TrialFailure(str(reason))


def explain(error: str, folder: Path) -> str:
    """Why a trial failed, in one sentence: its own reason, or what its dead process left behind.

    Args:
        error: what Tune says, any number of lines.
        folder: the trial's.
    """
    line = error.strip().splitlines()[-1] if error.strip() else "unknown"
    _, colon, reason = line.partition("TrialFailure: ")
    if colon:
        return reason
    is_death = any(word in error for word in ("ActorDiedError", "died unexpectedly", "ActorUnav"))
    for pattern, what in (("hang-*.txt", "hung"), ("crash-*.txt", "crashed")):
        found = [path for path in sorted(folder.glob(pattern)) if path.stat().st_size]
        # Ray names the process that died: what an earlier one left doesn't explain it.
        pids = set(re.findall(r"pid\W{1,3}(\d+)", error))
        is_its = not pids or any(path.stem.rpartition("-")[2] in pids for path in found)
        if is_death and found and is_its:
            times = _times(len(found))
            return f"its simulator {what} {times} and took the process along; see {found[-1]}"
    if is_death:
        return (
            "its process was killed from outside, perhaps because memory ran out; run fewer trials "
            "at once (sweep.max_concurrent), or smaller ones (ppo.num_envs)."
        )
    return line


def _times(count: int) -> str:
    return f"{count} time{'s' * (count != 1)}"
