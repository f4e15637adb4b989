"""Draw the pictures of docs/watching.md from a real Prometheus over a real constellation.

Usage: `python -m tools.board_pictures --artifacts artifacts/starter --run-dir /tmp/run`

The constellation answers for some minutes while a kernel is overloaded, kernels are killed, queries
out of domain arrive, releases change, and the log of the artifacts' own training is written again.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from cluster.bootstrap import prepare_environment
from constellation.settings import Settings
from tests.watching.operated import (
    Operated,
    Prompts,
    VariedLoad,
    change_what_is_served,
    kill_kernel,
    log_training,
    operated,
    progress_events,
    texts_of_domains,
)
from tools.grafana_boards.board_queries import (
    BoardQuery,
    board_queries,
    plain_promql,
    read_boards,
)
from tools.grafana_boards.document import DOCUMENT, pictures_of
from tools.grafana_boards.drawing import Labelled, draw_panel, legend_of

_PHASE_S: Final = 30.0
_WINDOW: Final = "20s"
"""Replaces `$__rate_interval`: twenty scrapes, so that lines of few requests are legible."""


def run_eventful_minutes(it: Operated, prompts: Prompts, training: Path) -> None:
    """Drive the constellation through events that an operator asks about, one after the other."""
    pause, kernels = threading.Event(), list(prompts)
    endpoint = it.state.endpoint
    with VariedLoad(endpoint, prompts), _replayed(it.settings.artifacts, training):
        pause.wait(_PHASE_S)
        kill_kernel(endpoint, kernels[1])
        pause.wait(_PHASE_S / 2)
        kill_kernel(endpoint, kernels[1])
        pause.wait(_PHASE_S / 2)
        change_what_is_served(endpoint, kernels[-1], after_s=_PHASE_S / 2)
        overload = {kernels[2]: prompts[kernels[2]]}
        with VariedLoad(endpoint, overload, num_threads=12):
            pause.wait(_PHASE_S)
        pause.wait(_PHASE_S)


@contextmanager
def _replayed(artifacts: Path, training: Path) -> Iterator[None]:
    """Write the progress of a finished training again while the block runs, many times faster."""
    stop = threading.Event()

    def replay() -> None:
        for event in progress_events(training):
            log_training(artifacts, [event])
            if stop.wait(0.4):
                return

    thread = threading.Thread(target=replay)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def series_of(it: Operated, queries: Sequence[BoardQuery], span_s: int) -> list[Labelled]:
    """Return the series of a panel's queries over the latest `span_s` seconds, without NaN."""
    found = []
    for query in queries:
        text = plain_promql(query.expression, window=_WINDOW, span=f"{span_s}s")
        prometheus = it.prometheus
        results = (
            prometheus.query(text)
            if query.instant
            else prometheus.query_range(text, seconds=span_s, step_s=2)
        )
        for series in results:
            values = [pair for pair in series.values if not math.isnan(pair[1])]
            if values:
                found.append((legend_of(query.legend, series.labels), values))
    return found


def marks_of(it: Operated, span_s: int) -> list[tuple[str, float]]:
    """Return releases and later starts of processes: (text, unix seconds)."""
    releases = it.prometheus.query_range(
        'count_values("release", constellation_release_number) * on () group_left ()'
        " max(constellation_release_since_seconds)",
        seconds=span_s,
    )
    starts = it.prometheus.query_range(
        'max by (member) (process_start_time_seconds{member!=""})', seconds=span_s
    )
    marks = {(f"release {one.labels['release']}", one.values[-1][1]) for one in releases}
    for one in starts:
        marks |= {
            (f"{one.labels['member']} starts", new)
            for (_, old), (_, new) in pairwise(one.values)
            if new > old
        }
    return sorted(marks, key=lambda mark: mark[1])


def draw_all(it: Operated, span_s: int) -> dict[str, int]:
    """Draw every picture of the document; return file name -> size in bytes."""
    boards = read_boards()
    queries = board_queries(boards)
    marks = marks_of(it, span_s)
    sizes = {}
    for picture in pictures_of(DOCUMENT):
        panels: list[Any] = boards[picture.board]["panels"]
        (panel,) = [each for each in panels if each["title"] == picture.panel]
        asked = [q for q in queries if (q.board, q.panel) == (picture.board, picture.panel)]
        picture.path.parent.mkdir(parents=True, exist_ok=True)
        draw_panel(panel, series_of(it, asked, span_s), marks, picture.path)
        sizes[picture.path.name] = picture.path.stat().st_size
    return sizes


def main() -> None:
    """Run a constellation over a copy of the artifacts and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    options = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Path(folder) / "artifacts"
        shutil.copytree(options.artifacts, artifacts)
        settings = Settings(
            artifacts=artifacts,
            run_dir=options.run_dir,
            serve={"port": 0},
            kernel={"slots": 2, "queue_max": 8},
        )
        with operated(settings, Path(folder) / "prometheus") as it:
            prompts = texts_of_domains(artifacts)
            training = options.artifacts / "metrics.jsonl"
            run_eventful_minutes(it, prompts, training)
            sizes = draw_all(it, span_s=int(6 * _PHASE_S))
    sys.stdout.write(json.dumps(sizes) + "\n")


if __name__ == "__main__":
    main()
