"""`add`, `remove`, `spawn`: what they say, and what they do where nothing runs."""

import json
import shutil
from pathlib import Path

import pytest

from constellation.errors import GrowthRefused
from constellation.kernel.adapters.adapter_file import save_adapter
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import load_kernel
from constellation.records import Retire, Spawn, Table, Unlearn
from constellation.releases.builder import domain_of
from constellation.releases.store import ReleaseStore
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


def content(artifacts: Path) -> str:
    """Return the sha256 of all that the current release serves."""
    return ReleaseStore(artifacts).read_current().content_sha256


def table_of(artifacts: Path) -> Table:
    store = ReleaseStore(artifacts)
    return store.table(store.read_current())


def named(table: Table) -> list[str]:
    return [site.name for site in table.sites]


@pytest.mark.slow
def test_a_finished_kernel_joins_and_leaves_the_artifacts(run: Run, own: Path) -> None:
    before, first = content(own), table_of(own)
    kernel = own / "kernels" / "mail"
    added = run("add", "poems", kernel, "--text", "verse", "--artifacts", own, "--json")
    assert added.exit_code == 0, added.stderr
    told = json.loads(added.stdout)
    table = table_of(own)
    assert told["joined"] == ["poems"]
    assert told["where"] == f"in {own}"
    assert told["others"] is None
    assert told["own"]["num_moved"] > 0
    assert (told["release"], told["table_version"]) == (table.release, 0)
    assert named(table) == sorted([*PROMPTS, "poems"])
    assert table.coordizer_hash != first.coordizer_hash, "its text counts for all"
    assert ReleaseStore(own).previous(table.release) == first.release
    removed = run("remove", "poems", "--artifacts", own)
    assert removed.exit_code == 0, removed.stderr
    assert f"poems left, in {own} · release {table.release + 1}" in removed.stdout.replace("\n", "")
    assert content(own) == before
    back = run("releases", "rollback", "--artifacts", own)
    assert back.exit_code == 0, back.stderr
    assert named(table_of(own)) == named(table)


@pytest.mark.slow
def test_the_same_kernels_give_the_same_release_in_any_order(
    run: Run, own: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(own, tmp_path / "other"))
    for folder, names in ((own, ("poems", "songs")), (other, ("songs", "poems"))):
        for name in names:
            kernel = folder / "kernels" / "mail"
            added = run("add", name, kernel, "--text", "verse", "--artifacts", folder)
            assert added.exit_code == 0, added.stderr
    assert content(own) == content(other)


@pytest.mark.slow
def test_an_adapter_joins_the_artifacts_with_its_base(run: Run, own: Path, tmp_path: Path) -> None:
    shutil.copytree(own / "kernels" / "mail", tmp_path / "base")
    base = load_kernel(tmp_path / "base")
    adapted = attach(base.decoder, LoraConfig(rank=2))
    save_adapter(tmp_path / "adapter", adapted, base=base, base_folder=tmp_path / "base")
    added = run("add", "poems", "adapter", "--text", "verse", "--artifacts", own)
    assert added.exit_code == 0, added.stderr
    shutil.rmtree(tmp_path / "base")
    for folder in (own, ReleaseStore(own).current_folder()):
        assert open_kernel(folder / "kernels" / "poems").tokenizer_hash == base.tokenizer_hash
        assert (folder / "bases" / base.weights_hash / "kernel.json").exists()
    assert "poems" in named(table_of(own))


def test_a_kernel_forgets_a_source_in_the_artifacts(run: Run, own: Path) -> None:
    before = table_of(own)
    told = json.loads(run("unlearn", "mail", "first half", "--artifacts", own, "--json").stdout)
    store, table = ReleaseStore(own), table_of(own)
    assert told["release"] == table.release == before.release + 1
    assert (told["joined"], told["left"], told["reloaded"]) == ([], [], [])
    domain = domain_of(store, store.read_current(), "mail")
    (rest,) = domain.train.rows_by_source()
    assert (rest, domain.unlearned) == ("second half", ("first half",))
    assert table.coordizer_hash != before.coordizer_hash
    assert named(table) == sorted(PROMPTS)
    again = run("unlearn", "mail", rest, "--artifacts", own)
    assert again.exit_code == 1
    assert "is all its text" in again.stderr


@pytest.mark.slow
def test_a_removed_kernel_is_taken_back_without_its_text(run: Run, own: Path) -> None:
    """Live or not, by the path that `remove` leaves it at, with what it had unlearned."""
    run("unlearn", "network", "first half", "--artifacts", own)
    before = content(own)
    assert run("remove", "network", "--artifacts", own).exit_code == 0
    taken = run("add", "network", own / "kernels" / "network", "--artifacts", own)
    assert taken.exit_code == 0, taken.stderr
    assert "network joined, in" in taken.stdout
    assert content(own) == before


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


@pytest.mark.slow
def test_what_it_cost_is_shown_as_a_table(run: Run, own: Path) -> None:
    kernel = own / "kernels" / "mail"
    shown = run("add", "poems", kernel, "--text", "verse", "--artifacts", own).stdout
    assert "poems joined, in" in shown
    assert "no held-out text of the other domains" in shown
    assert "documents" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "poems", "own/kernels/mail"), "--text"),
        (("add", "poems", "verse", "--text", "verse"), "leave --text out"),
        (("add", "poems", "verse"), "run.json"),
        (("add", "poems", "mistyped"), "mistyped: no such file or folder"),
        (("add", "poems", "mistyped", "--text", "verse"), "mistyped: no such file or folder"),
        (("add", "poems", "own/kernels/mail", "--text", "mistyped"), "mistyped: no such file"),
        (("add", "poems", "own/kernels/mail/kernel.json"), "own/kernels/mail instead"),
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
    before, versions = content(own), ReleaseStore(own).versions()
    result = run(*arguments, "--artifacts", own)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert (content(own), ReleaseStore(own).versions()) == (before, versions)


def test_where_it_runs_the_constellation_itself_is_asked(run: Run, served: Served) -> None:
    write_own_state(Path("runs/local"), served.endpoint)
    removed = run("remove", "poems", "--json")
    assert json.loads(removed.stdout) == {
        "release": 7,
        "table_version": 6,
        "joined": ["a"],
        "left": ["b", "c"],
        "reloaded": ["python", "law"],
        "moved": [],
        "where": "live",
    }
    spawned = run("spawn", "python", "python-2")
    wanted = "python-2 shares the queries of python, live · release 7 · table version 6"
    assert wanted in spawned.stdout
    forgot = run("unlearn", "python", "a.txt")
    assert "python routes without a.txt, live · release 7" in forgot.stdout
    calls = [asked for _, asked, _ in served.router.calls]
    assert calls[0] == Retire(name="poems")
    assert isinstance(calls[1], Spawn)
    assert (calls[1].parent, calls[1].name) == ("python", "python-2")
    assert calls[2:] == [Unlearn(kernel="python", source="a.txt")]


def test_a_refusal_is_said_once_and_not_tried_again(run: Run, served: Served) -> None:
    served.router.failures.append(GrowthRefused("python-2", "the queries are alike"))
    result = run("spawn", "python", "python-2", "--endpoint", served.endpoint)
    assert result.exit_code == 1
    assert "the queries are alike" in result.stderr
    assert len(served.router.calls) == 1
