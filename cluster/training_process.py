"""Run a training, and drive its Ray, in a child process: a crash of Ray becomes an error here.

Ray ends its driver process when its head or its node dies, either by exit(1) without a message or
by a crash. The caller must receive an error and survive, so the driver is a child process.

Run as `python -m cluster.training_process FD`. Standard input: a line with the order, then open
until the parent ends. FD: the events as JSON lines, and last {"ended": ...}.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, Any, Final

from cluster.bootstrap import joined_ray, local_ray
from cluster.private_folder import private_folder
from cluster.subprocesses import keep_others_from_writing, module_command
from constellation.errors import ConstellationError, DeploymentError, TrainingError
from constellation.machine_limits import usable_cores
from constellation.wire.run_lock import held_descriptors
from training.progress.events import OnEvent, from_json, to_json
from training.recipe_running import WorkersSection
from training.runs.failures import from_values, to_values
from training.runs.interrupts import ctrl_c_noted
from training.runs.training_plan import TrainingPlan

END_S: Final = 30.0
"""Seconds that Ray may take to stop after the training, before its process is killed."""
ENDED: Final = "ended"
"""Key of the last line of events; its value is null, or the error that ended the training."""


def train_in_process(
    plan: TrainingPlan, workers: WorkersSection, on_event: OnEvent, *, address: str | None = None
) -> None:
    """Train all kernels of a plan in a child process that drives Ray.

    Args:
        plan: What to train; when its stop file appears, the trainings stop and this returns.
        workers: How many workers train, and with which resources.
        on_event: Called in this thread with every event of the workers.
        address: host:port of the Ray cluster whose nodes train, and of which this machine is one;
            None starts a private Ray and stops it again.

    Raises:
        DeploymentError: Ray does not start, or no cluster answers at `address`.
        DoesNotFit: A kernel's training takes more memory than there is.
        TrainingError: Training failed, or Ray or the process that drives it died; checkpoints are
            intact.
        KeyboardInterrupt: Ctrl-C was pressed; checkpoints are written, run again to resume. A
            second one does not wait.
    """
    with private_folder() as folder:
        process, lines = _start()
        try:
            order = {
                "plan": plan.to_dict(),
                "workers": workers.model_dump(),
                "folder": str(folder),
                "address": address,
            }
            with ctrl_c_noted(lambda: process.send_signal(signal.SIGINT)) as pressed, lines:
                _send_order(process, order)
                error = _listen(lines, process, on_event)
            _end(process)
        finally:
            process.kill()  # Ray's own processes die with it
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
    if pressed.is_set() and (error is None or process.returncode == -signal.SIGINT):
        raise KeyboardInterrupt
    if error is not None:
        raise error


def _start() -> tuple[subprocess.Popen[str], IO[str]]:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        module_command("cluster.training_process", str(writer)),
        stdin=subprocess.PIPE,
        stdout=2,  # what Ray prints is not our output
        encoding="utf-8",
        # With our lock of the run's folder: until this process has ended too, nobody else writes.
        pass_fds=(writer, *held_descriptors()),
        start_new_session=True,  # Ctrl-C reaches it through us, once
    )
    os.close(writer)
    return process, os.fdopen(reader, encoding="utf-8")


def _send_order(process: subprocess.Popen[str], order: dict[str, Any]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it is dead already, and its end says so
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()


def _listen(
    lines: IO[str], process: subprocess.Popen[str], on_event: OnEvent
) -> ConstellationError | None:
    """Pass events to `on_event` until the last line; return the error that ended the training."""
    for line in lines:
        if line.startswith(f'{{"{ENDED}":'):
            values = json.loads(line)[ENDED]
            return None if values is None else from_values(values)
        on_event(from_json(line))
    _end(process)
    code = process.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return TrainingError(
        f"the process that drives Ray died ({how}); the last checkpoints are intact; run the same "
        "command to resume from them"
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for the child process to end, and kill it after `END_S` seconds."""
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Read the order from standard input, train, and write the events to the descriptor."""
    keep_others_from_writing()
    order = json.loads(sys.stdin.readline())
    plan = TrainingPlan.from_dict(order["plan"])
    workers = WorkersSection.model_validate(order["workers"])
    threading.Thread(target=_stop_when_orphaned, args=(plan.stop_file,), daemon=True).start()
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:

        def send(line: str) -> None:
            pipe.write(line + "\n")
            pipe.flush()

        try:
            with _ray(Path(order["folder"]), order["address"]):
                _train(plan, workers, send, own_ray=order["address"] is None)
        except DeploymentError as error:
            send(_last(error))


def _ray(folder: Path, address: str | None) -> AbstractContextManager[object]:
    if address is not None:
        return joined_ray(address)
    # Ray Train fills its log with errors when there is no dashboard.
    return local_ray(num_cpus=usable_cores(), dashboard=True, folder=folder)


def _train(
    plan: TrainingPlan, workers: WorkersSection, send: Callable[[str], None], *, own_ray: bool
) -> None:
    from training.runs.ray_trainer import train_with_ray

    outcome: ConstellationError | None = None
    try:
        train_with_ray(plan, workers, lambda event: send(to_json(event)), own_ray=own_ray)
    except KeyboardInterrupt:
        pass  # whoever sent it knows
    except ConstellationError as error:
        outcome = error
    # Said before Ray stops: without its head it may take this process along.
    send(_last(outcome))


def _last(error: ConstellationError | None) -> str:
    return json.dumps({ENDED: None if error is None else to_values(error)})


def _stop_when_orphaned(stop_file: Path) -> None:
    """Stop the training when the parent process has ended."""
    # Not sys.stdin: a thread that waits in its lock cannot be left at the end.
    while os.read(0, 1):
        pass
    stop_file.touch()


if __name__ == "__main__":
    main()
