"""Do all queries of the Grafana dashboards return data over a trained constellation?

A constellation over a copy of the artifacts answers in every mode for about a minute while a kernel
is killed and releases change; a real Prometheus with the project's rules watches. Then every query
of every panel, variable and event, and every recording rule, is asked.

Run: `python -m benchmarks.boards_answer --artifacts artifacts/starter --run-dir /tmp/run`. The last
line is a JSON object; `empty` should be [] (low is good). Needs Debian's package `prometheus`.
"""

import argparse
import json
import shutil
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Final

from cluster.bootstrap import prepare_environment
from constellation.settings import Settings
from tests.watching.operated import (
    Operated,
    VariedLoad,
    change_what_is_served,
    kill_kernel,
    log_training,
    operated,
    progress_events,
    texts_of_domains,
    without_data,
)
from tools.grafana_boards.board_queries import BoardQuery, board_queries, read_boards

_SPAN_S: Final = 120


def queries_of_rules(it: Operated) -> list[BoardQuery]:
    """Return the recorded series of the rules that the Prometheus evaluates, as queries."""
    rules = it.prometheus.rules()
    return [
        BoardQuery(board="rules", panel=name, legend=name, expression=rule["query"], instant=True)
        for name, rule in rules.items()
        if rule["type"] == "recording"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    options = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Path(folder) / "artifacts"
        shutil.copytree(options.artifacts, artifacts)
        settings = Settings(artifacts=artifacts, run_dir=options.run_dir, serve={"port": 0})
        with operated(settings, Path(folder) / "prometheus") as it:
            _report(it, options.artifacts)


def _report(it: Operated, trained: Path) -> None:
    """Drive the constellation, ask every query, and print how many returned data."""
    boards = read_boards()
    prompts = texts_of_domains(trained)
    prometheus = it.prometheus
    prometheus.wait_until(lambda: prometheus.query("constellation_kernel_up == 1"))
    with VariedLoad(it.state.endpoint, prompts) as load:
        kill_kernel(it.state.endpoint, min(prompts))
        change_what_is_served(it.state.endpoint, max(prompts))
        log_training(it.settings.artifacts, progress_events(trained / "metrics.jsonl")[-100:])
        threading.Event().wait(30)
        queries = [*board_queries(boards), *queries_of_rules(it)]
        empty = without_data(prometheus, queries, span_s=_SPAN_S)
    panels = [each for board in boards.values() for each in board["panels"] if "targets" in each]
    result = {
        "dashboards": len(boards),
        "panels": len(panels),
        "queries": len(queries),
        "with_data": len(queries) - len(empty),
        "empty": [asdict(query) for query in empty],
        "requests": load.outcomes,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
