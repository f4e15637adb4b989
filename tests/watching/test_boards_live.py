"""Every query of the dashboards and every recording rule returns data from a real Prometheus."""

from collections.abc import Iterator

import pytest

from constellation.settings import Settings
from tests.support.artifacts import PROMPTS, build_artifacts
from tests.watching.operated import (
    Operated,
    VariedLoad,
    change_what_is_served,
    kill_kernel,
    log_training,
    operated,
    without_data,
)
from tests.watching.prometheus_server import needs_prometheus
from tools.grafana_boards.board_queries import board_queries, read_boards
from training.progress.events import KernelProgress

pytestmark = [pytest.mark.ray, needs_prometheus]
_SPAN_S = 120


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """Yield a constellation under a load that feeds every panel; the load goes on meanwhile."""
    artifacts = build_artifacts(tmp_path_factory.mktemp("artifacts"))
    settings = Settings(
        artifacts=artifacts,
        run_dir=tmp_path_factory.mktemp("run"),
        serve={"port": 0},
        kernel={"slots": 2, "queue_max": 4},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        with operated(settings, tmp_path_factory.mktemp("prometheus")) as it:
            prometheus = it.prometheus
            prompts = {kernel: [text] for kernel, text in PROMPTS.items()}
            prometheus.wait_until(lambda: prometheus.query("constellation_kernel_up == 1"))
            with VariedLoad(it.state.endpoint, prompts) as load:
                kill_kernel(it.state.endpoint, "mail")
                change_what_is_served(it.state.endpoint, "network")
                log_training(artifacts, [_progress(step) for step in (1, 2)])
                yield it
            assert load.outcomes["ok"] > 0
            assert load.outcomes["OutOfDomain"] > 0


def _progress(step: int) -> KernelProgress:
    return KernelProgress(
        kernel="mail",
        stage="branch",
        step=step,
        num_steps=2,
        loss_bits=5.0,
        bits_per_byte=1.5,
        tokens_per_second=1000.0,
        eta_s=0.0,
        gradient_norm=1.0,
        dev_bits_per_byte=1.6,
    )


def test_every_query_of_every_dashboard_returns_data(watched: Operated) -> None:
    boards = read_boards()
    del boards["machines"]  # needs several: tests/machines/test_machines_watched.py
    queries = board_queries(boards)
    assert len(queries) > 90
    prometheus = watched.prometheus

    def all_answer() -> bool:
        return not without_data(prometheus, queries, span_s=_SPAN_S)

    try:
        prometheus.wait_until(all_answer, timeout_s=45)
    except AssertionError:
        assert without_data(prometheus, queries, span_s=_SPAN_S) == []


def test_every_recording_rule_returns_data(watched: Operated) -> None:
    rules = watched.prometheus.rules()
    recorded = {name: rule["query"] for name, rule in rules.items() if rule["type"] == "recording"}
    assert len(recorded) > 5
    assert [name for name, query in recorded.items() if not watched.prometheus.query(query)] == []


def test_a_query_of_a_metric_that_nobody_has_returns_no_data(watched: Operated) -> None:
    (query, *_) = board_queries(read_boards())
    gone = type(query)(board="x", panel="x", legend="x", expression="constellation_gone")
    assert without_data(watched.prometheus, [gone], span_s=_SPAN_S) == [gone]
