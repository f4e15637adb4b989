"""The metrics of many processes are one page, and it is said of every sample whose it is."""

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from constellation.telemetry.aggregate import MEMBER_UP, AllMetrics
from constellation.telemetry.metrics import KernelMetrics, RegistryMetrics
from constellation.telemetry.process_metrics import serve_metrics


def page_of(registry: CollectorRegistry) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return sample name -> labels -> value of what `registry` shows."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


@pytest.mark.slow
def test_every_sample_has_its_process_and_every_family_is_there_once() -> None:
    kernels = {}
    for name, tokens in (("mail", 3), ("law", 5)):
        metrics = KernelMetrics(CollectorRegistry())
        metrics.tokens.labels(name, "prompt").inc(tokens)
        metrics.inter_token_seconds.labels(name).observe(0.01)
        kernels[f"kernel-{name}"] = serve_metrics(metrics.registry, "127.0.0.1")
    registry = CollectorRegistry()
    registry.register(AllMetrics(lambda: {name: at for name, (at, _) in kernels.items()}))
    page, text = page_of(registry), generate_latest(registry).decode()
    for _, close in kernels.values():
        close()
    tokens_total = page["constellation_tokens_total"]
    assert tokens_total == {
        (("kernel", "mail"), ("kind", "prompt"), ("member", "kernel-mail")): 3.0,
        (("kernel", "law"), ("kind", "prompt"), ("member", "kernel-law")): 5.0,
    }
    counts = page["constellation_inter_token_seconds_count"]
    assert counts == {
        (("kernel", "law"), ("member", "kernel-law")): 1.0,
        (("kernel", "mail"), ("member", "kernel-mail")): 1.0,
    }
    assert text.count("# TYPE constellation_inter_token_seconds histogram") == 1
    assert "_created" not in text
    assert set(page[MEMBER_UP].values()) == {1.0}


@pytest.mark.slow
def test_a_process_that_hangs_or_is_gone_is_shown_as_down_and_the_others_are_shown() -> None:
    metrics = RegistryMetrics(CollectorRegistry())
    metrics.table_version.set(7)
    endpoint, close = serve_metrics(metrics.registry, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        targets = {
            "registry": endpoint,
            "hangs": f"127.0.0.1:{silent.getsockname()[1]}",
            "gone": f"127.0.0.1:{closed.getsockname()[1]}",
        }
        registry = CollectorRegistry()
        registry.register(AllMetrics(lambda: targets))
        page = page_of(registry)
    close()
    assert page[MEMBER_UP] == {
        (("member", "registry"),): 1.0,
        (("member", "hangs"),): 0.0,
        (("member", "gone"),): 0.0,
    }
    assert page["constellation_table_version"] == {(("member", "registry"),): 7.0}


def test_one_scrape_target_shows_all() -> None:
    registry = CollectorRegistry()
    registry.register(AllMetrics(dict))
    endpoint, close = serve_metrics(registry, "127.0.0.1")
    request = urllib.request.Request(
        f"http://{endpoint}/metrics", headers={"Accept": "application/openmetrics-text"}
    )
    with urllib.request.urlopen(request, timeout=5) as reply:
        assert MEMBER_UP in reply.read().decode()
    close()
