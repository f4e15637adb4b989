"""Start the launcher in the background and stop it again."""

import json
import os
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.deployment_process import Named, end_deployment
from cluster.deployment_spec import kernels_of, node_tls_of, tls_of
from cluster.disk_space import check_room
from cluster.launcher import READY_S
from cluster.metrics_server import metrics_port_of
from cluster.network_safety import check_network, host_of_ray
from cluster.router_ports import ports_of
from cluster.state_file import RunState, require_running, running
from cluster.subprocesses import module_command
from constellation.errors import DeploymentError
from constellation.kernel.writing.compiler_check import check_compiler
from constellation.settings import Settings, child_environment, read_token
from constellation.wire.channel import Bind

STOP_S = 30.0
"""Seconds that the launcher may take to stop before the launcher is killed."""


def start(
    settings: Settings,
    *,
    address: str | None = None,
    replace: bool = False,
    insecure: bool = False,
) -> RunState:
    """Start a constellation in the background and wait until the constellation answers.

    Args:
        settings: The whole configuration.
        address: A running Ray cluster to join; None starts Ray on loopback.
        replace: Whether to end a constellation that runs from the run folder, or on the cluster
            under the same name.
        insecure: Whether calls between machines may be unencrypted.

    Raises:
        DeploymentError: A constellation runs already, or did not come up; names the log.
        ConfigError: The address to listen on needs a token, the cluster is beyond loopback and
            token or certificates are missing, or `kernel.compile` is on and there is no compiler.
        ArtifactError: The artifacts hold no release, or a file is damaged.
    """
    if address is not None:
        check_network(settings, host_of_ray(address), insecure=insecure)
    already = running(settings.run_dir)
    if already is not None and replace:
        stop(settings.run_dir, settings.cluster.ray_token_file)
    elif already is not None:
        raise DeploymentError(
            f"a constellation runs already at {already.endpoint} (process {already.pid}); "
            "stop it with: constellation down"
        )
    kernels_of(settings.artifacts)
    token = read_token(settings.security.token_file)
    Bind(host=settings.serve.host, port=settings.serve.port, token=token)
    ports_of(settings)
    metrics_port_of(settings)
    if settings.kernel.compile:
        check_compiler()
    tls_of(settings.security)
    node_tls_of(settings.security)
    check_room(settings)
    log_folder = settings.run_dir / "logs"
    try:
        # Only its user may read the logs; the mode of an existing folder is kept.
        log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        request = {"address": address, "replace": replace, "insecure": insecure}
        message = _spawn(settings, request, log_folder / "launcher.log")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeploymentError(f"the launcher did not start: {error}") from error
    if "error" in message:
        raise DeploymentError(f"{message['error']} (log: {log_folder})")
    return require_running(settings.run_dir)


def _spawn(settings: Settings, request: dict[str, Any], log: Path) -> dict[str, str]:
    request = {"settings": settings.model_dump(mode="json"), **request}
    num_said = log.stat().st_size if log.exists() else 0
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as pipe:
        code = _run_launcher(json.dumps(request), environment_of(settings), writer, log)
        first = pipe.readline() if code == 0 else ""
        if not first:
            return {"error": f"the launcher did not start{_said(log, num_said)}"}
        pid = int(json.loads(first)["pid"])
        ready, _, _ = select.select([pipe], [], [], READY_S + STOP_S)
        line = pipe.readline() if ready else ""
    if not line:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        said = _said(log, num_said)
        return {"error": f"the launcher ended or hung before the constellation was up{said}"}
    message: dict[str, str] = json.loads(line)
    return message


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment of the launcher and of all processes that it starts.

    Later starts load the code that `torch.compile` makes. By default that code lies under a name
    that can be guessed among the temporary files, where another user could put other code first.
    """
    compiled = settings.run_dir.resolve() / "compiled"
    return child_environment(
        {"TORCHINDUCTOR_CACHE_DIR": str(compiled)} if settings.kernel.compile else {}
    )


def _run_launcher(request: str, environment: dict[str, str], writer: int, log: Path) -> int:
    """Run the launcher until it has moved to the background; return the exit code."""
    try:
        with log.open("ab") as output:
            return subprocess.run(
                module_command("cluster.launcher", str(writer)),
                input=request.encode(),
                stdout=output,
                stderr=output,
                pass_fds=(writer,),
                env=environment,
                check=False,
                timeout=STOP_S,
            ).returncode
    finally:
        os.close(writer)


def _said(log: Path, num_before: int) -> str:
    """Return the last line that the launcher wrote after `num_before` bytes, for an error."""
    try:
        lines = log.read_bytes()[num_before:].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f": {lines[-1]}" if lines else ""


def stop(run_dir: Path, ray_token_file: Path | None = None) -> RunState:
    """Stop the constellation that runs from `run_dir`; return its last state.

    Args:
        run_dir: Run folder of the constellation.
        ray_token_file: File with the token of the Ray cluster on which the constellation runs; None
            leaves Ray's own environment variables in force.

    Raises:
        DeploymentError: No constellation runs there.
    """
    state = require_running(run_dir)
    if state.address is not None:
        named = Named(address=state.address, name=state.name, token_file=ray_token_file)
        end_deployment(named)
        return state
    process = os.pidfd_open(state.pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], STOP_S)
        if not ended:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], STOP_S)
    finally:
        os.close(process)
    return state
