"""`releases list|show|diff|rollback|adopt|prune|replay`: what was served, is, and would be."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.command_groups import FlagGroup
from cluster.cli.connection import artifacts_meant, configuration, served_from
from constellation.errors import ArtifactError

if TYPE_CHECKING:
    from rich.table import Table

    from constellation.releases.manifest import Release
    from constellation.releases.replay import ReplayReport
    from constellation.releases.store import ReleaseStore

app = typer.Typer(
    cls=FlagGroup,
    no_args_is_help=True,
    help="List, compare and try the releases of an artifacts folder, and go back to one.",
)
"""The group's own app."""

_ROWS = 20
"""Queries of a replay that are listed for people when nobody says how many."""

Version = Annotated[int, typer.Argument(min=1, help="Number of a release.")]


@app.command("list")
def list_releases(
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    as_json: options.AsJson = False,
) -> None:
    """List the releases of an artifacts folder, the oldest first.

    A release is everything that was served at one time: coordizer, table, kernels. Each change
    writes a new one and names the release that it was made from.

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
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what a release holds: its kernels, their engines, and every file with hash and size.

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
    before: Annotated[int, typer.Argument(min=1, help="Number of a release.")],
    after: Annotated[int, typer.Argument(min=1, help="Number of the release to compare with it.")],
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what is different between two releases.

    Named are kernels that joined, left or have other files, how far their basins moved in radians,
    seats, radii, temperatures, thresholds, and whether texts are read by another coordizer.

    Example: constellation releases diff 2 3
    """
    from constellation.releases.release_comparison import compare

    told = compare(_store(artifacts, run_dir), before, after)
    if as_json:
        output_format.print_json({**asdict(told), "words": told.words()})
        return
    console = output_format.stdout()
    for line in told.words():
        console.print(line, soft_wrap=True)


@app.command("rollback")
def rollback(
    version: Annotated[
        int | None,
        typer.Argument(
            min=1,
            help="The release to go back to. (default: the one that the current one was made from)",
            show_default=False,
        ),
    ] = None,
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Serve an earlier release again.

    All of its files are verified first. Nothing is removed: a later release can be gone back to in
    the same way.

    Example: constellation releases rollback 2
    """
    from cluster.rollback import roll_back

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    folder = artifacts_meant(settings, artifacts)
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
            "--without",
            help="Kernel of the old table that is not taken over; may be given several times.",
            show_default=False,
        ),
    ] = None,
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Make the first release of a folder that version 0.1.0 trained.

    Its kernels are served from then on as from every other folder: from their files, and from
    the text that the folder keeps of each. A kernel of which no text is kept, such as one that was
    spawned, is named and nothing is written. What lies in the folder stays as it is.

    Example: constellation releases adopt --artifacts artifacts/starter
    """
    from training.migration import adopt as take_over

    folder = artifacts_meant(configuration(run_dir=run_dir, artifacts=artifacts), artifacts)
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
    keep: Annotated[int, typer.Option("--keep", min=1, help="Newest releases that stay.")],
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove old releases, and the files that no other release needs.

    The current release and the one that it was made from stay in any case, and so does the one that
    the constellation of the run folder serves.

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
            help="File of queries: a line is a text, or in .jsonl a record with its text under "
            '"prompt" or "text".'
        ),
    ],
    rows: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Queries listed one by one; all are counted. (default: 20, with --json 1000)",
            show_default=False,
        ),
    ] = None,
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Show which queries would go elsewhere under a release than under the current one.

    Decided is as a router decides, with the rule and top_k of the settings and every kernel up;
    no kernel is asked, and nothing changes.

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
        told = report(store, version, read_queries(queries), terms, listed_max=listed_max)
    if as_json:
        output_format.print_json(told)
    else:
        _print_replay(told)


def _store(artifacts: Path | None, run_dir: Path | None) -> "ReleaseStore":
    from constellation.releases.store import ReleaseStore

    folder = artifacts_meant(configuration(run_dir=run_dir, artifacts=artifacts), artifacts)
    if not folder.is_dir():
        raise ArtifactError(folder, "is no folder; train one first, or name it by --artifacts")
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


def _print_replay(told: "ReplayReport") -> None:
    console = output_format.stdout()
    passed = f", {told.num_passed_over} lines passed over" if told.num_passed_over else ""
    console.print(
        f"{told.num_moved} of {told.num_queries} queries would go elsewhere under release "
        f"{told.after} than under release {told.before}{passed}",
        soft_wrap=True,
    )
    console.print(
        f"out of every domain only under release {told.after}: {told.num_newly_out_of_domain}; "
        f"only under release {told.before}: {told.num_no_longer_out_of_domain}",
        soft_wrap=True,
    )
    if told.pairs:
        pairs = output_format.table("from", "to", "queries", numbers=("queries",))
        for pair in told.pairs:
            pairs.add_row(pair.before, pair.after, str(pair.num_queries))
        console.print(pairs)
    if told.moved:
        moved = output_format.table(
            "line", "from", "to", "margin", "then", "text", numbers=("line",)
        )
        for each in told.moved:
            margins = f"{each.margin_before:.3f}", f"{each.margin_after:.3f}"
            text = output_format.visible(" ".join(each.text.split())[:60])
            moved.add_row(str(each.line), each.before, each.after, *margins, text)
        console.print(moved)
    if left_out := told.num_moved - len(told.moved):
        console.print(f"{left_out} more are not listed; --rows lists them", soft_wrap=True)
