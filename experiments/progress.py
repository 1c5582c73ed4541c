"""What a person sees while trials run: a line a trial on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.live import Live
from rich.table import Table

from experiments.space import variant_name


def duration(seconds: float) -> str:
    """1:05 or 2:01:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress(Callback):
    """Prints env steps, speed and held-out win rates while Tune runs."""

    def __init__(self, total_env_steps: int, num_trials: int) -> None:
        self.total_env_steps = total_env_steps
        self.num_trials = num_trials
        self._begin()

    def _begin(self) -> None:
        self._latest: dict[str, dict[str, Any]] = {}
        self._names: dict[str, str] = {}
        self._status: dict[str, str] = {}
        self._ended: set[str] = set()
        self._started = time.monotonic()
        self._console = Console(soft_wrap=True)
        self._live: Live | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"total_env_steps": self.total_env_steps, "num_trials": self.num_trials}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    # -- Tune's hooks

    def setup(self, **info: Any) -> None:
        """Opens the live table on a terminal."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process is being started."""
        # Those of an experiment that goes on may have ended before this process began.
        self._ended |= {one.trial_id for one in trials if one.status == one.TERMINATED}
        self._names[trial.trial_id] = variant_name(trial.config)
        self._set(trial, "starting")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A report: remembered, and told if it brings an evaluation."""
        latest = self._latest.setdefault(trial.trial_id, {})
        latest.update(result)
        self._set(trial, "training")
        if result.get("notice"):
            self._console.print(f"{self._names[trial.trial_id]}: {result['notice']}")
        if "eval/win_rate" in result and self._live is None:
            self._console.print(self._line(trial.trial_id), highlight=False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial is done."""
        self._ended.add(trial.trial_id)
        self._set(trial, "done")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has failed."""
        self._set(trial, "failed")
        name = self._names.get(trial.trial_id) or variant_name(trial.config)
        self._console.print(f"trial {name} failed: see {trial.error_file}")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Closes the live table."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    # -- inside

    def _set(self, trial: Any, status: str) -> None:
        self._status[trial.trial_id] = status
        if self._live is not None:
            self._live.update(self._table())

    def _line(self, key: str) -> str:
        latest = self._latest[key]
        return (
            f"[{duration(time.monotonic() - self._started)}] "
            f"{len(self._ended)}/{self.num_trials} trials done | "
            f"{self._names[key]}: {latest['env_steps']:,} of {self.total_env_steps:,} env steps, "
            f"held-out win rate {latest['eval/win_rate']:.2f}, "
            + "".join(f"{said}, " for said in _second(latest))
            + f"{latest['time/agent_steps_per_second']:,.0f} agent-steps/s"
        )

    def _table(self) -> Table:
        elapsed = duration(time.monotonic() - self._started)
        table = Table(
            title=f"{elapsed}   Ctrl-C stops; the run can be resumed", title_justify="left"
        )
        for column in ("trial", "state", "env steps", "win rate", "", "return", "steps/s"):
            table.add_column(column, justify="left" if column in ("trial", "state") else "right")
        for key, name in self._names.items():
            latest = self._latest.get(key, {})

            def show(metric: str, form: str, latest: dict[str, Any] = latest) -> str:
                return format(latest[metric], form) if metric in latest else ""

            share = latest.get("env_steps", 0) / self.total_env_steps
            table.add_row(
                name,
                self._status[key],
                f"{latest.get('env_steps', 0):,} ({min(share, 1):.0%})",
                show("eval/win_rate", ".2f"),
                "".join(_second(latest)),
                show("train/return", ".2f"),
                show("time/agent_steps_per_second", ",.0f"),
            )
        return table


def _second(latest: dict[str, Any]) -> list[str]:
    """What tells teams apart that win alike, if there is such a thing: cats that got out, or the
    rating."""
    forms = {"eval/exits": "exits {:.2f}", "rating/elo": "Elo {:.0f}"}
    return [form.format(latest[metric]) for metric, form in forms.items() if metric in latest]
