"""The commands `add`, `remove`, `spawn`, `sources`, `unlearn`: change the kernels that are served.

A change is made live where a constellation runs from the artifacts folder, else in the folder only.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.connection import configuration, connect, resolve_artifacts, served_from

if TYPE_CHECKING:
    from cluster.kernel_changes import Added
    from constellation.records import Changed
    from training.evaluation.new_kernel_cost import GrowthCost

Name = Annotated[
    str,
    typer.Argument(
        help="Name of the kernel (one small language model): a-z, 0-9, '.', '_', '-', at "
        "most 64 characters."
    ),
]


def add(
    name: Name,
    path: Annotated[
        Path,
        typer.Argument(
            help="File or folder with text of the new domain, to train on; or the folder of a "
            "finished model, which is copied: a kernel, an adapter, a Hugging Face model, "
            "or a kernel that was removed."
        ),
    ],
    text: Annotated[
        Path | None,
        typer.Option(
            help="File or folder with text of a finished kernel's domain, from which routing "
            "learns which texts the kernel should answer.",
        ),
    ] = None,
    address: options.TrainingAddress = None,
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool,
        options.json_flag("the change, the minutes of training and the cost for the other domains"),
    ] = False,
) -> None:
    """Add a kernel for a new domain to a constellation; the weights of other kernels do not change.

    Given text, the kernel is trained from the run's seed kernel by the branch stage of its recipe;
    Ctrl-C writes checkpoints, and the same command resumes from them. Given a finished kernel, an
    adapter with its base, or a causal model that save_pretrained wrote, the model is copied, and
    --text must give text of its domain. A kernel that was removed is restored unchanged by the path
    ARTIFACTS/kernels/NAME and needs no --text. Routing is fitted again to the text of all kernels.
    If the constellation runs, the kernel joins it live; otherwise `up` serves it. At the end,
    held-out text shows how much worse the other domains are answered, in bits per byte.

    Example: constellation add poems texts/poems
    """
    from cluster.kernel_changes import join, make_kernel
    from training.progress.live_table import LiveTable

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    folder = resolve_artifacts(settings, artifacts)
    console = output_format.stderr()
    try:
        with LiveTable(console) as progress:
            progress_lines.doing(progress.in_words)
            new = make_kernel(folder, name, path, text, progress, address=address)
    except KeyboardInterrupt:
        console.print("stopped; checkpoints are written, the same command resumes from them")
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
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool, options.json_flag("the change: release, table version and kernel names,")
    ] = False,
) -> None:
    """Remove a kernel from a constellation without dropping a request; other weights do not change.

    The router sends no new query to the kernel, the kernel finishes its replies, then its process
    ends. Routing becomes, to the bit, what it would be had the kernel never joined. The queries of
    a spawned kernel return to its parent. The kernel's files stay where they are:
    `constellation add NAME ARTIFACTS/kernels/NAME` restores the kernel unchanged.

    Example: constellation remove poems
    """
    from cluster.kernel_changes import change_served
    from constellation.records import Retire

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    folder = resolve_artifacts(settings, artifacts)
    with served_from(settings, folder, timeout) as client:
        changed = change_served(folder, Retire(name=name), client)
        where = _where(folder, client is not None)
    _print_changed(changed, f"{name} left", where, as_json)


def unlearn(
    name: Name,
    source: Annotated[
        str,
        typer.Argument(
            help="Name of the source (a file of training text, a part of one or a record of "
            "one), as `sources` lists it. The name of a file that was cut into parts or "
            "records means all of them."
        ),
    ],
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool, options.json_flag("the change: release, table version and kernel names,")
    ] = False,
) -> None:
    """Remove a source of a kernel's training text from the data that decides its routing.

    Token coordinates, basins, radii and thresholds become, to the bit, what they would be without
    that text. The kernel's weights do not change: train again without the text to remove what they
    learned from it. The vocabulary of the coordizer does not change either.

    Example: constellation unlearn poems songs.txt
    """
    from cluster.kernel_changes import change_served
    from constellation.records import Unlearn

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    folder = resolve_artifacts(settings, artifacts)
    with served_from(settings, folder, timeout) as client:
        changed = change_served(folder, Unlearn(kernel=name, source=source), client)
        where = _where(folder, client is not None)
    _print_changed(changed, f"{name} routes without {source}", where, as_json)


def sources(
    name: Name,
    artifacts: options.ServedArtifacts = None,
    run_dir: options.RunDir = None,
    as_json: Annotated[
        bool,
        options.json_flag(
            "the kernel's name and the list of files and records that its text came from"
        ),
    ] = False,
) -> None:
    """List the files and records that a kernel's training text came from, one source per line.

    These are the names that `unlearn` accepts. A long file is cut into parts, NAME#0 and so on;
    every record of a JSON-lines file is a source, NAME:LINE. The number of documents says into how
    many pieces a source was cut. Sources that were unlearned are marked.

    Example: constellation sources poems
    """
    from dataclasses import asdict

    from cluster.kernel_changes import list_sources

    settings = configuration(run_dir=run_dir, artifacts=artifacts)
    found = list_sources(resolve_artifacts(settings, artifacts), name)
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
    parent: Annotated[
        str,
        typer.Argument(
            help="Name of the running kernel that gives part of its queries to the new one."
        ),
    ],
    name: Name,
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool, options.json_flag("the change: release, table version and kernel names,")
    ] = False,
) -> None:
    """Split a busy kernel's queries between it and a new kernel with a copy of its weights.

    The latest queries and the documents of the busy kernel's text are split into two groups; each
    of the two kernels answers the queries that are nearer to its documents. Queries of other
    kernels are routed as before. Needs a running constellation and 16 recent queries of the kernel.
    `constellation remove` undoes the split.

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
