"""`releases`: what was served is listed, compared, tried, gone back to and cleared away."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.rollback import RolledBack, roll_back
from constellation.errors import ArtifactError, DeploymentError
from constellation.records import RollBack
from constellation.releases.store import ReleaseStore
from constellation.wire.run_lock import owned
from constellation.wire.table_file import load_table, save_table
from tests.cli.conftest import Run
from tests.cli.test_serving_commands import write_own_state
from tests.releases.conftest import publish, unpublished
from tests.releases.drafts import check_whole, files_in
from tests.support.artifacts import PROMPTS
from tests.wire.fakes import Served


@pytest.fixture
def own(artifacts: Path, tmp_path: Path) -> Path:
    """Return artifacts with two releases, of which the second is current; one kernel has left."""
    own = unpublished(Path(shutil.copytree(artifacts, tmp_path / "own")))
    store = ReleaseStore(own, clock=lambda: 86_400.0)
    publish(store, own)
    store.switch(1)
    path = own / "table.msgpack"
    table = load_table(path)
    save_table(path, replace(table, sites=table.sites[:2]))
    publish(store, own, "remove numbers")
    store.switch(2)
    return own


def test_releases_are_listed(run: Run, own: Path) -> None:
    header, first, second = run("releases", "list", "--artifacts", own).stdout.splitlines()
    assert header.split() == ["release", "from", "written", "kernels", "size", "change"]
    assert first.split()[0] == "1"
    assert first.rstrip().endswith("trained")
    assert second.split()[:3] == ["2", "current", "1"]
    assert second.rstrip().endswith("remove numbers")
    told = json.loads(run("releases", "list", "--artifacts", own, "--json").stdout)
    assert told["current"] == 2
    assert [(row["version"], row["current"], row["parent"]) for row in told["releases"]] == [
        (1, False, None),
        (2, True, 1),
    ]
    assert [row["num_kernels"] for row in told["releases"]] == [3, 2]
    assert told["releases"][0]["created_s"] == 86_400.0


def test_a_damaged_release_is_listed_beside_the_others(run: Run, own: Path) -> None:
    (own / "releases/1.msgpack").write_bytes(b"damaged")
    told = json.loads(run("releases", "list", "--artifacts", own, "--json").stdout)
    assert "1.msgpack: is damaged" in told["releases"][0]["problem"]
    assert told["releases"][1]["change"] == "remove numbers"
    assert "is damaged" in run("releases", "list", "--artifacts", own).stdout


def test_a_folder_without_releases_is_said_to_hold_none(run: Run, own: Path) -> None:
    unpublished(own)
    assert "holds no release" in run("releases", "list", "--artifacts", own).stdout
    told = json.loads(run("releases", "list", "--artifacts", own, "--json").stdout)
    assert told == {"current": None, "releases": []}


def test_a_release_is_shown_with_every_file(run: Run, own: Path) -> None:
    shown = run("releases", "show", 2, "--artifacts", own).stdout
    assert shown.startswith("release 2, current, made from release 1, ")
    files = ReleaseStore(own).read(2).files()
    for path, blob in files.items():
        assert any(path in line and blob.sha256[:12] in line for line in shown.splitlines())
    told = json.loads(run("releases", "show", 1, "--artifacts", own, "--json").stdout)
    assert [kernel["name"] for kernel in told["kernels"]] == list(PROMPTS)
    assert told["content_sha256"] == ReleaseStore(own).read(1).content_sha256


def test_two_releases_are_compared(run: Run, own: Path) -> None:
    assert run("releases", "diff", 1, 2, "--artifacts", own).stdout == "left: numbers\n"
    told = json.loads(run("releases", "diff", 2, 1, "--artifacts", own, "--json").stdout)
    assert told["joined"] == ["numbers"]
    assert told["words"] == ["joined: numbers"]


def test_a_replay_says_which_queries_go_elsewhere(run: Run, own: Path, tmp_path: Path) -> None:
    texts = [*PROMPTS.values(), "", PROMPTS["numbers"]]
    (tmp_path / "queries.txt").write_text("\n".join(texts), encoding="utf-8")
    replay = ("releases", "replay", 1, "--queries", "queries.txt", "--artifacts", own)
    told = json.loads(run(*replay, "--json").stdout)
    assert (told["before"], told["after"]) == (2, 1)
    assert (told["num_queries"], told["num_passed_over"], told["num_moved"]) == (4, 1, 2)
    (pair,) = told["pairs"]
    assert (pair["after"], pair["num_queries"]) == ("numbers", 2)
    assert [(each["line"], each["text"]) for each in told["moved"]] == [
        (3, PROMPTS["numbers"]),
        (5, PROMPTS["numbers"]),
    ]
    shown = run(*replay, "--rows", 1).stdout
    assert "2 of 4 queries would go elsewhere under release 1 than under release 2" in shown
    assert "1 lines passed over" in shown
    assert "1 more are not listed" in shown
    again = run("releases", "replay", 2, "--queries", "queries.txt", "--artifacts", own).stdout
    assert again.startswith("0 of 4 queries")


def test_a_replay_decides_by_the_settings(run: Run, own: Path, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("import asyncio\n", encoding="utf-8")
    (tmp_path / "constellation.toml").write_text('[serve]\nrule = "wrong"\n', encoding="utf-8")
    refused = run("releases", "replay", 1, "--queries", "queries.txt", "--artifacts", own)
    assert refused.exit_code == 2
    assert "rule" in refused.stderr


def test_a_rollback_goes_to_the_parent_or_to_the_release_that_is_named(run: Run, own: Path) -> None:
    store = ReleaseStore(own)
    back = run("releases", "rollback", "--artifacts", own)
    assert back.stdout == "release 1 is current, it was 2\n"
    assert store.current() == 1
    check_whole(store, 1)
    forth = json.loads(run("releases", "rollback", 2, "--artifacts", own, "--json").stdout)
    assert forth == {"before": 1, "after": 2}
    assert store.current() == 2


def test_a_rollback_mends_a_pointer_that_is_damaged(run: Run, own: Path) -> None:
    (own / "current").write_bytes(b"what?")
    refused = run("releases", "rollback", "--artifacts", own)
    assert refused.exit_code == 1
    assert "releases rollback V" in refused.stderr
    assert run("releases", "rollback", 2, "--artifacts", own).stdout == "release 2 is current\n"


def test_a_release_with_a_damaged_file_is_not_gone_back_to(run: Run, own: Path) -> None:
    store = ReleaseStore(own)
    store.folder(1)  # whose files are those of the store, so they are damaged too
    blob = store.blobs.path(store.read(1).table)
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    refused = run("releases", "rollback", "--artifacts", own)
    assert refused.exit_code == 1
    assert f"{blob.name}: is damaged" in refused.stderr
    assert store.current() == 2


def test_pruning_keeps_the_newest_the_current_one_and_its_parent(run: Run, own: Path) -> None:
    store = ReleaseStore(own)
    for number in range(3, 6):
        publish(store, own, f"change {number}")
    told = json.loads(run("releases", "prune", "--keep", 1, "--artifacts", own, "--json").stdout)
    assert told["versions"] == [3, 4]
    assert store.versions() == (1, 2, 5)
    shown = run("releases", "prune", "--keep", 1, "--artifacts", own).stdout
    assert shown == "releases removed: none · files: 0 · 0 B freed\n"


def test_pruning_keeps_what_is_served_though_another_release_is_current(
    run: Run, served: Served, own: Path
) -> None:
    store = ReleaseStore(own)
    for number in range(3, 6):
        publish(store, own, f"change {number}")
    run_dir = Path("runs/local")
    write_own_state(run_dir, served.endpoint, artifacts=str(own))
    save_table(run_dir / "table.msgpack", store.table(store.read(3)))
    told = json.loads(run("releases", "prune", "--keep", 1, "--artifacts", own, "--json").stdout)
    assert told["versions"] == [4]
    assert store.versions() == (1, 2, 3, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", 3), 1, "there is no release 3; there are: 1, 2"),
        (("diff", 1, 9), 1, "there is no release 9"),
        (("rollback", 9), 1, "there is no release 9"),
        (("replay", 9, "--queries", "queries.txt"), 1, "there is no release 9"),
        (("replay", 1, "--queries", "gone.txt"), 1, "gone.txt: cannot be read"),
        (("prune",), 2, "--keep"),
        (("prune", "--keep", 0), 2, "--keep"),
        (("show", "x"), 2, "version"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(
    run: Run, own: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, message: str
) -> None:
    (tmp_path / "queries.txt").write_text("import asyncio\n", encoding="utf-8")
    ReleaseStore(own).folder(2)
    before = files_in(own)
    refused = run("releases", *arguments, "--artifacts", own)
    assert refused.exit_code == code
    assert message in refused.stderr
    assert files_in(own) == before


def test_a_mistyped_folder_is_named(run: Run) -> None:
    for command in (("list",), ("show", 1), ("prune", "--keep", 1), ("rollback",)):
        refused = run("releases", *command, "--artifacts", "mistyped")
        assert refused.exit_code == 1
        assert "mistyped" in refused.stderr
    assert not Path("mistyped").exists()


def test_a_rollback_is_refused_while_another_process_writes(own: Path) -> None:
    with (
        owned(own, "a training", DeploymentError),
        pytest.raises(DeploymentError, match="a training runs in this folder"),
    ):
        roll_back(own, None, None)
    assert ReleaseStore(own).current() == 2


def test_without_a_parent_or_a_current_release_one_must_be_named(own: Path) -> None:
    roll_back(own, 1, None)
    with pytest.raises(
        DeploymentError, match="made from no other; name the one to go back to, of 1"
    ):
        roll_back(own, None, None)
    (own / "current").unlink()
    with pytest.raises(DeploymentError, match=r"no release of .* is current; name the one"):
        roll_back(own, None, None)
    assert roll_back(own, 2, None) == RolledBack(before=None, after=2)


def test_a_folder_without_releases_has_none_to_go_back_to(own: Path) -> None:
    unpublished(own)
    before = files_in(own)
    with pytest.raises(ArtifactError, match="holds no release to go back to"):
        roll_back(own, None, None)
    assert files_in(own) == before


def test_a_rollback_goes_through_the_constellation_that_runs(
    run: Run, served: Served, own: Path
) -> None:
    write_own_state(Path("runs/local"), served.endpoint, artifacts=str(own))
    done = run("releases", "rollback", 1, "--json")
    assert json.loads(done.stdout) == {"before": 2, "after": 7}  # as the router says
    assert [asked for _, asked, _ in served.router.calls] == [RollBack(release=1)]
    assert ReleaseStore(own).current() == 2  # the registry switches, and nobody else
