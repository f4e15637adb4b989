"""`add`, `remove`, `spawn`, `sources`, `unlearn`: kernels join, leave and move, live if it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.connection import artifacts_meant, configuration, connect, served_from

if TYPE_CHECKING:
    from cluster.kernel_changes import Added
    from constellation.records import Changed
    from training.evaluation.new_kernel_cost import GrowthCost

Name = Annotated[
    str,
    typer.Argument(help="Name of the kernel: a-z, 0-9, '.', '_', '-', at most 64 characters."),
]


def add(
    name: Name,
    path: Annotated[
        Path,
        typer.Argument(
            help="Text of the new domain, a file or folder; or the folder of a finished kernel, of "
            "an adapter, of a Hugging Face model, or of a kernel that was removed."
        ),
    ],
    text: Annotated[
        Path | None,
        typer.Option(
            help="Text of a finished kernel's domain: its basin is what queries find it by.",
            show_default=False,
        ),
    ] = None,
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Give a constellation a kernel for a new domain; the weights of the others stay as they are.

    The kernel is trained from the run's own seed, by the branch stage of its recipe; Ctrl-C writes
    checkpoints, and the same command goes on from them. A finished kernel, an adapter with its
    base, or a causal model that save_pretrained wrote, is copied; --text says where its domain
    lies. A kernel that was removed comes back as it was, by the path ARTIFACTS/kernels/NAME, and
    needs no --text. Coordinates and basins are fitted anew, to the text of all kernels. Where the
    constellation runs the kernel joins it live; else `up` serves it. Then held-out text says what
    it costs the other domains.

    Example: constellation add poems texts/poems
    """
    from cluster.kernel_changes import join, make_kernel
    from training.progress.live_table import LiveTable

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    folder = artifacts_meant(settings, artifacts)
    console = output_format.stderr()
    try:
        with LiveTable(console) as progress:
            progress_lines.doing(progress.in_words)
            new = make_kernel(folder, name, path, text, progress)
    except KeyboardInterrupt:
        console.print("stopped; checkpoints are written, the same command goes on from there")
        raise
    with served_from(settings, folder, timeout) as client:
        added = join(folder, new, client)
        where = _where(folder, client is not None)
    if as_json:
        output_format.print_json({**_changed_facts(added.changed, where), **_added_facts(added)})
    else:
        _print_added(added, where)


def remove(
    name: Name,
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a kernel go, without a dropped request; the weights of the others stay as they are.

    First no new query goes to it, then it finishes what it is answering, then its process ends.
    What is served then is, to the bit, what would be served had it never joined. The share of a
    spawned kernel goes back to its parent. Its files stay where they are:
    `constellation add NAME ARTIFACTS/kernels/NAME` takes it back as it was.

    Example: constellation remove poems
    """
    from cluster.kernel_changes import change_served
    from constellation.records import Retire

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    folder = artifacts_meant(settings, artifacts)
    with served_from(settings, folder, timeout) as client:
        changed = change_served(folder, Retire(name=name), client)
        where = _where(folder, client is not None)
    _print_changed(changed, f"{name} left", where, as_json)


def unlearn(
    name: Name,
    source: Annotated[
        str,
        typer.Argument(
            help="Name of a source, as `sources` lists it; a file that was cut into parts, or that "
            "holds records, goes whole by its own name."
        ),
    ],
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a kernel route as if it had never read a source of its training text.

    Coordinates, basins, radii and thresholds become, to the bit, what they would be without that
    text. Weights stay as they are; train again without the text to undo what they learned from it.
    The tokens of the coordizer, which were chosen once for all text, stay too.

    Example: constellation unlearn poems songs.txt
    """
    from cluster.kernel_changes import change_served
    from constellation.records import Unlearn

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    folder = artifacts_meant(settings, artifacts)
    with served_from(settings, folder, timeout) as client:
        changed = change_served(folder, Unlearn(kernel=name, source=source), client)
        where = _where(folder, client is not None)
    _print_changed(changed, f"{name} routes without {source}", where, as_json)


def sources(
    name: Name,
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    as_json: options.AsJson = False,
) -> None:
    """List the sources of a kernel's training text: the names that `unlearn` takes.

    A long file is cut into parts, NAME#0 and so on; every record of a JSON-lines file is a source,
    NAME:LINE. Documents are the pieces that a source was cut into. Those that were unlearned are
    marked.

    Example: constellation sources poems
    """
    from dataclasses import asdict

    from cluster.kernel_changes import list_sources

    settings = configuration(run_dir=run_dir, artifacts=artifacts)
    found = list_sources(artifacts_meant(settings, artifacts), name)
    if as_json:
        output_format.print_json({"kernel": name, "sources": [asdict(source) for source in found]})
        return
    console = output_format.stdout()
    for source in found:
        noun = "document" if source.num_documents == 1 else "documents"
        mark = ", unlearned" if source.unlearned else ""
        # Never wrapped or cut: the name is what `unlearn` wants.
        line = f"{output_format.visible(source.name)}: {source.num_documents} {noun}{mark}"
        console.print(line, soft_wrap=True)


def spawn(
    parent: Annotated[str, typer.Argument(help="The kernel whose queries are shared out.")],
    name: Name,
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Share a busy kernel's queries with a new one that begins with the same weights.

    Its latest queries are grouped in two, and the documents of its text with them; each of the two
    kernels gets the queries that lie nearer to its documents. Other kernels' queries stay where
    they go. Needs a constellation that runs, and 16 recent queries. `remove` undoes it.

    Example: constellation spawn python python-2
    """
    settings = configuration(run_dir=run_dir, token_file=token_file)
    with connect(settings, endpoint, timeout, changes=True) as client:
        changed = client.spawn(parent, name)
    _print_changed(changed, f"{name} shares the queries of {parent}", "live", as_json)


def _where(artifacts: Path, live: bool) -> str:
    return "live" if live else f"in {artifacts}"


def _changed_facts(changed: "Changed", where: str) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(changed), "where": where}


def _added_facts(added: "Added") -> dict[str, Any]:
    from dataclasses import asdict

    def facts(cost: "GrowthCost | None") -> dict[str, Any] | None:
        return None if cost is None else {**asdict(cost), "ratio": cost.ratio}

    return {
        "minutes": added.kernel.seconds / 60,
        "num_documents": added.kernel.num_documents,
        "others": facts(added.others),
        "own": facts(added.own),
    }


def _print_added(added: "Added", where: str) -> None:
    console = output_format.stdout()
    console.print(
        f"{added.kernel.name}: made in {added.kernel.seconds / 60:.1f} minutes "
        f"from {added.kernel.num_documents} documents"
    )
    shown = output_format.table(
        "held out", "before", "after", "moved", numbers=("before", "after", "moved")
    )
    for title, cost in (("other domains", added.others), (added.kernel.name, added.own)):
        if cost is not None:
            moved = f"{cost.num_moved} of {cost.num_documents}"
            shown.add_row(title, f"{cost.before:.4f}", f"{cost.after:.4f}", moved)
    if shown.row_count:
        console.print(shown)
    if added.own is None:
        console.print(f"{added.kernel.name} has no held-out document of 64 tokens to score")
    if added.others is None:
        console.print("the artifacts hold no held-out text of the other domains to score")
    else:
        interval = added.others.interval
        limits = "" if interval is None else f", {interval[0]:+.4f} to {interval[1]:+.4f} (95 %)"
        console.print(
            f"bits per byte; it costs the other domains {added.others.ratio - 1:+.2%}{limits}"
        )
    _print_changed(added.changed, f"{added.kernel.name} joined", where, as_json=False)


def _print_changed(changed: "Changed", what: str, where: str, as_json: bool) -> None:
    if as_json:
        output_format.print_json(_changed_facts(changed, where))
        return
    version = f" · table version {changed.table_version}" if changed.table_version else ""
    output_format.stdout().print(f"{what}, {where} · release {changed.release}{version}")
