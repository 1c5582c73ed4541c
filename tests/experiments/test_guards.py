"""Guards: what must not pass as success fails the trial, and says why in one sentence."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.guards import (
    MAX_SHORT_ITERATIONS,
    PATIENCE_S,
    STOPPED_FILE,
    RunnerGuard,
    TrialFailure,
    check_not_stopped,
    explain,
    mark_stopped,
)

PROMISED = 256


def make_guard(*, num_env_runners: int = 2, max_failures: int = 2) -> RunnerGuard:
    return RunnerGuard(
        promised_env_steps=PROMISED,
        num_env_runners=num_env_runners,
        max_failures=max_failures,
        clock=itertools.count(step=PATIENCE_S).__next__,
    )


def test_runners_that_are_being_started_again_have_time() -> None:
    guard = RunnerGuard(
        promised_env_steps=PROMISED, num_env_runners=2, max_failures=2, clock=lambda: 1.0
    )
    for _ in range(10):
        guard.check(health(healthy=0), 0)


def health(*, restarts: int = 0, healthy: int = 2) -> dict[str, Any]:
    """What RLlib says of its runners; restarts since they were made."""
    return {
        "fault_tolerance": {
            "num_remote_worker_restarts": restarts,
            "num_healthy_workers": healthy,
        }
    }


def is_one_sentence(text: str) -> bool:
    return "\n" not in text and re.search(r"[.!?]\s+[A-Z]", text) is None


def failure_of(guard: RunnerGuard, result: dict[str, Any], num_env_steps: int = PROMISED) -> str:
    with pytest.raises(TrialFailure) as caught:
        guard.check(result, num_env_steps)
    assert is_one_sentence(str(caught.value)) and str(caught.value).endswith(".")
    return str(caught.value)


# -- runners that crash or hang


def test_restarts_up_to_the_bound_are_forgiven() -> None:
    guard = make_guard(max_failures=2)
    # RLlib counts all of them in every iteration: two stay two.
    for restarts in (0, 1, 2, 2, 2, 2):
        guard.check(health(restarts=restarts), PROMISED)
    assert guard.num_restarts == 2


def test_one_restart_more_fails_with_count_bound_and_setting() -> None:
    guard = make_guard(max_failures=2)
    guard.check(health(restarts=2), PROMISED)
    reason = failure_of(guard, health(restarts=3))
    for part in ("3 times", "2 that are forgiven", "run.max_failures"):
        assert part in reason


def test_with_no_failure_forgiven_the_first_restart_fails() -> None:
    guard = make_guard(max_failures=0)
    guard.check(health(), PROMISED)
    assert "1 time" in failure_of(guard, health(restarts=1))


def test_the_count_outlives_a_restart_of_the_trial() -> None:
    before = make_guard(max_failures=2)
    before.check(health(restarts=2), PROMISED)
    state = json.loads(json.dumps(before.get_state()))  # as it lies in a checkpoint's manifest

    guard = make_guard(max_failures=2)
    guard.set_state(state)
    guard.check(health(restarts=0), PROMISED)  # new runners, of which none has crashed
    assert guard.get_state() == state
    assert "3 times" in failure_of(guard, health(restarts=1))


def test_a_state_from_before_there_were_guards_counts_from_nothing() -> None:
    guard = make_guard(max_failures=1)
    guard.set_state({})
    guard.check(health(restarts=1), PROMISED)
    assert guard.num_restarts == 1


# -- iterations that bring too little


def test_too_few_env_steps_in_a_row_fail_with_the_numbers() -> None:
    guard = make_guard()
    for _ in range(MAX_SHORT_ITERATIONS - 1):
        guard.check(health(healthy=1), PROMISED - 1)
    reason = failure_of(guard, health(healthy=0), 17)
    for part in (f"{MAX_SHORT_ITERATIONS} iterations in a row", "17 of 256", "0 of 2 runners"):
        assert part in reason


def test_without_remote_runners_none_is_called_dead() -> None:
    guard = make_guard(num_env_runners=0)
    for _ in range(MAX_SHORT_ITERATIONS - 1):
        guard.check({}, 0)
    reason = failure_of(guard, {}, 0)
    assert "0 of 256" in reason and "alive" not in reason


def test_short_iterations_with_a_whole_one_between_are_forgiven() -> None:
    guard = make_guard()
    for _ in range(3):
        for _ in range(MAX_SHORT_ITERATIONS - 1):
            guard.check(health(), 0)
        guard.check(health(), PROMISED)


def test_more_than_promised_is_enough() -> None:
    guard = make_guard()
    for _ in range(2 * MAX_SHORT_ITERATIONS):
        guard.check(health(), PROMISED + 1)


def test_too_few_env_steps_come_with_a_remedy() -> None:
    guard = make_guard()
    for _ in range(MAX_SHORT_ITERATIONS - 1):
        guard.check(health(), 0)
    reason = failure_of(guard, health(), 0)
    assert ";" in reason or "run." in reason or "ppo." in reason


# -- failures for good


def test_a_failure_for_good_is_remembered_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "trial"  # not made yet: a failure may come before anything is written
    check_not_stopped(folder)
    mark_stopped(folder, 'it "blew up"; lower ppo.lr (é).')
    for _ in range(2):
        with pytest.raises(TrialFailure) as caught:
            check_not_stopped(folder)
        assert str(caught.value) == 'it "blew up"; lower ppo.lr (é).'
    mark_stopped(folder, "another")
    with pytest.raises(TrialFailure, match=r"^another$"):
        check_not_stopped(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", '{"rea'])
def test_a_torn_note_stops_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / STOPPED_FILE).write_text(text)
    check_not_stopped(tmp_path)


# -- explaining

REASON = "its runners crashed or hung 3 times, more than the 2 that are forgiven."
IN_STEP = (
    "\x1b[36mray::Trial.train()\x1b[39m (pid=1, ip=10.0.0.1)\n"
    '  File "trial.py", line 1, in step\n'
    "    self.guard.check(result)\n"
    f"experiments.guards.TrialFailure: {REASON}\n"
)
"""How Tune tells an error that a trial has raised."""
IN_SETUP = (
    "ray.exceptions.ActorDiedError: The actor died because of an error raised in its creation "
    "task, \x1b[36mray::Trial.__init__()\x1b[39m\n"
    f"experiments.guards.TrialFailure: {REASON}"
)
DEATH = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some "
    "common causes include: (1) the process was killed by the OOM killer due to high memory usage, "
    "(2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV or "
    "another unexpected error."
)
"""Ray 2.60's own words, shortened at the end."""
DIED = tuple(
    f"{words}\n{DEATH}"
    for words in (
        "ray.exceptions.ActorDiedError: The actor died before finishing this task.",
        "The worker died unexpectedly.",
        "ray.exceptions.ActorUnavailableError: The actor is unavailable.",
    )
)


def leave(folder: Path, name: str, text: str = "Fatal Python error: Segmentation fault\n") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("error", [IN_STEP, IN_SETUP])
def test_a_trials_own_reason_is_told_alone(tmp_path: Path, error: str) -> None:
    leave(tmp_path, "crash-1.txt")  # an earlier death, which was forgiven
    assert explain(error, tmp_path) == REASON


@pytest.mark.parametrize("error", DIED)
@pytest.mark.parametrize(("name", "what"), [("crash-71.txt", "crashed"), ("hang-0-71.txt", "hung")])
def test_a_dead_process_is_explained_by_what_it_left(
    tmp_path: Path, error: str, name: str, what: str
) -> None:
    path = leave(tmp_path, name)
    told = explain(error, tmp_path)
    assert f"simulator {what} 1 time " in told and str(path) in told
    assert is_one_sentence(told)


def test_deaths_are_counted_and_empty_logs_are_none(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        leave(tmp_path, f"crash-{number}.txt")
    leave(tmp_path, "crash-9.txt", "")  # of a process that is well
    leave(tmp_path, "hang-0-9.txt", "")
    told = explain(DIED[0], tmp_path)
    assert "crashed 3 times" in told and told.endswith("crash-3.txt")


def test_logs_explain_no_error_of_another_kind(tmp_path: Path) -> None:
    leave(tmp_path, "crash-1.txt")
    error = "Traceback\n  somewhere\nenv.errors.BadInputError: num_agents is 9; give at most 8.\n"
    told = explain(error, tmp_path)
    assert told == "env.errors.BadInputError: num_agents is 9; give at most 8."


@pytest.mark.parametrize("error", ["", "\n", "  \n "])
def test_an_error_without_words_is_unknown(tmp_path: Path, error: str) -> None:
    assert explain(error, tmp_path) == "unknown"


def test_a_folder_that_is_not_there_explains_nothing(tmp_path: Path) -> None:
    told = explain("RuntimeError: the cat ran away", tmp_path / "nowhere")
    assert told == "RuntimeError: the cat ran away"


@pytest.mark.parametrize("error", DIED)
def test_a_process_killed_from_outside_is_one_sentence_with_a_remedy(
    tmp_path: Path, error: str
) -> None:
    told = explain(error, tmp_path)
    assert is_one_sentence(told) and "killed" in told and "memory" in told
