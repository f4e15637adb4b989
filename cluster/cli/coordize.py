"""The commands `coordize train|encode|inspect`: make, apply and measure a coordizer (tokenizer)."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.command_groups import FlagGroup
from cluster.cli.connection import configuration, read_text
from cluster.cli.texts import read_documents

if TYPE_CHECKING:
    from constellation.coordizer.coordizer import Coordizer

app = typer.Typer(
    cls=FlagGroup,
    no_args_is_help=True,
    help="Train, apply and inspect a coordizer: a tokenizer that gives every token a "
    "point on the probability simplex.",
)
"""Typer application of this group of commands."""


class CriterionName(StrEnum):
    """Values of --criterion: how merges are chosen; the same as the library's criteria."""

    COUNT = "count"
    PHI = "phi"


@app.command("train")
def train(
    path: Annotated[
        Path,
        typer.Argument(
            help="Folder or file of text to train on; its sub-folders (or files) are the domains "
            "and give them their names."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to save the coordizer in.")],
    vocab: Annotated[
        int,
        typer.Option(
            min=257,
            max=1_000_000,
            help="Largest number of tokens in the vocabulary, 257 to 1000000.",
        ),
    ] = 4096,
    criterion: Annotated[
        CriterionName,
        typer.Option(
            help="How pairs of tokens are chosen for merging into one: count takes the most "
            "frequent pair, phi the pair with the largest integration gain (how much the "
            "two predict each other)."
        ),
    ] = CriterionName.COUNT,
    anchored: Annotated[
        bool | None,
        typer.Option(
            "--anchored/--free",
            help="Whether a token's coordinates are fitted to the domains of the text (anchored) "
            "or without them (free). (default: anchored when there are two domains or more)",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed, from 0, of the random start of the fit of coordinates."),
    ] = 0,
    as_json: Annotated[bool, options.json_flag("the facts of the new coordizer")] = False,
) -> None:
    """Train a coordizer on text: choose its tokens and fit a point on the simplex to each.

    Needs no running constellation. The folder it writes can be given wherever --coordizer is asked.

    Example: constellation coordize train corpus/ artifacts/coordizer --vocab 32000
    """
    from constellation.coordizer.training import train_coordizer
    from training.file_errors import typed_writes

    corpus = read_documents(path)
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
            help="Folder of the coordizer. (default: the one that --artifacts serves)",
        ),
    ] = None,
    artifacts: options.Artifacts = None,
    as_json: Annotated[bool, options.json_flag("the token ids, their text and the basin")] = False,
) -> None:
    """Show how a coordizer splits a text into tokens, and the text's basin.

    The basin is the text's point on the probability simplex, by which it is routed. Needs no
    running constellation.

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
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of the coordizer, as `coordize train` or `train` wrote it."),
    ],
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="File or folder of text to measure the coordizer on. (default: shows the "
            "figures from its training)",
        ),
    ] = None,
    as_json: Annotated[bool, options.json_flag("the facts and figures of the coordizer")] = False,
) -> None:
    """Show a coordizer's size, origin and quality, such as bytes per token (higher is better).

    Example: constellation coordize inspect artifacts/starter/coordizer --corpus corpus/
    """
    from dataclasses import asdict

    from constellation.coordizer import statistics

    coordizer = _load(folder)
    facts = describe(coordizer)
    if corpus is not None:
        texts = [document.text for document in read_documents(corpus).documents]
        facts["statistics"] = asdict(statistics.inspect(coordizer, texts))
    _print_facts(facts, as_json=as_json)


def describe(coordizer: "Coordizer") -> dict[str, Any]:
    """Return a coordizer's size, domains, origin, statistics and hashes, by name."""
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
