"""Names and labels of metrics are API: what dashboards and alerts are built on."""

import urllib.error
import urllib.request
from importlib.metadata import version
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from constellation.records import Change
from constellation.telemetry.metrics import (
    CHANGES,
    TOKEN_KINDS,
    KernelMetrics,
    RegistryMetrics,
    RouterMetrics,
)
from constellation.telemetry.node_metrics import NodeActorMetrics, NodeMetrics, TrainingMetrics
from constellation.telemetry.process_metrics import serve_metrics

PROCESS = {
    "constellation_build_info": ("gauge", ("version",)),
    "constellation_write_failures": ("counter", ("file",)),
    "constellation_read_failures": ("counter", ("file",)),
    "constellation_background_failures": ("counter", ("task",)),
}
ROUTER = PROCESS | {
    "constellation_requests": ("counter", ("mode", "outcome")),
    "constellation_request_seconds": ("histogram", ()),
    "constellation_time_to_first_token_seconds": ("histogram", ()),
    "constellation_route_distance_radians": ("histogram", ()),
    "constellation_route_margin_radians": ("histogram", ()),
    "constellation_route": ("counter", ("kernel", "reason")),
    "constellation_route_beyond_own_ratio": ("histogram", ()),
    "constellation_kernel_answer_seconds": ("summary", ("kernel",)),
    "constellation_requests_active": ("gauge", ()),
    "constellation_requests_max": ("gauge", ()),
    "constellation_event_streams": ("gauge", ()),
    "constellation_route_load_entropy_ratio": ("gauge", ()),
    "constellation_out_of_domain": ("counter", ()),
    "constellation_failovers": ("counter", ("kernel",)),
    "constellation_handoffs": ("counter", ("kernel",)),
    "constellation_table_version": ("gauge", ()),
    "constellation_collective_phi_bit_per_byte": ("gauge", ()),
    "constellation_rejected": ("counter", ("reason",)),
    "constellation_spans": ("counter", ("outcome",)),
}
KERNEL = PROCESS | {
    "constellation_tokens": ("counter", ("kernel", "kind")),
    "constellation_inter_token_seconds": ("histogram", ("kernel",)),
    "constellation_queue_depth": ("gauge", ("kernel",)),
    "constellation_queue_limit": ("gauge", ("kernel",)),
    "constellation_running_requests": ("gauge", ("kernel",)),
    "constellation_kv_cache_usage_ratio": ("gauge", ("kernel",)),
    "constellation_kernel_kappa": ("gauge", ("kernel",)),
    "constellation_rejected": ("counter", ("reason",)),
    "constellation_spans": ("counter", ("outcome",)),
}
REGISTRY = PROCESS | {
    "constellation_kernel_up": ("gauge", ("kernel",)),
    "constellation_kernel_restarts": ("counter", ("kernel",)),
    "constellation_kernel_phi_ratio": ("gauge", ("kernel",)),
    "constellation_kernel_arrived_ratio": ("gauge", ("kernel",)),
    "constellation_basin_spread_radians": ("gauge", ()),
    "constellation_table_version": ("gauge", ()),
    "constellation_member_restarts": ("counter", ("member",)),
    "constellation_release_number": ("gauge", ()),
    "constellation_release_since_seconds": ("gauge", ()),
    "constellation_changes": ("counter", ("change", "outcome")),
    "constellation_table_lag": ("gauge", ("router",)),
    "constellation_process_start_possible": ("gauge", ()),
    "constellation_fork_server_up": ("gauge", ()),
}
NODE = {
    "constellation_node_up": ("gauge", ("node",)),
    "constellation_node_load_ratio": ("gauge", ("node",)),
    "constellation_node_memory_bytes": ("gauge", ("node", "kind")),
    "constellation_node_disk_bytes": ("gauge", ("node", "kind")),
    "constellation_node_gpu_memory_bytes": ("gauge", ("node", "gpu", "kind")),
    "constellation_node_gpu_busy_ratio": ("gauge", ("node", "gpu")),
}
NODE_ACTOR = PROCESS | {
    "constellation_rejected": ("counter", ("reason",)),
    "constellation_blob_fetch_seconds": ("histogram", ("source",)),
    "constellation_blob_fetched_bytes": ("counter", ("source",)),
    "constellation_blob_fetch_failures": ("counter", ("source", "fault")),
    "constellation_blob_sent_bytes": ("counter", ()),
    "constellation_blob_cache_bytes": ("gauge", ()),
}
TRAINING = {
    "constellation_training_state": ("gauge", ("kernel", "state")),
    "constellation_training_step": ("gauge", ("kernel",)),
    "constellation_training_steps": ("gauge", ("kernel",)),
    "constellation_training_bit_per_byte": ("gauge", ("kernel", "text")),
    "constellation_training_tokens_per_second": ("gauge", ("kernel",)),
    "constellation_training_guard": ("gauge", ("kernel", "guard")),
    "constellation_training_updated_seconds": ("gauge", ()),
}
PROCESSES = [(RouterMetrics, ROUTER), (KernelMetrics, KERNEL), (RegistryMetrics, REGISTRY)]
CATALOGUES = [
    *PROCESSES,
    (NodeMetrics, NODE),
    (NodeActorMetrics, NODE_ACTOR),
    (TrainingMetrics, TRAINING),
]

Catalogue = (
    type[RouterMetrics]
    | type[KernelMetrics]
    | type[RegistryMetrics]
    | type[NodeMetrics]
    | type[NodeActorMetrics]
    | type[TrainingMetrics]
)
Names = dict[str, tuple[str, tuple[str, ...]]]


def declared(catalogue: object) -> Names:
    """Return name -> (type, label names) of every metric that is an attribute."""
    metrics = [value for name, value in vars(catalogue).items() if name != "registry"]
    return {metric._name: (metric._type, metric._labelnames) for metric in metrics}


@pytest.mark.parametrize(("kind", "names"), CATALOGUES)
def test_names_types_and_labels_are_exactly_these(kind: Catalogue, names: Names) -> None:
    assert declared(kind(CollectorRegistry())) == names


@pytest.mark.parametrize(("kind", "names"), CATALOGUES)
def test_every_metric_is_exported_under_its_name(kind: Catalogue, names: Names) -> None:
    registry = CollectorRegistry()
    catalogue = kind(registry)
    for name, metric in vars(catalogue).items():
        if name != "registry" and metric._labelnames:
            metric.labels(*("x" for _ in metric._labelnames))
    text = generate_latest(registry).decode()
    exported = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(exported) >= set(names)
    for name, (type_name, labels) in names.items():
        family = exported[name]
        assert family.type == type_name
        assert family.documentation
        if type_name == "counter":
            totals = [sample for sample in family.samples if sample.name.endswith("_total")]
            assert totals
            assert set(totals[0].labels) == set(labels)


def test_two_catalogues_of_one_process_do_not_share_numbers() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    RouterMetrics(first).out_of_domain.inc(2)
    RouterMetrics(second)
    name = "constellation_out_of_domain_total"
    assert (first.get_sample_value(name), second.get_sample_value(name)) == (2, 0)


def test_a_kernel_that_has_left_is_exported_no_more() -> None:
    registry = CollectorRegistry()
    metrics = KernelMetrics(registry)
    for kernel in ("python", "rust"):
        for kind in TOKEN_KINDS:
            metrics.tokens.labels(kernel, kind).inc()
        for gauge in (
            metrics.queue_depth,
            metrics.queue_limit,
            metrics.running,
            metrics.cache_usage,
        ):
            gauge.labels(kernel).set(1)
        metrics.inter_token_seconds.labels(kernel).observe(0.01)
    metrics.kappa.labels("python").set(1)
    metrics.forget("rust")  # which has no coupling
    metrics.forget("python")
    labels = [sample.labels for family in registry.collect() for sample in family.samples]
    assert not any("kernel" in each for each in labels)


def test_a_router_exports_the_kernels_of_its_table_from_zero_on_and_no_others() -> None:
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry)
    metrics.follow(["law", "mail"])
    assert registry.get_sample_value("constellation_failovers_total", {"kernel": "law"}) == 0
    metrics.routes.labels("mail", "spill").inc()
    metrics.handoffs.labels("mail").inc()
    metrics.handoffs.labels("law").inc(2)
    metrics.answer_seconds.labels("law").observe(0.5)
    metrics.follow(["law", "rust"])
    text = generate_latest(registry).decode()
    assert "mail" not in text
    assert 'constellation_kernel_answer_seconds_sum{kernel="law"} 0.5' in text
    assert 'constellation_handoffs_total{kernel="law"} 2.0' in text


@pytest.mark.parametrize("kind", [kind for kind, _ in PROCESSES])
def test_every_process_exports_its_build_and_itself_and_no_creation_times(kind: Catalogue) -> None:
    registry = CollectorRegistry()
    kind(registry)
    text = generate_latest(registry).decode()
    assert f'constellation_build_info{{version="{version("constellation-runtime")}"}} 1.0' in text
    assert "\nprocess_resident_memory_bytes " in text
    assert "_created" not in text


def test_the_series_of_a_router_grow_with_the_kernels_and_stay_within_thousands() -> None:
    """The worst case: every kernel was routed to for every reason."""
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry)
    kernels = [f"kernel-{number}" for number in range(240)]
    metrics.follow(kernels)
    for kernel in kernels:
        metrics.handoffs.labels(kernel).inc()
        for reason in ("nearest", "pinned", "failover", "spill"):
            metrics.routes.labels(kernel, reason).inc()
    num_series = sum(len(family.samples) for family in registry.collect())
    assert 8 * 240 < num_series < 8 * 240 + 200


def test_every_class_of_change_is_counted_from_zero_on() -> None:
    assert {kind.__name__.lower() for kind in get_args(Change)} == set(CHANGES)


def test_names_follow_the_units() -> None:
    for names in (ROUTER, KERNEL, REGISTRY):
        for name, (type_name, _) in names.items():
            assert name.startswith("constellation_")
            if type_name == "histogram":
                assert name.endswith(("_seconds", "_radians", "_ratio"))


def test_distances_up_to_pi_fall_into_finite_buckets() -> None:
    registry = CollectorRegistry()
    RouterMetrics(registry).distance.observe(3.1415926536)
    assert (
        registry.get_sample_value("constellation_route_distance_radians_bucket", {"le": "3.15"})
        == 1
    )


def test_metrics_are_served_on_loopback_and_stop_on_demand() -> None:
    registry = CollectorRegistry()
    RouterMetrics(registry).routes.labels("python", "nearest").inc(3)
    endpoint, stop = serve_metrics(registry, "127.0.0.1")
    assert endpoint.startswith("127.0.0.1:")
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    stop()
    assert 'constellation_route_total{kernel="python",reason="nearest"} 3.0' in text
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=5)
