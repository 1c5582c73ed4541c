"""The one writer to MLflow: a Tune callback that tracks a sweep's trials through a `Tracker`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback

from experiments.tracking.config import Extras, RunInfo, TrackerConfig
from experiments.tracking.failures import reason_of_trial
from experiments.tracking.spool import PARENT
from experiments.tracking.tracker import Tracker

REPLAYS_INTERVAL_S = 30.0
"""Least time between two evaluations of a trial whose replays are drawn, but for its last: drawing
takes about 0.2 s of CPU time, and must stay well below 2 % of training's."""

Trial = Any
"""`ray.tune.experiment.Trial`; only its id, status, stopping criterion and error file are read."""

_trackers: dict[Path, Tracker] = {}


def open_tracker(config: TrackerConfig) -> Tracker:
    """Returns this process's tracker of a spool folder, opened at the first call.

    A restored `Tuner` brings its own copy of its callbacks; all copies share one tracker.

    Raises:
        ValueError: If an address or folder makes no sense; one sentence.
    """
    config = config.resolved()
    tracker = _trackers.get(config.spool_dir)
    if tracker is None or tracker.is_closed:
        tracker = _trackers[config.spool_dir] = Tracker(config)
    return tracker


class MLflowCallback(Callback):
    """Tracks a sweep: one MLflow experiment a study, a parent run, a child run a trial.

    Give it to `tune.RunConfig(callbacks=[...])`. Its hooks only append to a spool on disk; MLflow
    being down, slow or gone neither slows nor stops training. Tune pickles its callbacks, so the
    three functions must be picklable (cloudpickle: closures are).
    """

    def __init__(
        self,
        config: TrackerConfig,
        *,
        parent: RunInfo | str,
        describe: Callable[[Trial], RunInfo],
        metrics_of: Callable[[dict[str, Any]], Mapping[str, float]],
        step_of: Callable[[dict[str, Any]], int],
        num_steps: int | None = None,
        extras_of: Callable[[dict[str, Any]], Extras] | None = None,
        varied: Sequence[str] = (),
        strips: Sequence[str] = (),
    ) -> None:
        """Checks the config; nothing is opened before `setup`, or the first use of `tracker`.

        Args:
            config: Where to track. Its spool belongs beside Tune's own results, so that
                `Tuner.restore` finds it again.
            parent: The sweep's run, or its name.
            describe: A trial's name, parameters, tags and note.
            metrics_of: The metrics to log of a result, by name (`eval/win_rate`).
            step_of: Env steps so far, of a result.
            num_steps: Env steps of a whole trial; a scheduler's stop there isn't an early one.
            extras_of: Replays, files, tags and alarms that came with a result.
            varied: Parameters that differ between trials, for MLflow's charts and columns.
            strips: Names of film strips, for the same.

        Raises:
            ValueError: If an address or folder makes no sense; one sentence.
        """
        self.config = config.resolved()
        self._parent = RunInfo(name=parent) if isinstance(parent, str) else parent
        self._describe = describe
        self._metrics_of = metrics_of
        self._step_of = step_of
        self._num_steps = num_steps
        self._extras_of = extras_of or _no_extras
        self._varied, self._strips = tuple(varied), tuple(strips)
        self._reset()

    def _reset(self) -> None:
        self._tracker: Tracker | None = None
        self._open: set[str] = set()
        self._stopped_early: set[str] = set()
        self._criteria_known = True
        self._drawn_at: dict[str, float] = {}
        self._shown_step = 0
        self._tags: dict[str, Mapping[str, str]] = {}
        self._alarmed: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        names = [
            "config",
            "_parent",
            "_describe",
            "_metrics_of",
            "_step_of",
            "_num_steps",
            "_extras_of",
            "_varied",
            "_strips",
        ]
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A study that an older version began may lack what is optional.
        self._num_steps, self._extras_of = None, _no_extras
        self._varied, self._strips = (), ()
        self.__dict__.update(state)
        self._reset()

    @property
    def tracker(self) -> Tracker:
        """The tracker behind the callback: for artifacts, notes, and metrics on the parent run."""
        if self._tracker is None:
            self._tracker = open_tracker(self.config)
        return self._tracker

    # --- Tune's hooks -------------------------------------------------------------------------

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Starts the parent run, or continues it."""
        # A stopper object can't be asked again whether it was the one that stopped a trial.
        self._criteria_known = stop is None or isinstance(stop, Mapping)
        self.tracker.start_run(PARENT, self._parent)
        self.tracker.share_view(self._varied, self._strips)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Starts a trial's run, or continues it."""
        key = trial.trial_id
        if key in self._open:
            return  # Tune starts a trial's actor again after a pause or a failure
        self._open.add(key)
        self._stopped_early.discard(key)
        try:
            run = self._describe(trial)
        except Exception as error:
            self._complain("describe", error)
            run = RunInfo(name=key)
        self.tracker.start_run(key, run)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Logs a report: all chosen metrics, in one batch."""
        try:
            step = int(self._step_of(result))
            metrics = self._metrics_of(result)
        except Exception as error:
            self._complain("metrics_of or step_of", error)
            return
        if self.tracker.report(trial.trial_id, metrics, step):
            self._log_extras(trial.trial_id, result, step)
        if result.get("done") and self._criteria_known:
            whole = self._num_steps is not None and step >= self._num_steps
            if not whole and not _meets_criterion(trial, result):
                self._stopped_early.add(trial.trial_id)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Notes a failure that Tune retries."""
        self.tracker.set_tags(trial.trial_id, {"last_failure": _reason(trial)})

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ends a trial's run as failed."""
        self._end(trial.trial_id, "FAILED", {"error": _reason(trial)})

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ends a trial's run as finished."""
        early = trial.trial_id in self._stopped_early
        self._end(trial.trial_id, "FINISHED", {"stopped_by": "scheduler"} if early else {})

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Ends the runs of trials that Tune stopped as a whole, of which it tells no callback."""
        if self._open:
            for trial in trials:
                if trial.trial_id in self._open and trial.status == "TERMINATED":
                    self._end(trial.trial_id, "FINISHED", {"stopped_by": "experiment"})

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Ends the parent run, and waits a bounded time until MLflow has everything."""
        # Interrupted trials are the ones that nobody said had ended: Tune then sets TERMINATED.
        interrupted = sorted(self._open)
        for key in interrupted:
            self._end(key, "KILLED", {})
        num_failed = sum(trial.status == "ERROR" for trial in trials)
        status = "FINISHED"
        if interrupted or any(trial.status in ("PENDING", "PAUSED") for trial in trials):
            status = "KILLED"
        elif trials and num_failed == len(trials):
            status = "FAILED"
        self.tracker.end_run(PARENT, status, {"failed_trials": num_failed} if num_failed else {})
        self.tracker.drain()

    # --- inside -------------------------------------------------------------------------------

    def _log_extras(self, key: str, result: dict[str, Any], step: int) -> None:
        """Logs what came with a result, and has its replays drawn if that is due."""
        extras, done = self._extras_of(result), bool(result.get("done"))
        if extras.tags and extras.tags != self._tags.get(key):
            self.tracker.set_tags(key, extras.tags)
        self._tags[key] = extras.tags or self._tags.get(key, {})
        if done:
            for file in extras.files:
                self.tracker.log_artifact(key, file, Path(file).parent.name)
        is_new = bool(extras.alarm) and key not in self._alarmed
        if extras.alarm and (is_new or done):
            self._alarmed.add(key)
            where = f" Its games: `replays/{step}` among the artifacts." if extras.replays else ""
            self.tracker.set_note(key, extras.alarm + where)
        if extras.replays is None:
            return
        now, last = time.monotonic(), self._drawn_at.get(key)
        if done or is_new or last is None or now - last >= REPLAYS_INTERVAL_S:
            self._drawn_at[key] = now
            self.tracker.log_replays(key, extras.replays, step, videos=done)
            if done and step > self._shown_step:
                self._shown_step = step
                self.tracker.share_view(self._varied, self._strips, step)

    def _end(self, key: str, status: str, tags: Mapping[str, object]) -> None:
        self._open.discard(key)
        self.tracker.end_run(key, status, tags)

    def _complain(self, what: str, error: Exception) -> None:
        """A mistake in a caller's function must not cost a training that has run for hours."""
        self.tracker.notices.warn(
            f"function {what}", f"{what} of the tracking failed and is passed over: {error!r}."
        )


def _meets_criterion(trial: Trial, result: Mapping[str, Any]) -> bool:
    """Whether a result meets the trial's own stopping criterion, such as `{"env/steps": 1000}`."""
    for path, bound in (trial.stopping_criterion or {}).items():
        value: Any = result
        for name in path.split("/"):
            value = value.get(name) if isinstance(value, Mapping) else None
        value = result.get(path) if value is None else value
        if value is not None and value >= bound:
            return True
    return False


def _reason(trial: Trial) -> str:
    """Why a trial failed, in one sentence, from the file that Tune writes beside its results."""
    try:
        return reason_of_trial(Path(trial.error_file).read_text(errors="replace"))
    except (OSError, TypeError):
        return "unknown"


def _no_extras(result: Mapping[str, Any]) -> Extras:
    """Of a trial that has metrics alone."""
    return Extras()
