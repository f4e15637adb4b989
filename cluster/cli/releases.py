"""The commands `releases list|show|diff|rollback|adopt|prune|replay`: manage stored releases."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.command_groups import FlagGroup
from cluster.cli.connection import configuration, resolve_artifacts, served_from
from constellation.errors import ArtifactError

if TYPE_CHECKING:
    from rich.table import Table

    from constellation.releases.manifest import Release
    from constellation.releases.replay import ReplayReport
    from constellation.releases.store import ReleaseStore

app = typer.Typer(
    cls=FlagGroup,
    no_args_is_help=True,
    help="List, compare, test and restore releases: numbered versions of everything that "
    "a constellation serves.",
)
"""Typer application of this group of commands."""

_ROWS = 20
"""Moved queries that `releases replay` lists as text when --rows is not given."""

Version = Annotated[
    int, typer.Argument(min=1, help="Number of the release, from 1, as `releases list` shows it.")
]


@app.command("list")
def list_releases(
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    as_json: Annotated[
        bool, options.json_flag("the current release's number and the list of releases")
    ] = False,
) -> None:
    """List the releases of an artifacts folder, the oldest first, with time, size and reason.

    A release is a numbered version of everything that is served: coordizer, routing table and
    kernels. Each change (train, add, remove, ...) writes a new release and records the release that
    the new one was made from.

    Example: constellation releases list
    """
    store = _store(artifacts, run_dir)
    current = store.current()
    rows = [_summary(store, version, current) for version in store.versions()]
    if as_json:
        output_format.print_json({"current": current, "releases": rows})
        return
    console = output_format.stdout()
    if not rows:
        console.print(f"{store.artifacts} holds no release", soft_wrap=True)
        return
    console.print(_releases_table(rows))


@app.command("show")
def show(
    version: Version,
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    as_json: Annotated[bool, options.json_flag("the release's manifest")] = False,
) -> None:
    """Show the contents of a release: its kernels, and every file with its hash and size.

    Each kernel's engine is its kind: decoder (a whole kernel), adapter (over a base in the same
    release) or model (of the transformers library).

    Example: constellation releases show 3
    """
    store = _store(artifacts, run_dir)
    release = store.read(version)
    if as_json:
        content: Any = release.content()
        facts = {**_facts(release, store.current()), "content_sha256": release.content_sha256}
        output_format.print_json({**facts, **content})
        return
    console = output_format.stdout()
    console.print(_title(release, store.current()), soft_wrap=True)
    shown = output_format.table("kernel", "engine", "files", "size", numbers=("files", "size"))
    for kernel in release.kernels:
        size_bytes = sum(blob.size_bytes for blob in kernel.files.values())
        shown.add_row(
            kernel.name, str(kernel.engine), str(len(kernel.files)), output_format.size(size_bytes)
        )
    console.print(shown)
    files = output_format.table("file", "sha256", "size", numbers=("size",))
    for path, blob in sorted(release.files().items()):
        files.add_row(path, blob.sha256[:12], output_format.size(blob.size_bytes))
    console.print(files)


@app.command("diff")
def diff(
    before: Annotated[int, typer.Argument(min=1, help="Number of the earlier release, from 1.")],
    after: Annotated[
        int,
        typer.Argument(
            min=1, help="Number of the release to compare with the earlier one, from 1."
        ),
    ],
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    as_json: Annotated[bool, options.json_flag("the differences between the two releases")] = False,
) -> None:
    """Show the differences between two releases of the same artifacts folder.

    Lists the kernels that were added, removed or have other files; how far their basins (points on
    the probability simplex) moved, in radians; changed seats, radii, temperatures and thresholds;
    and whether the coordizer (tokenizer) is another.

    Example: constellation releases diff 2 3
    """
    from constellation.releases.release_comparison import compare

    found = compare(_store(artifacts, run_dir), before, after)
    if as_json:
        output_format.print_json({**asdict(found), "words": found.words()})
        return
    console = output_format.stdout()
    for line in found.words():
        console.print(line, soft_wrap=True)


@app.command("rollback")
def rollback(
    version: Annotated[
        int | None,
        typer.Argument(
            min=1,
            help="Number of the release to serve again, from 1. (default: the release that the "
            "current one was made from)",
        ),
    ] = None,
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool, options.json_flag("the numbers of the releases before and after")
    ] = False,
) -> None:
    """Make an earlier release the current one, and serve it if the constellation runs.

    All files of the release are verified first. Nothing is deleted: a later release can be restored
    in the same way.

    Example: constellation releases rollback 2
    """
    from cluster.rollback import roll_back

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    folder = resolve_artifacts(settings, artifacts)
    words = "verifying the files of the release"
    with served_from(settings, folder, timeout) as client, progress_lines.step(words):
        done = roll_back(folder, version, client)
    if as_json:
        output_format.print_json(done)
        return
    before = "" if done.before is None else f", it was {done.before}"
    output_format.stdout().print(f"release {done.after} is current{before}")


@app.command("adopt")
def adopt(
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a kernel to leave out of the new release; may be repeated.",
        ),
    ] = None,
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    as_json: Annotated[bool, options.json_flag("the new release's number and its kernels")] = False,
) -> None:
    """Convert an artifacts folder of version 0.1.0, which had no releases, into a first release.

    Afterwards the folder is served like every other: from the files of its kernels and the text
    that the folder keeps of each. If no text is kept of a kernel, such as a spawned one, the
    command names the kernel and writes nothing; --without leaves it out. Existing files stay
    unchanged.

    Example: constellation releases adopt --artifacts artifacts/starter
    """
    from training.migration import adopt as take_over

    folder = resolve_artifacts(configuration(run_dir=run_dir, artifacts=artifacts), artifacts)
    with progress_lines.step(f"reading {folder}"):
        done = take_over(folder, without=tuple(without or ()))
    if as_json:
        output_format.print_json(done)
        return
    left_out = f" · left out: {', '.join(done.without)}" if done.without else ""
    output_format.stdout().print(
        f"release {done.release} is current, with the kernels of {folder}: "
        f"{', '.join(done.kernels)}{left_out}",
        soft_wrap=True,
    )


@app.command("prune")
def prune(
    keep: Annotated[
        int, typer.Option(min=1, help="Number of newest releases to keep, at least 1.")
    ],
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    as_json: Annotated[bool, options.json_flag("the removed releases and the bytes freed")] = False,
) -> None:
    """Delete old releases, and the files that no other release needs, to free disk space.

    Never deleted are the current release, the release that the current one was made from, and the
    release that the constellation running from --run-dir serves.

    Example: constellation releases prune --keep 5
    """
    from cluster.rollback import in_use
    from training.file_errors import typed_writes

    store = _store(artifacts, run_dir)
    if not store.versions():
        raise ArtifactError(store.artifacts, "holds no release")
    with typed_writes(store.artifacts):
        run_folder = configuration(run_dir=run_dir).run_dir
        pruned = store.prune(keep, in_use=in_use(run_folder, store.artifacts))
    if as_json:
        output_format.print_json(pruned)
        return
    removed = ", ".join(map(str, pruned.versions)) or "none"
    output_format.stdout().print(
        f"releases removed: {removed} · files: {pruned.num_blobs} · "
        f"{output_format.size(pruned.size_bytes)} freed"
    )


@app.command("replay")
def replay(
    version: Version,
    queries: Annotated[
        Path,
        typer.Option(
            help="File of queries to route, one text per line; in a .jsonl file one record per "
            'line, with the text under "prompt" or "text".'
        ),
    ],
    rows: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Largest number of moved queries that are listed one by one, from 0; all are "
            "counted. (default: 20, with --json 1000)",
        ),
    ] = None,
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    as_json: Annotated[
        bool, options.json_flag("the counts and the list of queries that would move")
    ] = False,
) -> None:
    """Test a release before serving it: show which queries it would route to another kernel.

    Routes every query of a file under the given release and under the current one, as a router does
    with the settings' rule and top_k when every kernel is up. No kernel is asked, and nothing is
    changed.

    Example: constellation releases replay 3 --queries queries.txt
    """
    from constellation.releases.query_file import read_queries
    from constellation.releases.replay import LISTED_MAX, Terms, report
    from training.file_errors import typed_writes

    store = _store(artifacts, run_dir)
    serve = configuration().serve
    terms = Terms(rule=serve.rule, top_k=serve.top_k, phi_weighting=serve.phi_weighting)
    listed_max = rows if rows is not None else LISTED_MAX if as_json else _ROWS
    with progress_lines.step(f"replaying {queries}"), typed_writes(store.artifacts):
        found = report(store, version, read_queries(queries), terms, listed_max=listed_max)
    if as_json:
        output_format.print_json(found)
    else:
        _print_replay(found)


def _store(artifacts: Path | None, run_dir: Path | None) -> "ReleaseStore":
    from constellation.releases.store import ReleaseStore

    folder = resolve_artifacts(configuration(run_dir=run_dir, artifacts=artifacts), artifacts)
    if not folder.is_dir():
        raise ArtifactError(
            folder, "is not a folder; train one first, or name another by --artifacts"
        )
    return ReleaseStore(folder)


def _summary(store: "ReleaseStore", version: int, current: int | None) -> dict[str, Any]:
    try:
        return _facts(store.read(version), current)
    except ArtifactError as error:  # the others are listed all the same
        return {"version": version, "current": version == current, "problem": str(error)}


def _facts(release: "Release", current: int | None) -> dict[str, Any]:
    return {
        "version": release.version,
        "current": release.version == current,
        "parent": release.parent,
        "created_s": release.created_s,
        "change": release.change,
        "num_kernels": len(release.kernels),
        "size_bytes": release.size_bytes,
    }


def _releases_table(rows: list[dict[str, Any]]) -> "Table":
    numbers = ("release", "from", "kernels", "size")
    shown = output_format.table(
        "release", "", "from", "written", "kernels", "size", "change", numbers=numbers
    )
    for row in rows:
        mark = "current" if row["current"] else ""
        if "problem" in row:
            shown.add_row(str(row["version"]), mark, "", "", "", "", row["problem"])
            continue
        shown.add_row(
            str(row["version"]),
            mark,
            "" if row["parent"] is None else str(row["parent"]),
            _time(row["created_s"]),
            str(row["num_kernels"]),
            output_format.size(row["size_bytes"]),
            output_format.visible(row["change"]),
        )
    return shown


def _title(release: "Release", current: int | None) -> str:
    served = ", current" if release.version == current else ""
    origin = "" if release.parent is None else f", made from release {release.parent}"
    return (
        f"release {release.version}{served}{origin}, {_time(release.created_s)}: "
        f"{output_format.visible(release.change)}"
    )


def _time(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _print_replay(found: "ReplayReport") -> None:
    console = output_format.stdout()
    passed = f", {found.num_passed_over} lines passed over" if found.num_passed_over else ""
    console.print(
        f"{found.num_moved} of {found.num_queries} queries would go elsewhere under release "
        f"{found.after} than under release {found.before}{passed}",
        soft_wrap=True,
    )
    console.print(
        f"out of every domain only under release {found.after}: {found.num_newly_out_of_domain}; "
        f"only under release {found.before}: {found.num_no_longer_out_of_domain}",
        soft_wrap=True,
    )
    if found.pairs:
        pairs = output_format.table("from", "to", "queries", numbers=("queries",))
        for pair in found.pairs:
            pairs.add_row(pair.before, pair.after, str(pair.num_queries))
        console.print(pairs)
    if found.moved:
        moved = output_format.table(
            "line", "from", "to", "margin", "then", "text", numbers=("line",)
        )
        for each in found.moved:
            margins = f"{each.margin_before:.3f}", f"{each.margin_after:.3f}"
            text = output_format.visible(" ".join(each.text.split())[:60])
            moved.add_row(str(each.line), each.before, each.after, *margins, text)
        console.print(moved)
    if left_out := found.num_moved - len(found.moved):
        console.print(f"{left_out} more are not listed; --rows lists them", soft_wrap=True)
