"""`coordize train|encode|inspect`: tokenizers with coordinates, without a running constellation."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.command_groups import FlagGroup
from cluster.cli.connection import configuration, read_text
from cluster.cli.texts import read_told

if TYPE_CHECKING:
    from constellation.coordizer.coordizer import Coordizer

app = typer.Typer(cls=FlagGroup, no_args_is_help=True, help="Train, use and look at a coordizer.")
"""The group's own app."""


class CriterionName(StrEnum):
    """How merges are chosen; a test compares it with the library's criteria."""

    COUNT = "count"
    PHI = "phi"


@app.command("train")
def train(
    path: Annotated[
        Path, typer.Argument(help="Folder or file of text; sub-folders or files name domains.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write the coordizer to.")],
    vocab: Annotated[int, typer.Option(min=257, max=1_000_000, help="Most tokens.")] = 4096,
    criterion: Annotated[
        CriterionName, typer.Option(help="Choose merges by count or by integration gain.")
    ] = CriterionName.COUNT,
    anchored: Annotated[
        bool | None,
        typer.Option(
            "--anchored/--free",
            help="Coordinates that know the domains, or none. (default: anchored when there are "
            "two domains or more)",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the coordinates.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Train merges and coordinates on text.

    Example: constellation coordize train corpus/ artifacts/coordizer --vocab 32000
    """
    from constellation.coordizer.training import train_coordizer
    from training.file_errors import typed_writes

    corpus = read_told(path)
    if anchored is None:
        anchored = len(corpus.domains) > 1
    with progress_lines.step(f"training on {len(corpus.documents):,} documents"):
        coordizer = train_coordizer(
            [document.text for document in corpus.documents],
            [document.domain for document in corpus.documents] if anchored else None,
            vocab_size=vocab,
            criterion=str(criterion),
            anchored=anchored,
            seed=seed,
        )
        with typed_writes(out):
            coordizer.save(out)
    facts = {"out": out, **describe(coordizer), "num_skipped": len(corpus.skipped)}
    _print_facts(facts, as_json=as_json)


@app.command("encode")
def encode(
    text: options.Text,
    coordizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a coordizer. (default: that of --artifacts)", show_default=False
        ),
    ] = None,
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the tokens of a text and its basin.

    Example: constellation coordize encode 'import asyncio'
    """
    from constellation.coordizer.evidence import evidence_tokens
    from training.current_release import served_coordizer

    home = configuration(artifacts=artifacts).artifacts
    loaded = _load(coordizer) if coordizer else served_coordizer(home)
    given = read_text(text)
    tokens = loaded.encode(given)
    basin_K = loaded.basin(evidence_tokens(given, tokens, loaded.encode)).tolist()
    pieces = [loaded.decode_text([token]) for token in tokens.tolist()]
    if as_json:
        output_format.print_json({"tokens": tokens, "pieces": pieces, "basin": basin_K})
        return
    console = output_format.stdout()
    made = output_format.table("token", "id", "largest outcomes", numbers=("id",))
    for token, piece in zip(tokens.tolist(), pieces, strict=True):
        point = output_format.outcomes(loaded.conditional_VK[token].tolist())
        made.add_row(output_format.visible(repr(piece)), str(token), point)
    console.print(made)
    console.print(f"{len(pieces)} tokens · basin {output_format.outcomes(basin_K, top=5)}")


@app.command("inspect")
def inspect(
    folder: Annotated[Path, typer.Argument(help="Folder of a coordizer.")],
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="Measure it on this text. (default: the figures of its training)",
            show_default=False,
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what a coordizer is made of, where it comes from, and how well it writes text.

    Example: constellation coordize inspect artifacts/starter/coordizer --corpus corpus/
    """
    from dataclasses import asdict

    from constellation.coordizer import statistics

    coordizer = _load(folder)
    facts = describe(coordizer)
    if corpus is not None:
        texts = [document.text for document in read_told(corpus).documents]
        facts["statistics"] = asdict(statistics.inspect(coordizer, texts))
    _print_facts(facts, as_json=as_json)


def describe(coordizer: "Coordizer") -> dict[str, Any]:
    """Return the facts of a coordizer that people ask for."""
    origin = coordizer.provenance
    blocks = coordizer.parts.blocks
    return {
        "vocab_size": coordizer.vocab_size,
        "num_merges": len(coordizer.vocabulary.merges),
        "num_outcomes": int(coordizer.background_K.size),
        "criterion": coordizer.vocabulary.criterion,
        "fit": "anchored" if blocks else "free",
        "domains": sorted(blocks),
        "corpus_bytes": origin.corpus_bytes,
        "num_documents": origin.num_documents,
        "seed": origin.seed,
        "seconds_merges": origin.seconds_merges,
        "seconds_coordinates": origin.seconds_coordinates,
        "statistics": dict(origin.statistics),
        "tokenizer_hash": coordizer.tokenizer_hash,
        "hash": coordizer.hash,
    }


def _load(folder: Path) -> "Coordizer":
    from constellation.coordizer.coordizer import Coordizer

    return Coordizer.load(folder)


def _print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output_format.print_json(facts)
        return
    made = output_format.table("fact", "value")
    made.columns[1].no_wrap = False
    for name, value in facts.items():
        # The figures of a mapping are facts like the others.
        items = value.items() if isinstance(value, dict) else [(name, value)]
        for label, content in items:
            made.add_row(label.replace("_", " "), _shown(content))
    output_format.stdout().print(made)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
