"""Metrics of this node and of the training in its artifacts folder, read anew for every scrape."""

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
from prometheus_client import CollectorRegistry, generate_latest

from constellation.errors import ArtifactError
from constellation.records import TrainingStatus
from constellation.telemetry.node_metrics import NodeMetrics, TrainingMetrics
from constellation.telemetry.process_metrics import READ_FAILURES
from constellation.telemetry.training_status import STATUS_FILE, read_training, stopped
from constellation.wire.run_lock import owner_of

logger = logging.getLogger(__name__)


def node_name() -> str:
    """Return the value of the label `node`: the host name, which stays over restarts."""
    return socket.gethostname()


class NodeCollector:
    """Reads load, memory, disk and training status; writes nothing.

    Args:
        artifacts: Folder in which a training writes its status.
        run_dir: Folder whose file system is measured.
    """

    def __init__(self, artifacts: Path, run_dir: Path) -> None:
        self._status: Final = artifacts / STATUS_FILE
        self._run_dir = run_dir
        self._registry = CollectorRegistry()
        self._node = NodeMetrics(self._registry)
        self._training = TrainingMetrics(self._registry)
        self._damage = ""

    def text(self) -> str:
        """Return the metrics in Prometheus' text format; an unreadable status file is counted."""
        self._measure_node()
        self._training.show(self._read_training())
        return generate_latest(self._registry).decode()

    def _measure_node(self) -> None:
        name, node, memory = node_name(), self._node, psutil.virtual_memory()
        node.up.labels(name).set(1)
        node.load.labels(name).set(os.getloadavg()[0] / (os.cpu_count() or 1))
        node.memory.labels(name, "total").set(memory.total)
        node.memory.labels(name, "available").set(memory.available)
        node.disk.clear()
        with suppress(OSError):  # the run folder was removed
            disk = psutil.disk_usage(str(self._run_dir))
            node.disk.labels(name, "total").set(disk.total)
            node.disk.labels(name, "free").set(disk.free)

    def _read_training(self) -> TrainingStatus | None:
        """Return the status of the training; None when there is none or its file is damaged."""
        try:
            found = read_training(self._status)
        except ArtifactError as error:
            READ_FAILURES.labels("status").inc()
            if self._damage != str(error):
                self._damage = str(error)
                logger.error("file is not read", extra={"file": "status", "reason": str(error)})
            return None
        if found is not None and found.state == "RUNNING" and owner_of(self._status.parent) is None:
            return stopped(found)  # the training was killed: no process holds the folder any more
        return found
