"""`up`, `down`, `status`, and how a constellation is found."""

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import ray_versions
from cluster.cli import output_format
from cluster.cli.connection import configuration
from cluster.cli.output_format import kernels_table
from cluster.state_file import RunState, own_start_mark, write_state
from constellation import Client
from constellation.errors import ReloadRefused
from constellation.records import LiveCollectivePhi, Rebalance, RouterStatus, Rule
from constellation.routing.refusal_rule import LENGTHS, wilson_interval
from tests.cli.conftest import Run
from tests.routing.tables import refusal
from tests.wire.fakes import NAMES, Served


def write_own_state(run_dir: Path, endpoint: str, *, artifacts: str = "x") -> None:
    """Write the state file of a constellation whose launcher is this process."""
    run_dir.mkdir(parents=True, exist_ok=True)
    state = RunState(
        pid=os.getpid(),
        started=own_start_mark(),
        endpoint=endpoint,
        artifacts=artifacts,
        kernels=NAMES,
    )
    write_state(run_dir, state)


def test_status_shows_every_kernel(run: Run, served: Served) -> None:
    result = run("status", "--endpoint", served.endpoint)
    assert result.exit_code == 0
    words = [line.split() for line in result.stdout.splitlines() if line]
    rows = {row[0]: row for row in words}
    assert rows["python"][1:] == ["up", "4", "3", "6", "100.0", "%", "75", "%", "2"]
    assert rows["law"][1] == "down"
    assert words[0][0] == "degraded"
    assert "  kernel law is down" in result.stdout
    assert "  none can be forked" in result.stdout
    assert "process 12, 0 restarts · registry process 13" in result.stdout


def test_where_the_kernels_lie_is_shown_on_demand(run: Run, served: Served) -> None:
    result = run("status", "--geometry", "--endpoint", served.endpoint)
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines()[1:4]}
    assert lines["python"][1:10] == ["up", "0", "6", "4", "3", "0.00", "0.75", "2", "11"]
    assert lines["poetry"][2] == "-"
    assert "load entropy 0.75" in result.stdout


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_of_kernels_is_whole_at_every_width(served: Served, width: int) -> None:
    """On a narrow terminal its lines break; nothing of a name, a number or a basin is cut."""
    with Client(served.endpoint) as client:
        told = client.status()
    long = replace(told.kernels[0], name="k" * 64)
    written = io.StringIO()
    console = output_format._UncutConsole(file=written, width=width, highlight=False, markup=False)
    console.print(kernels_table(replace(told, kernels=(long, *told.kernels[1:]))))
    first = written.getvalue().splitlines()[1].split()
    assert first[0] == "k" * 64
    assert first[-3:] == output_format.outcomes(long.basin_K.tolist()).split()
    assert "…" not in written.getvalue()
    assert console.width == width


def test_status_as_json_is_what_the_client_says(run: Run, served: Served) -> None:
    shown = json.loads(run("status", "--json", "--endpoint", served.endpoint).stdout)
    with Client(served.endpoint) as client:
        told = client.status()
    assert [kernel["name"] for kernel in shown["kernels"]] == list(NAMES)
    assert shown["kernels"][0]["basin_K"] == told.kernels[0].basin_K.tolist()
    assert shown["table_version"] == told.table_version
    assert shown["launcher_pid"] is None
    assert shown["memory_bytes"] is None


def test_up_says_that_a_ray_was_never_tried(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--artifacts", tmp_path / "none", "--run-dir", tmp_path / "run")
    assert "never tried" not in run("up", *flags).stderr
    monkeypatch.setattr(ray_versions, "version", lambda _: "2.61.0")
    result = run("up", *flags)
    assert "warning: Ray 2.61.0 was never tried" in result.stderr
    assert "train first" in result.stderr, "it goes on to what would have been said anyway"


def test_reload_says_which_kernels_have_new_weights(run: Run, served: Served) -> None:
    result = run("reload", "--endpoint", served.endpoint)
    assert result.exit_code == 0
    assert "new weights: python, law · release 7 · table version 6" in result.stdout
    shown = json.loads(run("reload", "--json", "--endpoint", served.endpoint).stdout)
    assert shown == {
        "release": 7,
        "table_version": 6,
        "joined": ["a"],
        "left": ["b", "c"],
        "reloaded": ["python", "law"],
        "moved": [],
    }


def test_rebalance_says_which_kernels_moved(run: Run, served: Served) -> None:
    result = run("rebalance", "--endpoint", served.endpoint)
    assert result.exit_code == 0
    said = "moved: none, since the nodes are about equally full · table version 6"
    assert said in result.stdout
    assert [asked for _, asked, _ in served.router.calls] == [Rebalance()]
    shown = json.loads(run("rebalance", "--json", "--endpoint", served.endpoint).stdout)
    assert (shown["moved"], shown["table_version"]) == ([], 6)


def test_a_refused_reload_says_why(run: Run, served: Served) -> None:
    served.router.failures.append(ReloadRefused("it was trained with another coordizer"))
    result = run("reload", "--endpoint", served.endpoint)
    assert result.exit_code == 1
    assert "nothing was reloaded: it was trained with another coordizer" in result.stderr


def test_the_running_constellation_is_found_by_its_state_file(run: Run, served: Served) -> None:
    write_own_state(Path("runs/local"), served.endpoint)
    result = run("status")
    assert result.exit_code == 0
    assert served.endpoint in result.stdout


def test_memory_is_told_when_the_processes_descend_from_the_launcher(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_own_state(Path("runs/local"), served.endpoint)
    assert "of all processes" not in run("status").stdout
    state = replace(served.router.state(), pid=os.getpid())
    monkeypatch.setattr(served.router, "state", lambda: state)
    assert "of all processes (PSS, Ray's daemons included)" in run("status").stdout
    told = json.loads(run("status", "--json").stdout)["memory_bytes"]
    assert 2**24 < told < 2**34


def test_a_named_endpoint_beats_the_state_file(run: Run, served: Served) -> None:
    write_own_state(Path("runs/local"), "127.0.0.1:1")
    shown = json.loads(run("status", "--json", "--endpoint", served.endpoint).stdout)
    assert shown["endpoint"] == served.endpoint
    assert shown["memory_bytes"] is None


def test_the_configured_address_is_tried_when_nothing_runs_from_here(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", served.endpoint.rpartition(":")[2])
    result = run("ask", "x")
    assert result.stdout == "x\n"
    assert result.stderr.startswith(
        f"nothing runs from runs/local; asking the server at the default address "
        f"{served.endpoint}\n"
    )


CHANGES = [
    ("reload",),
    ("rebalance",),
    ("spawn", "python", "python-2"),
    ("add", "poems", "verse"),
    ("remove", "python"),
    ("unlearn", "python", "a.txt"),
]


@pytest.mark.parametrize("command", [("reload",), ("spawn", "python", "python-2")])
def test_what_changes_a_constellation_does_not_take_whoever_serves_at_the_default_address(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", served.endpoint.rpartition(":")[2])
    result = run(*command)
    assert result.exit_code == 1
    assert "by --run-dir or --endpoint" in result.stderr
    assert served.router.calls == []
    assert run(*command, "--endpoint", served.endpoint).exit_code == 0


@pytest.mark.parametrize(
    "command", [*CHANGES, ("status",), ("ask", "x"), ("route", "x"), ("chat",)], ids=" ".join
)
@pytest.mark.parametrize("named_by", ["flag", "variable"])
def test_a_run_folder_that_is_named_and_from_which_nothing_runs_is_an_error(
    run: Run,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    named_by: str,
) -> None:
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", served.endpoint.rpartition(":")[2])
    Path("verse").mkdir()
    if named_by == "flag":
        result = run(*command, "--run-dir", "runs/elsewhere")
    else:
        monkeypatch.setenv("CONSTELLATION_RUN_DIR", "runs/elsewhere")
        result = run(*command)
    assert result.exit_code == 1
    assert "nothing runs from runs/elsewhere" in result.stderr
    assert result.stderr.count("\n") == 1
    assert served.router.calls == []


def test_an_address_of_ip_version_6_is_named_in_brackets(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSTELLATION_SERVE__HOST", "::1")
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", "1")
    assert "no server answers at [::1]:1;" in run("status").stderr


@pytest.mark.parametrize("command", [("status",), ("ask", "x"), ("route", "x"), ("chat",)])
def test_nothing_that_runs_is_one_line_that_says_what_to_do(
    run: Run, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", "1")
    result = run(*command)
    assert result.exit_code == 1
    assert "start one with: constellation up" in result.stderr
    assert result.stderr.count("\n") == 1


def test_down_without_a_constellation_is_an_error(run: Run) -> None:
    result = run("down", "--run-dir", "elsewhere")
    assert result.exit_code == 1
    assert "nothing runs from elsewhere" in result.stderr


def test_up_without_artifacts_says_how_to_make_some(run: Run) -> None:
    result = run("up", "--artifacts", "nowhere")
    assert result.exit_code == 1
    assert "constellation train" in result.stderr


def test_up_refuses_to_listen_everywhere_without_a_token(run: Run, artifacts: Path) -> None:
    result = run("up", "--artifacts", artifacts, "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "without a token" in result.stderr


def test_up_does_not_start_a_second_one(run: Run, served: Served, artifacts: Path) -> None:
    write_own_state(Path("here"), served.endpoint)
    result = run("up", "--artifacts", artifacts, "--run-dir", "here")
    assert result.exit_code == 1
    assert "constellation down" in result.stderr


def test_flags_override_the_environment_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "constellation.toml").write_text(
        'run_dir = "file"\nartifacts = "file"\n[serve]\nport = 1\ntop_k = 7\n'
    )
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", "2")
    monkeypatch.setenv("CONSTELLATION_ARTIFACTS", "environment")
    settings = configuration()
    assert (settings.serve.port, settings.serve.top_k) == (2, 7)
    assert (settings.run_dir, settings.artifacts) == (Path("file"), Path("environment"))
    settings = configuration(port=3, artifacts=Path("flag"))
    assert (settings.serve.port, settings.serve.top_k) == (3, 7)
    assert (settings.run_dir, settings.artifacts) == (Path("file"), Path("flag"))


def test_status_names_every_router_when_there_are_several(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "routers" not in run("status", "--endpoint", served.endpoint).stdout
    routers = (
        RouterStatus(name="router", endpoint="h:1", up=True, pid=12, num_restarts=0),
        RouterStatus(name="router-2", endpoint="h:2", up=False, pid=0, num_restarts=1),
    )
    state = replace(served.router.state(), routers=routers)
    monkeypatch.setattr(served.router, "state", lambda: state)
    shown = run("status", "--endpoint", served.endpoint).stdout
    assert "router up at h:1, 0 restarts" in shown
    assert "router-2 down at h:2, 1 restart" in shown
    assert "router router-2 is down or not answering" in shown
    told = json.loads(run("status", "--json", "--endpoint", served.endpoint).stdout)
    assert [router["num_restarts"] for router in told["routers"]] == [0, 1]


def test_status_says_what_refusing_does_with_intervals_where_the_table_knows(
    run: Run, served: Served
) -> None:
    plain = run("status", "--geometry", "--endpoint", served.endpoint).stdout
    assert "foreign caught" not in plain
    made = refusal(0)
    served.router.table = replace(served.router.table, refusal=made)
    shown = run("status", "--geometry", "--endpoint", served.endpoint).stdout
    assert "refusing at 1 % of in-domain texts" in shown
    for row in made.at_share(Rule.BEARING):
        assert row.refused is not None
        low, high = wilson_interval(row.refused, row.num_documents)
        said = f"{100 * row.refused:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        assert any(said in line for line in shown.splitlines())
    answer = json.loads(run("status", "--json", "--endpoint", served.endpoint).stdout)
    assert [row["num_tokens"] for row in answer["refusal"]] == list(LENGTHS)


def test_status_says_collective_phi_where_a_router_measures_it(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = served.router.state()

    def shown(found: LiveCollectivePhi) -> str:
        state = replace(plain, collective_phi=found)
        monkeypatch.setattr(served.router, "state", lambda: state)
        said = run("status", "--geometry", "--endpoint", served.endpoint).stdout
        return " ".join(said.split())

    plain_said = run("status", "--geometry", "--endpoint", served.endpoint).stdout
    assert "collective Phi" not in plain_said
    few = LiveCollectivePhi(num_prompts=3, num_needed=8)
    assert "collective Phi: 3 of the 8 prompts that it needs" in shown(few)
    found = LiveCollectivePhi(
        num_prompts=64,
        num_needed=8,
        phi_bits=0.1,
        interval=(0.04, 0.16),
        random_routing_bits=-0.2,
        uniform_ensemble_bits=-0.05,
        best_kernel="prose",
    )
    said = shown(found)
    assert "phi_bits is +0.1000 bits per byte (+0.0400 to +0.1600, 95 %, 64 prompts)" in said
    assert "emergent" in said
    assert "random routing -0.2000, uniform ensemble -0.0500" in said
    told = json.loads(run("status", "--json", "--endpoint", served.endpoint).stdout)
    assert told["collective_phi"]["interval"] == [0.04, 0.16]
    null = shown(replace(found, interval=(-0.04, 0.16)))
    assert "emergent" not in null
    assert "no difference from prose alone is shown" in null
