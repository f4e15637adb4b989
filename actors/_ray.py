"""The only file that calls ray.get, ray.wait, ray.kill or ray.get_actor.

Actors are found by name in the deployment's namespace. They are detached, so that they outlive the
process that created them.
"""

import logging
import os
import re
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import ray
import ray.util
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.actor_calls import RegistryCalls
from actors.spec import ROUTER, Announcement, DeploymentSpec, StartState
from constellation.errors import ConstellationError, DeploymentError
from constellation.loopback import LOOPBACK_ADDRESS
from constellation.runtime.placement import is_kernel_member

logger = logging.getLogger(__name__)

REGISTRY = "registry"
"""Actor name of the registry."""

MAKER = "maker"
"""Actor name of the process that makes a release."""

REASON_CHARACTERS_MAX = 300
"""Characters of Ray's reason for a death that are kept: Ray writes at length."""
_OUR_ERROR = re.compile(r"^constellation\.errors\.\w+: ")
_MISSES_MAX = 3
_START_ROUNDS = 10

CallsT = TypeVar("CallsT")
"""A protocol of `actors/actor_calls.py`."""


class ActorClass(Generic[CallsT]):
    """A class whose objects Ray runs in processes of their own.

    Args:
        process: The class itself, whose methods keep the protocol; the type checker compares them.
        num_gpus: Share of a GPU that a process of a deployment claims; None claims none.
    """

    def __init__(
        self,
        process: Callable[..., CallsT],
        *,
        num_gpus: Callable[[DeploymentSpec], float] | None = None,
    ) -> None:
        self._remote: Any = ray.remote(process)
        self._num_gpus = num_gpus

    def create(self, member: str, spec: DeploymentSpec, *arguments: Any, node: str = "") -> CallsT:
        """Return the named actor, created if it does not exist; Ray restarts it when it dies.

        Args:
            member: Name of the actor.
            spec: Of the deployment.
            arguments: Further arguments of the class.
            node: Ray's id of the machine on which the actor runs and is restarted. While the
                machine is gone the actor waits for it. Empty means that Ray chooses the machine.
        """
        options = self._remote.options(
            name=member,
            namespace=spec.namespace,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            num_cpus=0,
            num_gpus=0 if self._num_gpus is None else self._num_gpus(spec),
            **_affinity(node),
        )
        return cast(CallsT, _Calls(options.remote(spec, *arguments)))


def _affinity(node: str) -> dict[str, Any]:
    """Return the option that places an actor on one node only; no option for an empty id."""
    if not node:
        return {}
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


class _Calls:
    """Sends the calls of a protocol to an actor; the result of a call can be awaited."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def __getattr__(self, method: str) -> Any:
        return getattr(self._handle, method).remote


def members(namespace: str) -> list[str]:
    """Return the actor names of all members that live or are being started, sorted."""
    named = ray.util.list_named_actors(all_namespaces=True)
    ours = {each["name"] for each in named if each["namespace"] == namespace}
    fixed = {REGISTRY, MAKER, ROUTER}
    routers = {name for name in ours if name.startswith(f"{ROUTER}-")}
    kernels = {name for name in ours if is_kernel_member(name)}
    return sorted(ours & fixed | routers | kernels)


def exists(member: str, namespace: str) -> bool:
    """Return whether there is an actor of this name, also one that is starting or restarting."""
    return _handle(member, namespace) is not None


def find(calls: type[CallsT], member: str, namespace: str) -> CallsT | None:
    """Return the calls of a named actor; None when there is no such actor.

    Args:
        calls: The protocol that the actor keeps.
        member: Name of the actor.
        namespace: Of the deployment.
    """
    handle = _handle(member, namespace)
    return None if handle is None else cast(CallsT, _Calls(handle))


def _handle(member: str, namespace: str) -> Any | None:
    try:
        return ray.get_actor(member, namespace=namespace)
    except ValueError:
        return None


def restart(member: str, namespace: str, *, pid: int = 0, node: str = "") -> bool:
    """Kill an actor's process so that Ray starts it again; False when there is no such actor.

    Ray asks a process to end and kills the process five seconds later. A process that is known and
    runs on this machine is killed at once, since a process that hangs does not end when asked.
    """
    if is_alive(pid, node):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True
    handle = _handle(member, namespace)
    if handle is None:
        return False
    ray.kill(handle, no_restart=False)
    return True


def is_alive(pid: int, node: str) -> bool:
    """Return whether a process id is that of an actor on this machine: ids are used again."""
    if not pid or node != node_name():
        return False
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def remove(member: str, namespace: str) -> None:
    """Kill an actor for good."""
    handle = _handle(member, namespace)
    if handle is not None:
        ray.kill(handle, no_restart=True)


def wait_for(reference: Any, *, timeout_s: float, what: str) -> Any:
    """Return the result of a Ray call.

    Raises:
        DeploymentError: The result did not come within `timeout_s`, or the actor is gone.
        ConstellationError: The call raised this error.
    """
    try:
        return ray.get(reference, timeout=timeout_s)
    except GetTimeoutError as error:
        raise DeploymentError(f"{what} did not answer within {timeout_s:.0f} s") from error
    except RayActorError as error:
        raise DeploymentError(f"{what} is gone: {reason_of(error)}") from error
    except RayTaskError as error:
        if isinstance(error.cause, ConstellationError):
            raise error.cause from error
        raise


def reason_of(error: RayActorError) -> str:
    """Return in one line why an actor died: what it raised, if it could not start."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if error.actor_init_failed:
        return _OUR_ERROR.sub("", lines[-1])
    return " ".join(lines)[:REASON_CHARACTERS_MAX]


def announce(spec: DeploymentSpec, announcement: Announcement) -> bool:
    """Send the registry an announcement; return False when there is no registry.

    The call is not waited for: a registry that starts later asks every actor itself.
    """
    registry = find(RegistryCalls, REGISTRY, spec.namespace)
    if registry is None:
        return False
    registry.announced(announcement)
    return True


def node_name() -> str:
    """Return the id of the machine this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def node_address(spec: DeploymentSpec) -> str:
    """Return the IP address at which this process listens for others of the constellation."""
    if spec.network == "loopback":
        return LOOPBACK_ADDRESS
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


def watch(
    member: str,
    namespace: str,
    *,
    interval_s: float,
    stop: threading.Event,
    ray_lives: Callable[[], bool],
    starts: Callable[[], StartState],
    start: Callable[[], object],
    meanwhile: Callable[[dict[str, Any]], object],
) -> None:
    """Ask the registry for its state until `stop` is set; restart it when it no longer answers.

    Ray restarts an actor whose process dies, but not one that hangs, and the registry supervises
    all other actors.

    Args:
        member: The registry's actor name.
        namespace: Of the deployment.
        interval_s: Seconds between two questions, and that an answer may take.
        stop: Ends this.
        ray_lives: Says whether Ray's process on this machine lives; its end ends this.
        starts: Says how processes can be started now, which the registry shows in its status and
            metrics. When none can be and a member is down, this ends, so that whoever started the
            constellation can start it anew.
        start: Starts the registry when there is none: Ray restarts none that could not start.
        meanwhile: Called before every question with the latest answer, which is empty at first.
    """
    misses, pid, node = 0, 0, ""
    down: list[str] = []
    state: dict[str, Any] = {}
    while not stop.wait(interval_s):
        meanwhile(state)
        if not ray_lives():
            logger.error("Ray has ended, and all members with it")
            return
        now = starts()
        if (down or misses >= _MISSES_MAX) and not now.can_start:
            facts = {"down": down or [member]}
            logger.error("Ray's folder was removed and members are down: ending", extra=facts)
            return
        registry = find(RegistryCalls, member, namespace)
        reference: Any = None if registry is None else registry.state(now)
        answered, _ = ray.wait([reference], timeout=interval_s) if reference else ([], [])
        misses = 0 if answered else misses + 1
        if misses == 1 and pid and not is_alive(pid, node):  # Ray is starting it again
            misses, pid = -_START_ROUNDS, 0
        if answered:
            with suppress(RayActorError, RayTaskError):  # it died meanwhile
                state = ray.get(reference)
                pid, node = state["registry_pid"], state["node"]
                members = state["members"].items()
                down = [name for name, each in members if each["state"] != "up"]
        elif misses >= _MISSES_MAX and now.can_start:
            reason = "hangs" if registry is not None else "could not start"
            logger.warning("member restarted", extra={"member": member, "reason": reason})
            if not restart(member, namespace, pid=pid, node=node):
                start()
            misses, pid = -_START_ROUNDS, 0  # it may take its time to start


def tear_down(spec: DeploymentSpec, *, grace_s: float) -> None:
    """Drain the actors, then remove them for good, those that joined since the start too."""
    registry = find(RegistryCalls, REGISTRY, spec.namespace)
    if registry is not None:
        ray.wait([registry.drain(grace_s)], timeout=grace_s + 2)
        remove(REGISTRY, spec.namespace)  # first, or it would start others
    for member in members(spec.namespace):
        remove(member, spec.namespace)
