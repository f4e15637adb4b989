"""The commands `logic generate|prove|grade`: make, answer and grade logic puzzles."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.command_groups import FlagGroup
from cluster.cli.connection import read_text

app = typer.Typer(
    cls=FlagGroup,
    no_args_is_help=True,
    help="Logic puzzles: generate training pairs, prove the answer to a puzzle, grade answers.",
)
"""Typer application of this group of commands."""


class FormName(StrEnum):
    """Values of --form; the same as in `curricula.logic.puzzle_pairs.Form`."""

    PURE = "pure"
    CHAT = "chat"
    SCAFFOLDED = "scaffolded"


class SurfaceName(StrEnum):
    """Values of --surface; the same as in `curricula.logic.puzzle_pairs.Surface`."""

    COMPACT = "compact"
    LINES = "lines"


Reason = Annotated[
    bool,
    typer.Option(
        "--reason", help="In form `scaffolded`: name the rule after the symbol of the answer."
    ),
]


@app.command("generate")
def generate(
    out: Annotated[
        Path,
        typer.Argument(
            help="Folder to write: train.jsonl, held_out.jsonl, longer_chains.jsonl, "
            "new_connective.jsonl, legacy.jsonl, symbols.json, manifest.json."
        ),
    ],
    count: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            help="Number of puzzles of each rule family, learned and held out together, 1 to "
            "100,000.",
        ),
    ] = 2000,
    held_out_share: Annotated[
        float, typer.Option(help="Share of the puzzles that are held out, above 0 and below 1.")
    ] = 0.2,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed, from 0; equal seeds write equal files.")
    ] = 0,
    family: Annotated[
        list[str] | None,
        typer.Option(help="Name of a rule family; repeat for several. (default: all)"),
    ] = None,
    form: Annotated[
        FormName,
        typer.Option(
            help="How prompts are written: symbols only, symbols in the markup of ChatML, or "
            "English with a legend of the symbols."
        ),
    ] = FormName.PURE,
    surface: Annotated[
        SurfaceName,
        typer.Option(help="How symbols are written: premises with commas, or one a line."),
    ] = SurfaceName.COMPACT,
    pure_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of the puzzles in form `pure`, 0 to 1; all others are in form "
            "`scaffolded`. Every share has the same puzzles. (default: all in --form)",
        ),
    ] = None,
    reason: Reason = False,
    as_json: Annotated[bool, options.json_flag("the manifest")] = False,
) -> None:
    """Generate logic puzzles as pairs of prompt and answer, for training on pairs.

    The prover labels every puzzle; the answers of a family occur equally often. No puzzle of
    one file occurs in another with other letters; legacy.jsonl, a fixed set, marks such puzzles.

    Example: constellation logic generate task/ --count 2000 --seed 1
    """
    from constellation.curricula.logic.logic_corpus import CorpusPlan, write_corpus
    from constellation.curricula.logic.puzzle_pairs import Form, Rendering, Surface
    from constellation.errors import ConfigError

    if pure_share is not None and form is not FormName.PURE:
        raise ConfigError("--pure-share mixes the forms pure and scaffolded; leave out --form")
    rendering = Rendering(form=Form(form), surface=Surface(surface), with_reason=reason)
    given: dict[str, Any] = {} if not family else {"families": tuple(family)}
    plan = CorpusPlan(
        count=count,
        held_out_share=held_out_share,
        seed=seed,
        rendering=rendering,
        pure_share=pure_share,
        **given,
    )
    with progress_lines.step("generating puzzles"):
        manifest = write_corpus(out, plan)
    if as_json:
        output_format.print_json(manifest)
        return
    shown = output_format.table("file", "pairs", numbers=("pairs",))
    for name, number in manifest["num_pairs"].items():
        shown.add_row(str(out / f"{name}.jsonl"), str(number))
    output_format.stdout().print(shown)


@app.command("prove")
def prove(
    puzzle: Annotated[
        str,
        typer.Argument(
            help="Puzzle in compact form (P→Q,P?Q) or in line form (one premise a line, then "
            "?Q); `-` reads standard input."
        ),
    ],
    as_json: Annotated[bool, options.json_flag("the answer and its evidence")] = False,
) -> None:
    """Print the answer to a logic puzzle, ● true, ◑ undetermined or ⊥ false, and its evidence.

    For ◑ the evidence is two models of the premises: the query is true in one and false in the
    other. For ● and ⊥ it is the number of models that were tried.

    Example: constellation logic prove 'P→Q,P?Q'
    """
    from constellation.curricula.logic.prover import prove as find
    from constellation.curricula.logic.puzzle_parser import parse_puzzle

    proof = find(parse_puzzle(read_text(puzzle)))
    if as_json:
        output_format.print_json(asdict(proof))
        return
    print(proof.answer)
    print(f"{proof.reason} (models: {proof.num_models} of {proof.num_candidates} candidates)")
    for model in proof.models:
        values = ", ".join(_value(name, value) for name, value in model.items())
        print(f"model: {values or 'nothing to choose'}")


def _value(name: str, value: bool | int) -> str:
    shown = ("●" if value else "⊥") if isinstance(value, bool) else str(value)
    return f"{name}: {shown}"


@app.command("grade")
def grade(
    items: Annotated[
        Path, typer.Argument(help="File of puzzles that `constellation logic generate` wrote.")
    ],
    outputs: Annotated[
        Path,
        typer.Argument(
            help='File of JSON lines with the keys "prompt", "output" (the text that was '
            'written), "stopped" (whether the model ended the text itself), and if wanted '
            '"long_output" (up to 50 tokens, for the lenient column).'
        ),
    ],
    train: Annotated[
        Path | None,
        typer.Option(
            help="File of the learned puzzles, for the majority baseline. (default: the baseline "
            "is computed from ITEMS)"
        ),
    ] = None,
    reason: Annotated[
        bool,
        typer.Option("--reason", help="Accept the name of a rule after the symbol as exact."),
    ] = False,
    as_json: Annotated[bool, options.json_flag("shares, intervals and baselines")] = False,
) -> None:
    """Grade written answers: exact with stop, first symbol, and lenient, with 95 % intervals.

    The prover computes the right answers again. A high share is good.

    Example: constellation logic grade task/held_out.jsonl outputs.jsonl --train task/train.jsonl
    """
    from constellation.curricula.logic.answer_grading import grade_report
    from constellation.curricula.logic.grading_files import read_outputs, read_questions

    questions = read_questions(items)
    report = grade_report(
        questions,
        read_outputs(outputs, questions),
        reason_allowed=reason,
        learned=None if train is None else read_questions(train),
    )
    if as_json:
        output_format.print_json(report)
        return
    _print_report(report)


_COLUMNS = {"exact_stop": "exact + stop", "first_symbol": "first symbol", "lenient": "lenient"}


def _print_report(report: dict[str, Any]) -> None:
    numbers = ("items", *_COLUMNS.values(), "majority")
    shown = output_format.table("family", *numbers, numbers=numbers)
    for name, row in [*report["families"].items(), ("all", report["all"])]:
        cells = [_share(row[column]) for column in _COLUMNS]
        shown.add_row(name, str(row["num_items"]), *cells, _percent(row["majority"]))
    for name, words in (("macro", "mean of the families"), ("least", "worst family")):
        shown.add_row(words, "", *(_percent(report[name][column]) for column in _COLUMNS), "")
    output_format.stdout().print(shown)


def _share(column: dict[str, Any]) -> str:
    low, high = column["interval"]
    return f"{_percent(column['right'])} [{100 * low:.1f}, {100 * high:.1f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
