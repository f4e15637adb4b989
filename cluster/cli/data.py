"""The commands `data prepare|validate|generate`: make or check files of training text."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.command_groups import FlagGroup

if TYPE_CHECKING:
    from constellation.curricula.conversation_checks import AlignmentCheck, PhiCheck

app = typer.Typer(
    cls=FlagGroup,
    no_args_is_help=True,
    help="Make training text: clean files of conversations, or let a teacher model write.",
)
"""Typer application of this group of commands."""

Conversations = Annotated[
    Path,
    typer.Argument(
        help='File of conversations as JSON lines, each {"messages": [{"role": ..., '
        '"content": ...}, ...]}.'
    ),
]
SkipsMax = Annotated[
    int,
    typer.Option(
        min=0,
        help="Number of invalid lines that are skipped, from 0; one more ends the command "
        "with an error.",
    ),
]
MinPhi = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Drop conversations whose Phi (integration of the hidden states of the kernel "
        "of --kernel) is below this value, 0 to below 1.",
    ),
]
Kernel = Annotated[
    Path | None,
    typer.Option(help="With --min-phi: folder of the kernel that Phi is measured with."),
]
CoordizerFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the coordizer (tokenizer); needed with --min-phi and with "
        "--check-basin-alignment.",
    ),
]
KeepShort = Annotated[
    bool,
    typer.Option(
        "--keep-short",
        help="With --min-phi: keep conversations that are too short for Phi to be measured, "
        "below 256 tokens. (default: drop them)",
    ),
]
CheckAlignment = Annotated[
    bool,
    typer.Option(
        "--check-basin-alignment",
        help="Drop conversations in which the replies are too far from their prompts: by the "
        "mean Fisher-Rao distance between the basins (points on the probability "
        "simplex) of prompt and reply.",
    ),
]
DistanceMax = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=3.15,
        help="With --check-basin-alignment: largest distance that is kept, in radians, 0 to "
        "pi. (default: the median distance between prompts and replies of different "
        "conversations)",
    ),
]


@app.command("prepare")
def prepare(
    path: Conversations,
    out: Annotated[
        Path,
        typer.Argument(
            help="JSON-lines file to write, which a training recipe can read as its text."
        ),
    ],
    min_phi: MinPhi = None,
    kernel: Kernel = None,
    coordizer: CoordizerFolder = None,
    keep_short: KeepShort = False,
    check_alignment: CheckAlignment = False,
    distance_max: DistanceMax = None,
    skips_max: SkipsMax = 100,
    as_json: Annotated[bool, options.json_flag("the counts, reasons and dropped lines")] = False,
) -> None:
    """Clean a file of conversations for training: drop duplicates and those outside the limits.

    The limits are --min-phi and --check-basin-alignment; without them only duplicates are dropped.
    The remaining conversations are written to OUT.

    Example: constellation data prepare talk.jsonl clean.jsonl --check-basin-alignment
    --coordizer artifacts/starter/coordizer
    """
    from constellation.curricula.conversation_checks import check_conversations
    from constellation.curricula.conversations import read_conversations, write_conversations

    phi, alignment = _checks(min_phi, kernel, coordizer, keep_short, check_alignment, distance_max)
    read = read_conversations(path, skips_max=skips_max)
    checked = check_conversations(read.conversations, phi=phi, alignment=alignment)
    write_conversations(out, checked.kept)
    reasons = Counter(dropped.reason for dropped in checked.dropped)
    facts = {
        "out": out,
        "num_read": len(read.conversations),
        "num_kept": len(checked.kept),
        "dropped": dict(sorted(reasons.items())),
        "distance_max": checked.distance_max,
        "distance_null": checked.distance_null,
        "bad_lines": [f"{bad.source}: {bad.reason}" for bad in read.skipped],
        "dropped_lines": [
            f"line {one.line}: {one.reason} ({one.detail})" for one in checked.dropped
        ],
    }
    _print(facts, as_json=as_json)


@app.command("validate")
def validate(
    path: Conversations,
    skips_max: SkipsMax = 100,
    as_json: Annotated[bool, options.json_flag("the counts and bad lines")] = False,
) -> None:
    """Check a file of conversations: count them, and list the lines that are invalid.

    Nothing is written. Ends with exit code 1 when a line is invalid.

    Example: constellation data validate talk.jsonl
    """
    from constellation.curricula.conversation_checks import check_conversations
    from constellation.curricula.conversations import read_conversations

    read = read_conversations(path, skips_max=skips_max)
    copies = check_conversations(read.conversations).dropped
    spoken = [message for each in read.conversations for message in each.messages]
    facts = {
        "num_conversations": len(read.conversations),
        "num_messages": len(spoken),
        "roles": dict(sorted(Counter(message.role for message in spoken).items())),
        "num_bytes": sum(len(each.text.encode()) for each in read.conversations),
        "num_duplicates": len(copies),
        "bad_lines": [f"{bad.source}: {bad.reason}" for bad in read.skipped],
    }
    _print(facts, as_json=as_json)
    if read.skipped:
        raise typer.Exit(1)


@app.command("generate")
def generate(
    teacher: Annotated[
        Path,
        typer.Argument(
            help="Folder of the model that writes: a kernel, or a model of the transformers "
            "library."
        ),
    ],
    prompts: Annotated[Path, typer.Argument(help="Text file with one prompt per line.")],
    out: Annotated[
        Path,
        typer.Argument(
            help="JSON-lines file to write, which a training recipe can read as its text."
        ),
    ],
    coordizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the coordizer (tokenizer) of a kernel; needed when the teacher is a "
            "kernel.",
        ),
    ] = None,
    tokens_max: options.TokensMax = None,
    temperature: options.Temperature = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed, from 0, of the random choice of tokens.")
    ] = 0,
    as_json: Annotated[
        bool, options.json_flag("the output file and the counts of texts and bytes")
    ] = False,
) -> None:
    """Let a teacher model continue every prompt of a file, as training text for a smaller kernel.

    Example: constellation data generate model/ prompts.txt taught.jsonl --tokens-max 64
    """
    from constellation.coordizer.coordizer import Coordizer
    from constellation.curricula.text_files import read_prompts, write_records
    from constellation.records import Sampling
    from training.transfer.teachers import load_writer, write_texts

    given: dict[str, Any] = {"tokens_max": tokens_max, "temperature": temperature}
    sampling = Sampling(seed=seed, **{name: n for name, n in given.items() if n is not None})
    wanted = read_prompts(prompts)
    writer = load_writer(teacher, None if coordizer is None else Coordizer.load(coordizer))
    with progress_lines.step(f"writing after {len(wanted)} prompts"):
        texts = write_texts(writer, wanted, sampling)
    write_records(out, texts)
    num_bytes = sum(len(text.encode()) for text in texts)
    _print({"out": out, "num_texts": len(texts), "num_bytes": num_bytes}, as_json=as_json)


def _checks(
    min_phi: float | None,
    kernel: Path | None,
    coordizer: Path | None,
    keep_short: bool,
    check_alignment: bool,
    distance_max: float | None,
) -> tuple["PhiCheck | None", "AlignmentCheck | None"]:
    from constellation.errors import ConfigError

    if min_phi is None and not check_alignment:
        if keep_short or any(flag is not None for flag in (kernel, coordizer, distance_max)):
            raise ConfigError(
                "--kernel, --coordizer, --keep-short and --distance-max belong to --min-phi or "
                "--check-basin-alignment; give one of these"
            )
        return None, None
    if coordizer is None:
        raise ConfigError("these checks measure basins or tokens; give --coordizer")
    if min_phi is not None and kernel is None:
        raise ConfigError("--min-phi measures the hidden states of a kernel; give --kernel")
    from constellation.coordizer.coordizer import Coordizer
    from constellation.curricula.conversation_checks import AlignmentCheck, PhiCheck
    from constellation.kernel.adapters.kernel_folder import open_kernel

    loaded = Coordizer.load(coordizer)
    phi = None
    if min_phi is not None and kernel is not None:
        phi = PhiCheck(
            kernel=open_kernel(kernel), coordizer=loaded, phi_min=min_phi, keep_short=keep_short
        )
    alignment = None
    if check_alignment:
        alignment = AlignmentCheck(coordizer=loaded, distance_max=distance_max)
    return phi, alignment


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output_format.print_json(facts)
        return
    shown = output_format.table("fact", "value")
    shown.columns[1].no_wrap = False
    for name, value in facts.items():
        lines = value if isinstance(value, list) else [_words(value)]
        for number, line in enumerate(lines):
            shown.add_row("" if number else name.replace("_", " "), line)
    output_format.stdout().print(shown)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
