"""All metrics of a node have one port that stays, and Prometheus learns its targets there."""

import gzip
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from cluster import bounded_http_server, metrics_server
from cluster.metrics_server import MetricsServer, metrics_port_of
from cluster.node_collector import node_name
from constellation.errors import ConfigError, DeploymentError
from constellation.settings import Settings
from constellation.telemetry.metrics import RegistryMetrics
from constellation.telemetry.process_metrics import READ_FAILURES, serve_metrics
from constellation.telemetry.training_status import SIZE_MAX
from tests.watching.prometheus_server import check_metrics, needs_prometheus

ROW = {"kernel": "law", "state": "FINISHED", "reason": ""}
PROGRESS = ROW | {
    "step": 80,
    "num_steps": 85,
    "bits_per_byte": 1.5,
    "dev_bits_per_byte": 1.75,
    "tokens_per_second": 2400.0,
    "guard": "HEALTHY",
}
STATUS = {
    "updated": "2026-01-02T03:04:05+00:00",
    "part": "",
    "kernels": {"law": PROGRESS, "mail": ROW | {"kernel": "mail", "state": "STAGED"}},
}


def settings(**serve: object) -> Settings:
    return Settings(serve=serve)  # type: ignore[arg-type]


@contextmanager
def opened(folder: Path) -> Iterator[MetricsServer]:
    made = Settings(artifacts=folder, run_dir=folder, serve={"port": 0})
    server = MetricsServer(made)
    with server.open():
        yield server


def get(server: MetricsServer, path: str = "/metrics", **headers: str) -> tuple[bytes, str]:
    """Return the body and the content type of a reply."""
    request = urllib.request.Request(f"http://{server.endpoint}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read(), reply.headers["Content-Type"]


def value(server: MetricsServer, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(get(server)[0].decode()):
        for sample in family.samples:
            if sample.name == f"constellation_{name}" and sample.labels == labels:
                return float(sample.value)
    return None


@pytest.mark.parametrize(
    ("serve", "port"),
    [
        ({}, 50_251),
        ({"port": 7000}, 7200),
        ({"port": 7000, "routers": 64}, 7200),
        ({"port": 0}, 0),
        ({"port": 65_400}, 0),
        ({"port": 7000, "metrics_port": 9000}, 9000),
        ({"port": 7000, "metrics_port": 0}, 0),
        ({"port": 0, "metrics_port": 9000}, 9000),
    ],
)
def test_the_port_is_the_one_that_was_set_or_follows_from_the_routers(
    serve: dict[str, object], port: int
) -> None:
    assert metrics_port_of(settings(**serve)) == port


@pytest.mark.parametrize("port", [7000, 7001, 7002, 7003])
def test_a_routers_port_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=f"serve.metrics_port is {port}"):
        metrics_port_of(settings(port=7000, routers=2, metrics_port=port))


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(DeploymentError, match=rf"127\.0\.0\.1:{port}: .*serve\.metrics_port"),
            MetricsServer(settings(metrics_port=port)).open(),
        ):
            pass


def test_prometheus_finds_one_target_for_the_node_and_one_for_each_process(tmp_path: Path) -> None:
    with opened(tmp_path) as server:
        server.targets = {"router": "127.0.0.1:7", "kernel-law": "127.0.0.1:8"}
        node, kind = get(server, "/targets")
        processes, _ = get(server, "/targets/processes")
        assert kind == "application/json"
        assert json.loads(node) == [{"targets": [server.endpoint], "labels": {"node": node_name()}}]
        assert json.loads(processes) == [
            {"targets": ["127.0.0.1:8"], "labels": {"member": "kernel-law"}},
            {"targets": ["127.0.0.1:7"], "labels": {"member": "router"}},
        ]


@pytest.mark.parametrize("path", ["/", "/metrics/", "/targets/x", "/../metrics"])
def test_other_paths_are_not_found(tmp_path: Path, path: str) -> None:
    with (
        opened(tmp_path) as server,
        pytest.raises(urllib.error.HTTPError, match="404") as refused,
    ):
        get(server, path)
    assert b"/targets/processes" in refused.value.read()
    refused.value.close()


def test_other_methods_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as server:
        request = urllib.request.Request(f"http://{server.endpoint}/metrics", data=b"x")
        with pytest.raises(urllib.error.HTTPError, match="405") as refused:
            urllib.request.urlopen(request, timeout=10)
        refused.value.close()


def test_a_scrape_shows_processes_node_and_launcher_and_writes_nothing(tmp_path: Path) -> None:
    metrics = RegistryMetrics(CollectorRegistry())
    metrics.table_version.set(7)
    endpoint, close = serve_metrics(metrics.registry, "127.0.0.1")
    with opened(tmp_path) as server:
        server.targets = {"registry": endpoint}
        assert value(server, "table_version", member="registry") == 7
        assert value(server, "member_up", member="launcher") == 1
        assert value(server, "node_up", node=node_name()) == 1
        memory = [
            value(server, "node_memory_bytes", node=node_name(), kind=kind) or 0
            for kind in ("available", "total")
        ]
        assert 0 < memory[0] < memory[1]
        assert value(server, "node_disk_bytes", node=node_name(), kind="free")
    close()
    assert list(tmp_path.iterdir()) == []


def test_a_training_is_shown_as_its_status_file_says(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps(STATUS))
    with opened(tmp_path) as server:
        shown = {
            "training_state": (1.0, {"kernel": "law", "state": "FINISHED"}),
            "training_step": (80.0, {"kernel": "law"}),
            "training_steps": (85.0, {"kernel": "law"}),
            "training_tokens_per_second": (2400.0, {"kernel": "law"}),
            "training_guard": (1.0, {"kernel": "law", "guard": "HEALTHY"}),
            "training_updated_seconds": (1_767_323_045.0, {}),
        }
        for name, (wanted, labels) in shown.items():
            assert value(server, name, **labels) == wanted
        for text, bits in (("train", 1.5), ("held_out", 1.75)):
            assert value(server, "training_bit_per_byte", kernel="law", text=text) == bits
        # The file says that a kernel is being trained, and no process holds the folder.
        assert value(server, "training_state", kernel="mail", state="STOPPED") == 1
        (tmp_path / "status.json").unlink()
        assert value(server, "training_step", kernel="law") is None


@pytest.mark.parametrize("content", [b"{", b'{"kernels": 3}', b"\xff", b" " * (SIZE_MAX + 1)])
def test_a_damaged_status_file_is_counted_and_hides_no_other_metric(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "status.json").write_bytes(content)
    with opened(tmp_path) as server:
        before = READ_FAILURES.labels("status")._value.get()
        assert value(server, "node_up", node=node_name()) == 1
        counted = value(server, "read_failures_total", member="launcher", file="status")
        assert counted == before + 2


def test_a_reply_is_compressed_for_those_who_ask(tmp_path: Path) -> None:
    with opened(tmp_path) as server:
        packed, _ = get(server, **{"Accept-Encoding": "gzip"})
        plain, kind = get(server)
    assert kind.startswith("text/plain; version=0.0.4")
    assert gzip.decompress(packed).count(b"\n") == plain.count(b"\n")
    assert len(packed) < len(plain) / 2


def test_more_connections_than_the_limit_are_closed_and_the_port_answers_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_http_server, "CONNECTIONS_MAX", 2)
    with opened(tmp_path) as server:
        host, port = server.endpoint.split(":")
        held = [socket.create_connection((host, int(port)), timeout=10) for _ in range(3)]
        assert held[2].recv(1) == b""  # closed without an answer
        for each in held:
            each.sendall(b"GET /targets HTTP/1.0\r\n\r\n") if each is not held[2] else None
        assert all(each.recv(12) == b"HTTP/1.0 200" for each in held[:2])
        for each in held:
            each.close()


def test_a_scrape_beside_a_scrape_that_hangs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "SCRAPE_S", 0.05)
    go_on, begun = threading.Event(), threading.Event()

    def hang(targets: object, tls: object) -> dict[str, str | None]:
        begun.set()
        assert go_on.wait(20)
        return {}

    monkeypatch.setattr(metrics_server, "collect", hang)
    with opened(tmp_path) as server:
        first = threading.Thread(target=get, args=(server,))
        first.start()
        assert begun.wait(10)
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            get(server)
        refused.value.close()
        go_on.set()
        first.join()


@needs_prometheus
def test_promtool_finds_nothing_to_mend_in_names_and_help_texts(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps(STATUS))
    with opened(tmp_path) as server:
        assert check_metrics(get(server)[0].decode()) == ""
