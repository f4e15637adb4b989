"""`make run`: how its three questions, their answers and the reasons are shown."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cluster import quickstart
from cluster.state_file import RunState
from constellation.settings import load_settings
from tests.wire.fakes import Served


def test_question_kernel_answer_and_reason_are_told_apart_without_colours(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = RunState(pid=1, started=0.0, endpoint=served.endpoint, artifacts="x", kernels=())
    text = io.StringIO()
    quickstart._ask(state, load_settings(), Console(file=text, width=140))
    shown = text.getvalue()
    for domain, question in quickstart.QUESTIONS:
        assert f"A question of {domain}:\n{question}\n" in shown
    assert shown.count(" goes on:\n") == 3
    reasons = [line for line in shown.splitlines() if line.startswith("why ")]
    assert len(reasons) == 3
    assert all("; distances: " in line and "; tokens that count most: " in line for line in reasons)
