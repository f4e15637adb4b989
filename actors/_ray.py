"""The only file that calls ray.get, ray.wait, ray.kill or ray.get_actor.

Actors are found by name in the deployment's namespace. They are detached, so that they outlive the
process that created them.
"""

import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

import ray
import ray.util
from ray.exceptions import ActorAlreadyExistsError, GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.actor_calls import NodeCalls, RegistryCalls, WatcherCalls
from actors.local_processes import is_actor, kill_actor
from actors.spec import ROUTER, Announcement, DeploymentSpec, StartState
from constellation.errors import ConstellationError, DeploymentError
from constellation.loopback import LOOPBACK_ADDRESS
from constellation.runtime.patience import Patience
from constellation.runtime.placement import is_kernel_member

logger = logging.getLogger(__name__)

REGISTRY = "registry"
"""Actor name of the registry."""

MAKER = "maker"
"""Actor name of the process that makes a release."""

WATCHER = "watcher"
"""Actor name of the process that watches the registry on a Ray cluster."""

ASIDE = frozenset({REGISTRY, MAKER, WATCHER})
"""Actors of a deployment that are no members."""

REASON_CHARACTERS_MAX = 300
"""Characters of Ray's reason for a death that are kept: Ray writes at length."""
_OUR_ERROR = re.compile(r"^constellation\.errors\.\w+: ")
NODE = "node-"
"""Begin of the actor name of a machine; Ray's id of the machine follows."""

_LOOK_S = 0.1

NODE_ANSWER_S = 1.0
"""Seconds that the actor of a machine may take to answer about a process."""
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

    def create(
        self,
        member: str,
        spec: DeploymentSpec,
        *arguments: Any,
        node: str = "",
        is_new: bool = False,
    ) -> CallsT:
        """Return the named actor, created if it does not exist; Ray restarts it when it dies.

        Args:
            member: Name of the actor.
            spec: Of the deployment.
            arguments: Further arguments of the class.
            node: Ray's id of the machine on which the actor runs and is restarted. While the
                machine is gone the actor waits for it. Empty means that Ray chooses the machine.
            is_new: Whether an actor of this name that exists already is an error.

        Raises:
            DeploymentError: There is such an actor, which was to be new.
        """
        options = self._remote.options(
            name=member,
            namespace=spec.namespace,
            get_if_exists=not is_new,
            lifetime="detached",
            max_restarts=-1,
            num_cpus=0,
            num_gpus=0 if self._num_gpus is None else self._num_gpus(spec),
            **_affinity(node),
        )
        try:
            return cast(CallsT, _Calls(options.remote(spec.without_token(), *arguments)))
        except ActorAlreadyExistsError as error:
            raise DeploymentError(
                f"{member} of the deployment {spec.namespace!r} was started by somebody else at "
                "the same time; look at it with: constellation status --address"
            ) from error


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
    fixed = ASIDE | {ROUTER}
    routers = {name for name in ours if name.startswith(f"{ROUTER}-")}
    kernels = {name for name in ours if is_kernel_member(name)}
    return sorted(ours & fixed | routers | kernels)


def actors_of(namespace: str) -> list[str]:
    """Return the names of all actors of a deployment: members, their helpers and machines."""
    return [*members(namespace), *node_members(namespace)]


def node_members(namespace: str) -> list[str]:
    """Return the actor names of all machines that have an actor, sorted."""
    named = ray.util.list_named_actors(all_namespaces=True)
    ours = [each["name"] for each in named if each["namespace"] == namespace]
    return sorted(name for name in ours if name.startswith(NODE))


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


def restart(member: str, namespace: str) -> bool:
    """Kill an actor's process so that Ray starts it again; False when there is no such actor.

    Ray asks a process to end and kills the process five seconds later, since a process that hangs
    does not end when asked. `kill` is quicker where the process is known.
    """
    handle = _handle(member, namespace)
    if handle is None:
        return False
    ray.kill(handle, no_restart=False)
    return True


def is_alive(pid: int, node: str, namespace: str) -> bool | None:
    """Return whether a process id is that of an actor on a machine; None when that is unknown.

    Waits for the machine's actor, for `NODE_ANSWER_S` at most.
    """
    if not pid:
        return None
    if node == node_name():
        return is_actor(pid)
    return _ask_node(node, namespace, lambda calls: calls.is_alive(pid))


def kill(pid: int, node: str, namespace: str) -> bool:
    """Kill the process of an actor on a machine; return whether it was killed.

    Waits for the machine's actor, for `NODE_ANSWER_S` at most.
    """
    if not pid:
        return False
    if node == node_name():
        return kill_actor(pid)
    return _ask_node(node, namespace, lambda calls: calls.kill(pid)) is True


def _ask_node(
    node: str, namespace: str, call: Callable[[NodeCalls], Awaitable[bool]]
) -> bool | None:
    calls = find(NodeCalls, node_member(node), namespace)
    if calls is None:
        return None
    try:
        return bool(wait_for(call(calls), timeout_s=NODE_ANSWER_S, what=f"the actor of {node}"))
    except DeploymentError:
        return None


def node_member(node: str) -> str:
    """Return the actor name of a machine."""
    return f"{NODE}{node}"


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
    patience: Patience,
) -> None:
    """Ask the registry for its state until `stop` is set; restart it when it no longer answers.

    Ray restarts an actor whose process dies, but not one that hangs, and the registry supervises
    all other actors. A question that was not answered in time is not asked again but waited for: a
    busy registry answers late, and is not restarted.

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
        patience: Says how long the registry may be silent.
    """
    pid, node = 0, ""
    reference: Any = None
    down: list[str] = []
    state: dict[str, Any] = {}
    while not stop.wait(interval_s):
        meanwhile(state)
        if not ray_lives():
            logger.error("Ray has ended, and all members with it")
            return
        now = starts()
        is_late = patience.is_over(now_s=time.monotonic())
        if (down or is_late) and not now.can_start:
            facts = {"down": down or [member]}
            logger.error("Ray's folder was removed and members are down: ending", extra=facts)
            return
        registry = find(RegistryCalls, member, namespace)
        if registry is None:
            reference = None
        elif reference is None:
            reference = registry.state(now)
        answered, _ = ray.wait([reference], timeout=interval_s) if reference else ([], [])
        now_s = time.monotonic()
        if answered:
            patience.answered()
            with suppress(RayActorError, RayTaskError):  # it died meanwhile
                state = ray.get(reference)
                pid, node = state["registry_pid"], state["node"]
                members = state["members"].items()
                down = [name for name, each in members if each["state"] != "up"]
            reference = None
        elif patience.silent(now_s=now_s) and pid and is_alive(pid, node, namespace) is False:
            patience.starts(now_s=now_s)  # Ray is starting it again
            pid = 0
        elif patience.is_over(now_s=now_s) and now.can_start:
            reason = "hangs" if registry is not None else "could not start"
            logger.warning("member restarted", extra={"member": member, "reason": reason})
            if not kill(pid, node, namespace) and not restart(member, namespace):
                start()
            pid, reference = 0, None
            patience.restarted(now_s=now_s)


def tear_down(namespace: str, *, grace_s: float) -> None:
    """Drain the actors, then remove them for good, those that joined since the start too."""
    watcher = find(WatcherCalls, WATCHER, namespace)
    if watcher is not None:
        ray.wait([watcher.stop()], timeout=grace_s)
        remove(WATCHER, namespace)  # first, or it would start the registry again
    registry = find(RegistryCalls, REGISTRY, namespace)
    if registry is not None:
        ray.wait([registry.drain(grace_s)], timeout=grace_s + 2)
        remove(REGISTRY, namespace)  # before the members, or it would start them again
    for member in actors_of(namespace):
        remove(member, namespace)


def wait_gone(namespace: str, *, timeout_s: float) -> list[str]:
    """Wait until the names of a deployment's actors are free; return the names that are not."""
    end_s, pause = time.monotonic() + timeout_s, threading.Event()
    while (left := actors_of(namespace)) and time.monotonic() < end_s:
        pause.wait(_LOOK_S)
    return left
