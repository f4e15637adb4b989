"""Metrics of a node and of the training in its artifacts folder."""

from prometheus_client import CollectorRegistry, Gauge

from constellation.records import KernelTraining, TrainingStatus
from constellation.telemetry.process_metrics import PREFIX

KINDS = ("total", "available", "free")
"""Values of the label `kind`: `total` and `available` of memory, `total` and `free` of a disk."""


class NodeMetrics:
    """Memory, load and disk of one node.

    Args:
        registry: Registry of the node, apart from that of the launcher's process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.up = self._gauge("up", "1 while the launcher of the node answers.")
        self.load = self._gauge(
            "load_ratio", "Load average of one minute over the number of cores (low is good)."
        )
        self.memory = self._gauge(
            "memory_bytes", "Main memory: total, and available to programs (high is good).", "kind"
        )
        self.disk = self._gauge(
            "disk_bytes", "File system of the run folder: total, and free (high is good).", "kind"
        )

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        name = f"{PREFIX}node_{name}"
        return Gauge(name, what, ["node", *labels], registry=self.registry)


class TrainingMetrics:
    """How far the training in the artifacts folder is; no series while nothing was trained.

    Args:
        registry: As of `NodeMetrics`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.state = self._gauge("state", "1 for the state that the kernel is in.", "state")
        self.step = self._gauge("step", "Training steps that are done.")
        self.steps = self._gauge("steps", "Training steps of the whole plan.")
        self.bits = self._gauge(
            "bit_per_byte", "Bits per byte of the latest batch, or of held-out text (low).", "text"
        )
        self.speed = self._gauge("tokens_per_second", "Training tokens read (high is good).")
        self.guard = self._gauge("guard", "1 for the verdict of the guards.", "guard")
        self.updated = Gauge(
            PREFIX + "training_updated_seconds",
            "Unix time at which the training wrote its status; NaN if nothing was trained.",
            registry=registry,
        )
        self.show(None)

    def show(self, training: TrainingStatus | None) -> None:
        """Set the metrics to the status of a training; None removes all series of kernels."""
        for gauge in (self.state, self.step, self.steps, self.bits, self.speed, self.guard):
            gauge.clear()
        self.updated.set(float("nan") if training is None else training.updated_s)
        for kernel in () if training is None else training.kernels:
            self._show(kernel)

    def _show(self, training: KernelTraining) -> None:
        name = training.kernel
        self.state.labels(name, training.state).set(1)
        if training.guard is not None:
            self.guard.labels(name, training.guard).set(1)
        for gauge, labels, value in (
            (self.step, (), training.step),
            (self.steps, (), training.num_steps),
            (self.bits, ("train",), training.bits_per_byte),
            (self.bits, ("held_out",), training.dev_bits_per_byte),
            (self.speed, (), training.tokens_per_second),
        ):
            if value is not None:
                gauge.labels(name, *labels).set(value)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        name = f"{PREFIX}training_{name}"
        return Gauge(name, what, ["kernel", *labels], registry=self.registry)
