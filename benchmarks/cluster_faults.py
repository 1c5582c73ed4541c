"""What faults cost on a cluster: env steps lost, seconds until training goes on, what one is told.

    python -m benchmarks.cluster_faults                      # every fault, a table; half an hour
    python -m benchmarks.cluster_faults kill_node stranger   # those named

Each fault strikes a sweep of four reward weightings that `clowder submit` sent to a head and three
nodes on this machine (cluster/lab.py), tracked by an MLflow server with a password. Without root
the nodes are addresses of the loopback, and rows that need more are skipped and say so. A crash
may cost a trial at most the env steps since its last checkpoint; MLflow must have every report
once. Exits with 1 if any row doesn't hold.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.cluster_stage import (
    BATCH,
    NUM_TRIALS,
    PATIENCE_S,
    ROOT,
    Stage,
    Sweep,
    client_environment,
    staged,
)
from benchmarks.outcomes import (
    CHECKPOINT_ENV_STEPS,
    ENV_STEPS,
    STRIKE_AT,
    Outcome,
    cut_short,
    kill,
    show,
)
from cluster.lab import Lab, Options
from cluster.machines import why_no_namespaces
from cluster.shipment import pack
from env.errors import BadInputError
from experiments.cli import EXIT_INTERRUPTED

OUTAGE_S = 60.0
"""How long MLflow is down, seconds."""
FAIL_S = 60.0
"""From a simulator's third crash to the trial's failure, at most; seconds."""
HEAD_OFF_S = 15.0
"""How long the head is off before it is restarted, seconds."""
HANG_S = 5.0


# -- the faults: each takes the stage and returns what came of it


def kill_runner(stage: Stage) -> Outcome:
    """kill -9 of a remote env runner; two trials at a time, three processes each."""
    flags = ("--ppo.num-env-runners", "2", "--ppo.num-envs", "4")
    sweep = Sweep(stage, "kill_runner", *flags)
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    kill(sweep.trial_processes("ray::BatchedEnvRunner")[0][1])
    recovery = sweep.recovery(time.monotonic())
    return sweep.outcome(sweep.end(client), recovery)


def kill_trial(stage: Stage) -> Outcome:
    """kill -9 of a trial's process."""
    sweep = Sweep(stage, "kill_trial")
    client = sweep.submit()
    sweep.wait_for(BATCH)
    first = time.monotonic() - sweep.submitted
    sweep.wait_for(STRIKE_AT)
    kill(sweep.trial_processes()[0][1])
    recovery = sweep.recovery(time.monotonic())
    told = f"first report {first:.0f} s after submit"
    return sweep.outcome(sweep.end(client), recovery, told=told)


def kill_node(stage: Stage) -> Outcome:
    """A node with a trial is powered off and stays so."""
    sweep = Sweep(stage, "kill_node")
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    sweep.trial_processes()[0][0].power_off()
    recovery = sweep.recovery(time.monotonic())
    return sweep.outcome(sweep.end(client), recovery)


def pull_cable(stage: Stage) -> Outcome:
    """A node's cable is pulled, and put back once the trial has gone on elsewhere; the node, which
    the cluster has given up by then, ends itself and is started again."""
    sweep = Sweep(stage, "pull_cable")
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    machine = sweep.trial_processes()[0][0]
    struck = time.monotonic()
    machine.unplug()
    try:
        recovery = sweep.recovery(struck)
    finally:
        machine.plug()
    status = sweep.end(client)
    stage.lab.wait()
    return sweep.outcome(status, recovery, told="the node is in the cluster again")


def kill_driver(stage: Stage) -> Outcome:
    """kill -9 of the driver; the same submission again."""
    sweep = Sweep(stage, "kill_driver")
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    struck = time.monotonic()
    for pid in sweep.driver_pids():
        kill(pid)
    failed = sweep.end(client)
    client = sweep.submit()
    recovery = sweep.recovery(struck)
    wrong = "" if failed == 1 else f"the client of the killed driver ended with {failed}"
    return sweep.outcome(sweep.end(client), recovery, wrong=wrong)


def kill_head(stage: Stage) -> Outcome:
    """The head is powered off for good; the same submission to a new cluster."""
    sweep = Sweep(stage, "kill_head")
    client = sweep.submit("--detach")
    sweep.wait_for(STRIKE_AT)
    lab = stage.lab
    struck = time.monotonic()
    for machine in lab.machines:
        machine.power_off()
    sweep.end(client)
    for machine in lab.machines:
        lab.on(machine)
    lab.wait()
    client = sweep.submit()
    recovery = sweep.recovery(struck)
    return sweep.outcome(sweep.end(client), recovery)


def restart_head(stage: Stage) -> Outcome:
    """The head is powered off and on; what it knew is in Redis. The driver is on another node."""
    sweep = Sweep(stage, "restart_head")
    client = sweep.submit("--driver-cpus", "1")
    sweep.wait_for(STRIKE_AT)
    head = stage.lab.head
    struck, goal = time.monotonic(), sweep.under_way()
    head.power_off()
    time.sleep(HEAD_OFF_S)
    stage.lab.on(head)
    recovery = sweep.recovery(struck, goal)
    return sweep.outcome(sweep.end(client), recovery, intervals=0)


def segfault(stage: Stage) -> Outcome:
    """One trial's simulator crashes every 300 steps."""
    return _broken(stage, "segfault", "raise(SIGSEGV);", "crashed")


def hang(stage: Stage) -> Outcome:
    """One trial's simulator hangs for good after 300 steps."""
    return _broken(stage, "hang", "for (;;) usleep(1000);", "hung")


def _broken(stage: Stage, name: str, statement: str, reason: str) -> Outcome:
    """A platform is sent whose simulator breaks with three agents, which one trial of four has."""
    tree = stage.folder / f"{name}-tree"
    pack(tree)
    strikes = stage.folder / f"{name}-strikes"
    source = tree / "native" / "batch.c"
    text = source.read_text()
    head = "int32_t batch_step(batch *b"
    body = text.index("{", text.index(head)) + 1
    trap = (
        "\n    static int count;\n    if (b->game.num_agents == 3 && ++count == 300) {\n"
        f'        FILE *told = fopen("{strikes}", "a");\n'
        '        fprintf(told, "strike\\n"), fclose(told);\n'
        f"        {statement}\n    }}\n"
    )
    includes = "#include <signal.h>\n#include <unistd.h>\n"
    source.write_text(includes + text[:body] + trap + text[body:])
    variants = ("broken: env.num_agents=3", "a:", "b: rewards.team_share=0.5", "c: ppo.lr=0.001")
    flags = ("--sweep.space", "--sweep.variants", *variants)
    sweep = Sweep(stage, name, *flags, "--run.hang-timeout-s", str(HANG_S), tree=tree)
    client = sweep.submit()

    def num_strikes() -> int:
        return len(strikes.read_text().splitlines()) if strikes.exists() else 0

    sweep.wait(lambda: num_strikes() == 3, "the third time")
    third = time.monotonic()
    sweep.wait(lambda: bool(sweep.told("trial broken failed")), "the trial to fail")
    seconds = time.monotonic() - third
    status = sweep.end(client)
    told = sweep.told("failed: broken")
    rows = sweep.rows()
    whole = sum(max(one, default=0) >= ENV_STEPS for one in rows.values())
    wrong = ""
    if status != 1 or whole != NUM_TRIALS - 1 or reason not in told or num_strikes() != 3:
        wrong = f"exit {status}, {whole} trials whole, {num_strikes()} strikes; told {told!r}"
    return Outcome(
        fault=name,
        bar=f"fails with the reason in {FAIL_S:.0f} s, three trials complete, exit 1",
        holds=not wrong and seconds <= FAIL_S,
        env_steps=sweep.least(),
        recovery_s=seconds,
        told=wrong or told,
    )


def mlflow_down(stage: Stage) -> Outcome:
    """MLflow's server is killed and comes back a minute later; trials of eight times the length
    train meanwhile."""
    sweep = Sweep(stage, "mlflow_down", "--run.env-steps", str(8 * ENV_STEPS))
    client = sweep.submit()
    sweep.wait_for_all(STRIKE_AT)

    def total() -> int:
        return sum(len(one) for one in sweep.rows().values())

    before, began = total(), time.monotonic()
    time.sleep(10.0)
    usual = (total() - before) / (time.monotonic() - began)
    stage.server.stop()
    before, began = total(), time.monotonic()
    time.sleep(OUTAGE_S)
    meanwhile = (total() - before) / (time.monotonic() - began)
    stage.server.start()
    status = sweep.end(client)
    told = f"{usual:.1f} reports a second before, {meanwhile:.1f} meanwhile"
    slow = "" if meanwhile > 0.5 * usual else f"training waited: {told}"
    return sweep.outcome(status, 0.0, intervals=0, told=told, wrong=slow)


def mlflow_refuses(stage: Stage) -> Outcome:
    """MLflow's password is another from the middle on: it refuses for good."""
    sweep = Sweep(stage, "mlflow_refuses")
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    stage.server.stop()
    try:
        stage.server.start(password="another password than before")
        status = sweep.end(client)
    finally:
        stage.server.stop()
        stage.server.start(password=stage.server.password)
    rows, least = sweep.rows(), sweep.least()
    told = sweep.told("until MLflow answers")
    spools = list(sweep.folder.rglob("spool.json"))
    is_named = bool(spools) and str(spools[0].parent).replace(
        str(sweep.folder.parent), "..."
    ) in "\n".join(sweep.said())
    holds = status == 0 and len(rows) == NUM_TRIALS and least >= ENV_STEPS and is_named
    return Outcome(
        fault="mlflow_refuses",
        bar="trains to the end, says where the points are",
        holds=holds,
        env_steps=least,
        told=told if holds else f"exit {status}: " + " / ".join(sweep.said()[-8:]),
    )


def storage_full(stage: Stage) -> Outcome:
    """No room for results in the middle; room again, and the same submission."""
    assert stage.small is not None
    sweep = Sweep(stage, "storage_full", storage=stage.small)
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    ballast = stage.small / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"\0" * 2**20)
            file.flush()
    status = sweep.end(client)
    told = sweep.told("No space left", "no room", "is full")
    ballast.unlink()
    struck = time.monotonic()
    client = sweep.submit()
    recovery = sweep.recovery(struck)
    wrong = "" if status == 1 and told else f"exit {status}, told {sweep.said()[-5:]}"
    return sweep.outcome(sweep.end(client), recovery, told=told, wrong=wrong)


def truncated_checkpoint(stage: Stage) -> Outcome:
    """`stop`, every trial's newest checkpoint cut short, the same submission again."""
    sweep = Sweep(stage, "truncated_checkpoint")
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    sweep.end(sweep.client("stop", sweep.study))
    sweep.end(client)
    for trial in {one.parent for one in sweep.folder.glob("*/*/checkpoint_*")}:
        cut_short(max(trial.glob("checkpoint_*")))
    struck = time.monotonic()
    client = sweep.submit()
    recovery = sweep.recovery(struck)
    return sweep.outcome(sweep.end(client), recovery, intervals=2, told=sweep.told("is damaged"))


def kill_client(stage: Stage) -> Outcome:
    """kill -9 of the client that submitted; the job goes on."""
    sweep = Sweep(stage, "kill_client")
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    client.kill()
    client.wait()
    struck = time.monotonic()
    recovery = sweep.recovery(struck)
    return sweep.outcome(sweep.attend(), recovery, intervals=0)


def interrupt_client(stage: Stage) -> Outcome:
    """Ctrl-C at the client only lets go."""
    sweep = Sweep(stage, "interrupt_client")
    client = sweep.submit()
    sweep.wait_for(STRIKE_AT)
    client.send_signal(signal.SIGINT)
    struck = time.monotonic()
    status = sweep.end(client)
    told = sweep.told("let go of")
    recovery = sweep.recovery(struck)
    wrong = "" if status == 130 and told else f"exit {status}, told {told!r}"
    return sweep.outcome(sweep.attend(), recovery, intervals=0, told=told, wrong=wrong)


def stop(stage: Stage) -> Outcome:
    """`clowder submit stop`, then the same submission again."""
    sweep = Sweep(stage, "stop")
    client = sweep.submit()
    sweep.wait_for_all(CHECKPOINT_ENV_STEPS)
    stopped = sweep.end(sweep.client("stop", sweep.study))
    ended = sweep.end(client)
    told = sweep.told("not finished").partition(": ")[0]
    struck = time.monotonic()
    client = sweep.submit()
    recovery = sweep.recovery(struck)
    wrong = ""
    if stopped or ended != EXIT_INTERRUPTED or not told:
        wrong = f"exit {stopped} of stop and {ended} of the client, told {told!r}"
    return sweep.outcome(sweep.end(client), recovery, told=told, wrong=wrong)


def stranger(stage: Stage) -> Outcome:
    """Whoever has no token asks at every door."""
    said = subprocess.run(
        [sys.executable, "clowder.py", "doctor", "--address", stage.lab.address,
         "--tracking-uri", stage.server.uri],
        cwd=ROOT,
        env=client_environment(stage.lab, ROOT),
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    print(said.stdout)
    refused = said.stdout.count(" refused ")
    # Three of the job server, five of each node, five of MLflow, the token's file; the GCS and Ray
    # Client, which without networks of their own are at other ports than Ray's.
    expected = 9 + 5 * len(stage.lab.machines) + (0 if stage.lab.why_loopback else 2)
    holds = said.returncode == 0 and refused == expected
    return Outcome(
        fault="stranger",
        bar=f"refused at each of {expected} doors",
        holds=holds,
        told=f"{refused} refused, each listed" + ("" if holds else said.stdout + said.stderr),
    )


FAULTS: dict[str, Callable[[Stage], Outcome]] = {
    one.__name__: one
    for one in (
        kill_runner, kill_trial, kill_node, pull_cable, kill_driver, kill_head, restart_head,
        segfault, hang, mlflow_down, mlflow_refuses, storage_full, truncated_checkpoint,
        kill_client, interrupt_client, stop, stranger,
    )
}  # fmt: skip
NEED_CABLES = ("pull_cable",)
NEED_REDIS = ("restart_head",)
NEED_ROOT = ("storage_full",)


def why_not(name: str) -> str:
    """Why a fault can't strike here; empty if it can."""
    missing = why_no_namespaces()
    if name in (*NEED_CABLES, *NEED_REDIS, *NEED_ROOT) and missing:
        return missing
    if name in NEED_REDIS and shutil.which("redis-server") is None:
        return "needs redis-server (Debian: apt-get install redis-server)"
    return ""


def strike(names: Sequence[str]) -> list[Outcome]:
    """Runs those faults; the ones that need Redis on a cluster of their own."""
    outcomes = []
    for redis in (False, True):
        chosen = [name for name in names if (name in NEED_REDIS) == redis]
        if not chosen:
            continue
        with staged(Options(workers=3, cpus=2, redis=redis)) as stage:
            for name in chosen:
                began = time.monotonic()
                try:
                    _make_whole(stage.lab)
                    outcome = FAULTS[name](stage)
                except Exception as error:  # the other rows are worth having all the same
                    told = f"{type(error).__name__}: {error}"
                    outcome = Outcome(fault=name, bar="", holds=False, told=told)
                    with contextlib.suppress(BadInputError):  # the next row says so
                        stage.start_afresh()
                print(
                    f"{name}: {'holds' if outcome.holds else 'DOES NOT HOLD'} "
                    f"({time.monotonic() - began:.0f} s)",
                    flush=True,
                )
                outcomes.append(outcome)
    return sorted(outcomes, key=lambda one: list(FAULTS).index(one.fault))


def _make_whole(lab: Lab) -> None:
    """Starts what a fault has left off."""
    for machine in lab.machines:
        if not machine.is_on:
            lab.on(machine)
    lab.wait()


def main(words: Sequence[str]) -> int:
    """Command line, see the top of this file; returns the exit status."""
    # Whoever is started in the background of a script ignores Ctrl-C, and so do its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and everything is taken down
    for name in words:
        if name not in FAULTS:
            sys.exit(f"there is no fault {name!r}; choose from {', '.join(FAULTS)}.")
    wanted = list(words) or list(FAULTS)
    for name in wanted:
        if why := why_not(name):
            print(f"skipped: {name} {why}")
    return 0 if show(strike([one for one in wanted if not why_not(one)])) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
