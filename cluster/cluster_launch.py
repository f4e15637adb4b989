"""Start a constellation on a Ray cluster, where its actors outlive the starting process."""

import logging
import socket
from collections.abc import Callable
from typing import Any

from cluster.bootstrap import joined_ray, num_gpus
from cluster.deployment_spec import Site, clear_run_folder, kernels_of, spec_of
from cluster.network_safety import check_network
from constellation.errors import DeploymentError
from constellation.settings import Settings

logger = logging.getLogger(__name__)

READY_S = 120.0
"""Seconds that all actors may take to come up."""
GRACE_S = 1.0
"""Seconds that actors may take to end when the constellation did not come up."""
WATCHED_S = 60.0
"""Seconds that the watcher may take to start."""


def deploy(
    settings: Settings,
    address: str,
    report: Callable[[dict[str, Any]], object],
    *,
    replace: bool = False,
    insecure: bool = False,
) -> None:
    """Start the constellation on a Ray cluster, and report its endpoint when all processes serve.

    Args:
        settings: The whole configuration.
        address: host:port of the cluster.
        report: Called with a message for the command that waits.
        replace: Whether to end a deployment of this name that runs already.
        insecure: Whether calls between machines may be unencrypted.

    Raises:
        DeploymentError: The cluster cannot be joined, a deployment of this name runs, a process did
            not come up, or this machine is not the head.
        ConfigError: A node is beyond loopback, and token or certificates are missing.
        ArtifactError: The artifacts hold no release, or a file is damaged.
    """
    from cluster.gpu_assignment import on_devices

    kernels = kernels_of(settings.artifacts)
    with joined_ray(address, settings.cluster.ray_token_file):
        from actors import _ray, ray_nodes
        from actors.registry.process import RegistryActor
        from cluster import deployments
        from cluster.watcher import WatcherActor

        for node in ray_nodes.addresses():
            check_network(settings, node, insecure=insecure)
        head, head_address = ray_nodes.head()
        _check_on_head(head_address)
        deployments.make_room(settings.cluster.name, address, replace=replace)
        spec = spec_of(settings, Site(network="nodes", head=head, address=head_address))
        spec = on_devices(spec, num_gpus=num_gpus, num_kernels=len(kernels))
        clear_run_folder(spec)
        registry = RegistryActor.create(_ray.REGISTRY, spec, node=head, is_new=True)
        try:
            _ray.wait_for(registry.ready(), timeout_s=READY_S, what="the constellation")
            plain = settings.model_copy(
                update={"artifacts": spec.artifacts, "run_dir": spec.run_dir}
            ).model_dump(mode="json")
            watcher = WatcherActor.create(
                _ray.WATCHER, spec, plain, kernels, address, node=head, is_new=True
            )
            _ray.wait_for(watcher.watched(), timeout_s=WATCHED_S, what="the watcher")
        except BaseException:
            _ray.tear_down(spec.namespace, grace_s=GRACE_S)
            raise
        logger.info("constellation started", extra={"deployment": spec.id, "address": address})
        report({"endpoint": spec.routers[0].endpoint})


def _check_on_head(address: str) -> None:
    """Raise unless the head of the cluster is this machine, which holds artifacts and run folder.

    Raises:
        DeploymentError: The head is another machine.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.create_server((address, 0), family=family).close()
    except OSError as error:
        raise DeploymentError(
            f"the head of the Ray cluster is {address}, which is not this machine; run "
            "`constellation up` there, since registry and routers run on the head"
        ) from error
