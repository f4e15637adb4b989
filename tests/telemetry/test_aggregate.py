"""The metrics of many processes are one text, in which every sample names its process."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from constellation.telemetry import aggregate
from constellation.telemetry.aggregate import MEMBER_UP, collect, merge
from constellation.telemetry.metrics import KernelMetrics, RegistryMetrics, RouterMetrics
from constellation.telemetry.node_metrics import NodeActorMetrics, NodeMetrics, TrainingMetrics
from constellation.telemetry.process_metrics import serve_metrics

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def samples_of(text: str) -> Samples:
    """Return sample name -> labels -> value; every sample has to be there once."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


@contextmanager
def silent_processes(number: int) -> Iterator[dict[str, str]]:
    """Yield processes that accept connections and never answer: name -> host:port."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        yield {f"hangs-{i}": f"127.0.0.1:{s.getsockname()[1]}" for i, s in enumerate(servers)}


def kernel_text(name: str, tokens: int) -> str:
    metrics = KernelMetrics(CollectorRegistry())
    metrics.tokens.labels(name, "prompt").inc(tokens)
    metrics.inter_token_seconds.labels(name).observe(0.01)
    return generate_latest(metrics.registry).decode()


def test_every_sample_has_its_process_and_every_family_is_there_once() -> None:
    text = merge({"kernel-mail": kernel_text("mail", 3), "kernel-law": kernel_text("law", 5)})
    samples = samples_of(text)
    assert samples["constellation_tokens_total"] == {
        (("kernel", "mail"), ("kind", "prompt"), ("member", "kernel-mail")): 3.0,
        (("kernel", "law"), ("kind", "prompt"), ("member", "kernel-law")): 5.0,
    }
    assert samples["constellation_inter_token_seconds_count"] == {
        (("kernel", "law"), ("member", "kernel-law")): 1.0,
        (("kernel", "mail"), ("member", "kernel-mail")): 1.0,
    }
    assert (("member", "kernel-law"),) in samples["process_resident_memory_bytes"]
    assert text.count("# TYPE constellation_inter_token_seconds histogram") == 1
    assert samples[MEMBER_UP].keys() == {(("member", "kernel-law"),), (("member", "kernel-mail"),)}


def test_nothing_but_the_label_is_added() -> None:
    """The oracle parses every number, which the merge does not."""
    router = RouterMetrics(CollectorRegistry())
    router.follow(["law", "mail"])
    router.distance.observe(0.25)
    router.requests.labels("nearest", "ok").inc(1e9)
    texts = {"router": generate_latest(router.registry).decode(), "kernel": kernel_text("law", 5)}
    wanted: Samples = {}
    for member, text in texts.items():
        for name, labelled in samples_of(text).items():
            for labels, value in labelled.items():
                key = tuple(sorted([*labels, ("member", member)]))
                wanted.setdefault(name, {})[key] = value
    found = samples_of(merge(texts))
    del found[MEMBER_UP]
    assert repr(sorted(found.items())) == repr(sorted(wanted.items()))  # NaN is not NaN


def test_what_is_said_of_another_member_keeps_that_members_name() -> None:
    metrics = RegistryMetrics(CollectorRegistry())
    metrics.member_restarts.labels("kernel-law").inc()
    text = merge({"registry": generate_latest(metrics.registry).decode()})
    assert 'constellation_member_restarts_total{member="kernel-law"} 1.0' in text


def test_help_texts_and_label_values_that_look_like_samples_are_no_samples() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("odd", "First line.\n# HELP odd 1\nodd 7", ["text"], registry=registry)
    gauge.labels('a\nodd 9\n# HELP odd 1"} 2').set(1)
    (sample,) = samples_of(merge({"p": generate_latest(registry).decode()}))["odd"]
    assert sample == (("member", "p"), ("text", 'a\nodd 9\n# HELP odd 1"} 2'))


@pytest.mark.slow
def test_a_process_that_hangs_or_is_gone_is_shown_as_down_and_the_others_are_shown() -> None:
    metrics = RegistryMetrics(CollectorRegistry())
    metrics.table_version.set(7)
    endpoint, close = serve_metrics(metrics.registry, "127.0.0.1")
    with silent_processes(1) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # no process listens there
        gone = f"127.0.0.1:{closed.getsockname()[1]}"
        samples = samples_of(merge(collect({"registry": endpoint, "gone": gone, **silent})))
    close()
    assert samples[MEMBER_UP] == {
        (("member", "registry"),): 1.0,
        (("member", "hangs-0"),): 0.0,
        (("member", "gone"),): 0.0,
    }
    assert samples["constellation_table_version"] == {(("member", "registry"),): 7.0}


@pytest.mark.slow
def test_many_hanging_processes_end_with_the_scrape_and_not_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aggregate, "ANSWER_S", 0.5)
    monkeypatch.setattr(aggregate, "SCRAPE_S", 0.25)
    with silent_processes(80) as silent:
        started_s = time.monotonic()
        found = collect(silent)
        assert time.monotonic() - started_s < 80 / 8 * 0.5
    assert found == dict.fromkeys(silent)


def test_a_process_that_answers_with_something_else_is_down() -> None:
    registry = CollectorRegistry()
    endpoint, close = serve_metrics(registry, "127.0.0.1")
    host = endpoint.split(":")[0]
    with socket.create_server((host, 0)) as server:
        other = f"{host}:{server.getsockname()[1]}"
        reads = aggregate.ThreadPoolExecutor(1)
        reading = reads.submit(collect, {"other": other, "empty": endpoint})
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p/>"
            )
        assert reading.result() == {"other": None, "empty": ""}
        reads.shutdown()
    close()


READINGS = {
    "load_ratio": 0.5,
    "memory_bytes": 8.0,
    "memory_free_bytes": 4.0,
    "disk_bytes": 2.0,
    "disk_free_bytes": 1.0,
}


def machine_text(node: str, load: float) -> str:
    """Return the metrics of the actor of a machine."""
    metrics = NodeActorMetrics(CollectorRegistry())
    metrics.read_with(node, lambda: READINGS | {"load_ratio": load}, lambda: 7, lambda: ())
    return generate_latest(metrics.registry).decode()


def own_text(node: str) -> str:
    """Return the metrics of the launcher's machine and of its training."""
    registry = CollectorRegistry()
    NodeMetrics(registry).show(node, **READINGS)
    TrainingMetrics(registry)
    return generate_latest(registry).decode()


def test_every_machine_is_in_the_text_once_and_has_no_process() -> None:
    texts = {"node-a": machine_text("here", 0.25), "node-b": machine_text("there", 0.75)}
    text = merge({"launcher": "", **texts}, own_text("here"))
    samples = samples_of(text)
    assert samples["constellation_node_load_ratio"] == {
        (("node", "here"),): 0.5,
        (("node", "there"),): 0.75,
    }
    assert len(samples["constellation_node_memory_bytes"]) == 4
    assert text.count("# TYPE constellation_node_load_ratio gauge") == 1
    assert samples["constellation_blob_cache_bytes"] == {
        (("member", "node-a"),): 7.0,
        (("member", "node-b"),): 7.0,
    }


def test_machines_are_shown_without_a_text_about_the_own_one() -> None:
    samples = samples_of(merge({"node-b": machine_text("there", 0.75)}))
    assert samples["constellation_node_load_ratio"] == {(("node", "there"),): 0.75}


def test_with_one_machine_the_text_about_it_is_as_it_was_written() -> None:
    own = own_text("here")
    assert merge({"kernel-mail": kernel_text("mail", 3)}, own).endswith(own)
