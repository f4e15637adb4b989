"""Metrics of this node and of the training in its artifacts folder, read anew for every scrape."""

import logging
import socket
from dataclasses import asdict
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from actors.gpu_readings import read_gpus
from actors.node_readings import read_live_training, read_node
from constellation.errors import ArtifactError
from constellation.records import TrainingStatus
from constellation.telemetry.node_metrics import NodeMetrics, TrainingMetrics
from constellation.telemetry.process_metrics import READ_FAILURES

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
        self._artifacts = artifacts
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
        self._node.show(node_name(), **asdict(read_node(self._run_dir)))
        self._node.show_gpus(node_name(), read_gpus())

    def _read_training(self) -> TrainingStatus | None:
        """Return the status of the training; None when there is none or its file is damaged."""
        try:
            return read_live_training(self._artifacts)
        except ArtifactError as error:
            READ_FAILURES.labels("status").inc()
            if self._damage != str(error):
                self._damage = str(error)
                logger.error("file is not read", extra={"file": "status", "reason": str(error)})
            return None
