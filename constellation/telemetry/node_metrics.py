"""Metrics of a node, of its blobs, and of the training in its artifacts folder."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.registry import Collector

from constellation.records import KernelTraining, TrainingStatus
from constellation.telemetry.process_metrics import PREFIX, ProcessMetrics

KINDS = ("total", "available", "free")
"""Values of the label `kind`: `total` and `available` of memory, `total` and `free` of a disk."""


class Gpu(Protocol):
    """One GPU of a node at one moment."""

    @property
    def name(self) -> str:
        """Device as kernels name it, such as "cuda:0"."""
        ...

    @property
    def memory_bytes(self) -> int:
        """All memory."""
        ...

    @property
    def memory_free_bytes(self) -> int:
        """Memory that no process uses."""
        ...

    @property
    def busy_ratio(self) -> float:
        """Share of the last moments in which the GPU computed; NaN if unknown."""
        ...


class NodeMetrics:
    """Memory, load, disk and GPUs of one node.

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
        self.gpu_memory = self._gauge(
            "gpu_memory_bytes",
            "Memory of a GPU: total, and free of all processes (high is good).",
            "gpu",
            "kind",
        )
        self.gpu_busy = self._gauge(
            "gpu_busy_ratio", "Share of the last moments in which a GPU computed.", "gpu"
        )

    def show(
        self,
        node: str,
        *,
        load_ratio: float,
        memory_bytes: float,
        memory_free_bytes: float,
        disk_bytes: float,
        disk_free_bytes: float,
    ) -> None:
        """Set the metrics of a node; sizes are in bytes, and a disk of 0 bytes is not shown."""
        self.up.labels(node).set(1)
        self.load.labels(node).set(load_ratio)
        self.memory.labels(node, "total").set(memory_bytes)
        self.memory.labels(node, "available").set(memory_free_bytes)
        self.disk.clear()
        if disk_bytes:  # else the folder was removed
            self.disk.labels(node, "total").set(disk_bytes)
            self.disk.labels(node, "free").set(disk_free_bytes)

    def show_gpus(self, node: str, gpus: Iterable[Gpu]) -> None:
        """Set the metrics of the GPUs of a node; GPUs that are gone are shown no longer."""
        self.gpu_memory.clear()
        self.gpu_busy.clear()
        for gpu in gpus:
            self.gpu_memory.labels(node, gpu.name, "total").set(gpu.memory_bytes)
            self.gpu_memory.labels(node, gpu.name, "free").set(gpu.memory_free_bytes)
            self.gpu_busy.labels(node, gpu.name).set(gpu.busy_ratio)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        name = f"{PREFIX}node_{name}"
        return Gauge(name, what, ["node", *labels], registry=self.registry)


class BlobAttempt(Protocol):
    """One question to one source of blobs."""

    @property
    def kind(self) -> str:
        """Kind of the source."""
        ...

    @property
    def outcome(self) -> str:
        """A fault, or "ok"."""
        ...

    @property
    def num_bytes(self) -> int:
        """Bytes that the source delivered."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds that the source took."""
        ...


class NodeActorMetrics(ProcessMetrics):
    """Blobs, load, memory and disk of a node that has an actor of its own.

    Args:
        registry: Registry of the actor's process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.rejected = self._counter(
            "rejected_total",
            "Requests refused, by error class; InternalError is a mistake of the program.",
            "reason",
        )
        self.fetch_seconds = self._histogram(
            "blob_fetch_seconds",
            "Seconds in which a source completed a blob (low is good), by kind of source.",
            "source",
        )
        self.fetched = self._counter(
            "blob_fetched_bytes_total", "Bytes of blobs that sources delivered.", "source"
        )
        self.fetch_failures = self._counter(
            "blob_fetch_failures_total",
            "Sources that did not deliver a blob, by kind of source and fault.",
            "source",
            "fault",
        )
        self.sent = self._counter(
            "blob_sent_bytes_total", "Bytes of blobs that this node delivered to other nodes."
        )
        self.cache = self._gauge("blob_cache_bytes", "Bytes of all blobs that this node keeps.")

    def note_attempt(self, attempt: BlobAttempt) -> None:
        """Count a question to a source of blobs."""
        self.fetched.labels(attempt.kind).inc(attempt.num_bytes)
        if attempt.outcome == "ok":
            self.fetch_seconds.labels(attempt.kind).observe(attempt.seconds)
        else:
            self.fetch_failures.labels(attempt.kind, attempt.outcome).inc()

    def read_with(
        self,
        node: str,
        readings: Callable[[], Mapping[str, float]],
        cache_bytes: Callable[[], int],
        gpus: Callable[[], Iterable[Gpu]],
    ) -> None:
        """Have every scrape read load, memory, disk, cache and GPUs anew.

        Args:
            node: Value of the label `node`: the host name of the machine.
            readings: Returns the arguments of `NodeMetrics.show`.
            cache_bytes: Returns the bytes of all blobs that this node keeps.
            gpus: Returns the GPUs of the machine.
        """
        self.cache.set_function(cache_bytes)
        self.registry.register(_ReadAtScrape(node, readings, gpus))


class _ReadAtScrape(Collector):
    """Metrics of a node that are read when they are asked for."""

    def __init__(
        self,
        node: str,
        readings: Callable[[], Mapping[str, float]],
        gpus: Callable[[], Iterable[Gpu]],
    ) -> None:
        self._node = node
        self._readings = readings
        self._gpus = gpus
        self._shown = CollectorRegistry()
        self._metrics = NodeMetrics(self._shown)

    def collect(self) -> Iterable[Metric]:
        """Read, and return all metrics."""
        self._metrics.show(self._node, **self._readings())
        self._metrics.show_gpus(self._node, self._gpus())
        return self._shown.collect()


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
