"""`add`, `remove`, `spawn`: what they say, and what they do where nothing runs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from constellation.wire.texts_file import load_texts

from constellation.errors import GrowthRefused
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.files import save_adapter
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.checkpoint import load_kernel
from constellation.kernel.opening import open_kernel
from constellation.wire.table_file import load_table, pack_table
from tests.cli.conftest import Run
from tests.cli.test_serving_commands import write_own_state
from tests.support.artifacts import PROMPTS
from tests.wire.fakes import Served

VERSE = "the river sings of spring and the lark of morning over meadows white with dew\n"


@pytest.fixture
def own(artifacts: Path, tmp_path: Path) -> Path:
    """Return artifacts that a test may change, and text beside them."""
    shutil.copytree(artifacts, tmp_path / "own")
    (tmp_path / "verse").mkdir()
    words = VERSE.split()
    for number in range(12):
        lines = (" ".join(words[k:] + words[:k]) + f" {number * k}" for k in range(len(words)))
        (tmp_path / "verse" / f"{number}.txt").write_text("\n".join(lines))
    return tmp_path / "own"


def bits(artifacts: Path) -> bytes:
    return pack_table(replace(load_table(artifacts / "table.msgpack"), version=1))


def test_a_finished_kernel_joins_and_leaves_the_artifacts(run: Run, own: Path) -> None:
    before = bits(own)
    kernel = own / "kernels" / "mail"
    added = run("add", "poems", kernel, "--text", "verse", "--artifacts", own, "--json")
    assert added.exit_code == 0, added.stderr
    told = json.loads(added.stdout)
    assert told["kernel"] == "poems"
    assert told["where"] == f"in {own}"
    assert told["others"] is None
    assert told["own"]["num_moved"] > 0
    table = load_table(own / "table.msgpack")
    assert [site.name for site in table.sites] == [*PROMPTS, "poems"]
    assert table.sites[-1].seat == told["seat"]
    assert table.version == told["table_version"]
    removed = run("remove", "poems", "--artifacts", own)
    assert removed.exit_code == 0, removed.stderr
    assert "poems left, in" in removed.stdout
    assert bits(own) == before


def test_an_adapter_joins_the_artifacts_with_its_base(run: Run, own: Path, tmp_path: Path) -> None:
    shutil.copytree(own / "kernels" / "mail", tmp_path / "base")
    base = load_kernel(tmp_path / "base")
    adapted = attach(base.decoder, LoraConfig(rank=2))
    save_adapter(tmp_path / "adapter", adapted, base=base, base_folder=tmp_path / "base")
    added = run("add", "poems", "adapter", "--text", "verse", "--artifacts", own)
    assert added.exit_code == 0, added.stderr
    shutil.rmtree(tmp_path / "base")
    assert open_kernel(own / "kernels" / "poems").tokenizer_hash == base.tokenizer_hash
    assert (own / "bases" / base.weights_hash / "kernel.json").exists()
    assert load_table(own / "table.msgpack").sites[-1].name == "poems"


def test_a_kernel_forgets_a_source_in_the_artifacts(run: Run, own: Path) -> None:
    before = load_table(own / "table.msgpack")
    told = json.loads(run("unlearn", "mail", "first half", "--artifacts", own, "--json").stdout)
    table = load_table(own / "table.msgpack")
    assert told["table_version"] == table.version == before.version + 1
    assert told["seat"] == before.sites[0].seat
    (rest,) = load_texts(own, "mail", coordizer_hash=table.coordizer_hash).keys() - {"first half"}
    roots = load_texts(own, "mail", coordizer_hash=table.coordizer_hash)[rest]
    assert table.sites[0].basin_K.tobytes() == roots.mean().tobytes()
    assert table.sites[0].unlearned == ("first half",)
    assert [site.name for site in table.sites] == list(PROMPTS)
    again = run("unlearn", "mail", rest, "--artifacts", own)
    assert again.exit_code == 1
    assert "is all its text" in again.stderr


def test_a_removed_kernel_is_taken_back_without_its_text(run: Run, own: Path) -> None:
    """Live or not, by the path that `remove` leaves it at."""
    before = load_table(own / "table.msgpack").sites
    assert run("remove", "network", "--artifacts", own).exit_code == 0
    taken = run("add", "network", own / "kernels" / "network", "--artifacts", own)
    assert taken.exit_code == 0, taken.stderr
    assert "network joined, in" in taken.stdout
    after = {site.name: site for site in load_table(own / "table.msgpack").sites}
    for site in before:
        assert after[site.name].basin_K.tobytes() == site.basin_K.tobytes()
        assert (after[site.name].radii, after[site.name].seat) == (site.radii, site.seat)


def test_the_sources_of_a_kernel_are_listed_and_those_that_are_gone_are_marked(
    run: Run, own: Path
) -> None:
    shown = run("sources", "mail", "--artifacts", own).stdout.splitlines()
    assert [line.split(":")[0] for line in shown] == ["first half", "second half"]
    run("unlearn", "mail", "second half", "--artifacts", own)
    told = json.loads(run("sources", "mail", "--artifacts", own, "--json").stdout)
    assert told["kernel"] == "mail"
    assert [(s["name"], s["unlearned"]) for s in told["sources"]] == [
        ("first half", False),
        ("second half", True),
    ]
    assert "second half: " in run("sources", "mail", "--artifacts", own).stdout
    assert run("sources", "poems", "--artifacts", own).exit_code == 1


def test_what_it_cost_is_shown_as_a_table(run: Run, own: Path) -> None:
    kernel = own / "kernels" / "mail"
    shown = run("add", "poems", kernel, "--text", "verse", "--artifacts", own).stdout
    assert "poems joined, in" in shown
    assert "no held-out text of the other domains" in shown
    assert "documents" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "poems", "own/kernels/mail"), "--text"),
        (("add", "poems", "verse", "--text", "verse"), "leave --text out"),
        (("add", "poems", "verse"), "run.json"),
        (("add", "poems", "mistyped"), "mistyped: no such file or folder"),
        (("add", "poems", "mistyped", "--text", "verse"), "mistyped: no such file or folder"),
        (("add", "poems", "own/kernels/mail", "--text", "mistyped"), "mistyped: no such file"),
        (("add", "poems", "own/kernels/mail/kernel.json"), "give the folder itself"),
        (("add", "poems", "own/kernels/mail", "--text", "own/kernels/mail"), "a finished kernel"),
        (("unlearn", "mail", "first halves"), "nearest names: first half"),
        (("add", "mail", "own/kernels/mail", "--text", "verse"), "already"),
        (("add", "../poems", "own/kernels/mail", "--text", "verse"), "name is '../poems'"),
        (("remove", "poems"), "no kernel is named 'poems'"),
        (("unlearn", "poems", "first half"), "no kernel is named 'poems'"),
        (("unlearn", "mail", "third half"), "first half, second half"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    run: Run, own: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = bits(own)
    result = run(*arguments, "--artifacts", own)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert bits(own) == before


def test_where_it_runs_the_constellation_itself_is_asked(run: Run, served: Served) -> None:
    write_own_state(Path("runs/local"), served.endpoint)
    removed = run("remove", "poems", "--json")
    assert json.loads(removed.stdout) == {
        "kernel": "poems",
        "seat": 0,
        "table_version": 6,
        "where": "live",
    }
    spawned = run("spawn", "python", "python-2")
    assert "python-2 shares the queries of python, live · table version 6" in spawned.stdout
    forgot = run("unlearn", "python", "a.txt")
    assert "python routes without a.txt, live" in forgot.stdout
    calls = [(name, detail) for name, detail, _ in served.router.calls]
    assert calls == [
        ("poems", "retire"),
        ("python-2", ("spawn", "python")),
        ("python", ("unlearn", "a.txt")),
    ]


def test_a_refusal_is_said_once_and_not_tried_again(run: Run, served: Served) -> None:
    served.router.failures.append(GrowthRefused("python-2", "the queries are alike"))
    result = run("spawn", "python", "python-2", "--endpoint", served.endpoint)
    assert result.exit_code == 1
    assert "the queries are alike" in result.stderr
    assert len(served.router.calls) == 1
