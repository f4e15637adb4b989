"""Render a report's summary as Markdown, without computing or judging any number."""

import json
import re
from collections.abc import Iterable, Sequence

from training.evaluation.cross_domain import DOCUMENTS_PER_DOMAIN
from training.evaluation.held_out_figures import TOKENS_LEAST
from training.report.arrivals import arrival_rows
from training.report.facts import Json
from training.report.plots import Plot
from training.report.refusal_findings import refusal_rows
from training.report.verdicts import span

NONE = "-"
"""Text of a cell without a measurement."""


def to_markdown(summary: Json, plots: Sequence[Plot]) -> str:
    """Return what `summarise_run` returned as Markdown, with pictures at paths relative to it."""
    sections = [
        _head(summary),
        _findings(summary["findings"]),
        _pictures(plots),
        _bits(summary),
        _observables(summary),
        _beta(summary["beta"]),
        _arrivals(summary["arrivals"]),
        _refusal(summary["refusal"]),
        _samples(summary["samples"]),
        _course(summary),
        _validation(summary["validation"]),
        _spending(summary["spending"]),
        _provenance(summary["provenance"]),
        _conclusion(summary["conclusion"]),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(summary: Json) -> str:
    first_sentences = summary["conclusion"][:4]
    missing = summary["not_measured"]
    joined = ", ".join(map(_plain, summary["joined_since"]))
    lines = [
        f"# Report of the run {_plain(summary['name'])}",
        "",
        "## Summary",
        "",
        f"{summary['num_kernels']} kernels. " + " ".join(map(_plain, first_sentences)),
    ]
    if missing:
        lines += ["", f"Not measured in this run: {', '.join(missing)}."]
    if joined:
        lines += ["", f"Not in these figures, since they joined after the training: {joined}."]
    return "\n".join(lines)


def _findings(findings: Sequence[Json]) -> str:
    if not findings:
        return ""
    rows = [
        (
            finding["name"],
            _number(finding["value"], _digits(finding)),
            finding["unit"],
            _interval(finding["interval"], signed=finding["unit"] != "share"),
            _null(finding),
            NONE if finding["n"] is None else f"{finding['n']} {finding['n_unit']}",
            finding["verdict"],
        )
        for finding in findings
    ]
    head = ("result", "value", "unit", "95 % interval", "held against", "n", "shown")
    return "## Key results\n\n" + _table(head, rows, right=(1,))


def _digits(finding: Json) -> int:
    return 0 if finding["unit"] == "kernels" else 4


def _null(finding: Json) -> str:
    if finding["null"] is None:
        return finding["null_name"] or NONE
    return f"{finding['null_name']} ({finding['null']:.4g})"


def _pictures(plots: Sequence[Plot]) -> str:
    if not plots:
        return ""
    shown = (f"![{_plain(plot.title)}]({plot.file})" for plot in plots)
    return "## Pictures\n\n" + "\n\n".join(shown)


def _bits(summary: Json) -> str:
    rows = [
        (
            name,
            _number(row["own"]["before"]),
            _number(row["own"]["after"]),
            _interval(row["own"]["gain_ci95"], digits=3),
            *_other(row["other"]),
            _share(row["own"]["routing_accuracy"]),
            _count(row["own"]["num_documents"]),
        )
        for name, row in summary["kernels"].items()
        if row["own"]["after"] is not None
    ]
    short = ", ".join(map(_plain, summary["unscored"]))
    unscored = f"\n\nNo held-out document of {TOKENS_LEAST} tokens: {short}." if short else ""
    if not rows:
        return f"## Bits per byte{unscored}" if unscored else ""
    head = (
        "kernel", "own: seed", "own: kernel", "gain, 95 %",
        "other: seed", "other: kernel", "gain, 95 %", "routed right", "documents",
    )  # fmt: skip
    words = (
        "Held-out bits per byte before (the seed) and after specialisation, on the kernel's own "
        "domain and on all others together. A gain above 0 is a saving. Fewer than "
        f"{summary['interval_documents_min']} documents get no interval. Figures of one kernel "
        "differ with the text they are measured on: here all test documents of its domain; in the "
        f"picture of every kernel on every domain at most {DOCUMENTS_PER_DOMAIN} of them; in the "
        "curves of the loss windows of the other held-out part, by which checkpoints are chosen."
    )
    table = _table(head, rows, right=range(1, len(head)))
    return f"## Bits per byte\n\n{words}\n\n{table}{unscored}"


def _other(other: Json | None) -> tuple[str, str, str]:
    if other is None:
        return (NONE, NONE, NONE)
    gain = _interval(other["gain_ci95"], digits=3)
    return (_number(other["before"]), _number(other["after"]), gain)


def _observables(summary: Json) -> str:
    rows = [
        (
            name,
            *_measured(row["phi"]),
            _number(row["phi_gauge"]),
            *_measured(row["kappa_learned"], digits=2),
            *_measured(row["kappa_measured"]),
            _number(row["basin_distance"]),
            *_nearest(summary["basins"].get(name)),
            _number(row["depth"], 1),
            row["phase"] or NONE,
        )
        for name, row in summary["kernels"].items()
    ]
    head = (
        "kernel", "Phi", "null", "gauge", "kappa learned", "start", "kappa measured", "null",
        "head to target", "nearest basin", "radius", "depth", "phase",
    )  # fmt: skip
    if all(cell == NONE for row in rows for cell in row[1:]):
        return ""
    words = [
        "Statistics with the definitions of the library, nothing more; 95 % intervals in brackets. "
        "Phi: integration of hidden units, null: shuffled groups. Kappa: coupling of attention, as "
        "learned, and as measured in nats, null: tokens in random order. Distances are Fisher-Rao, "
        "in radians."
    ]
    seed = summary["seed"]
    if seed is not None and seed["phi"] is not None and seed["phi"]["value"] is not None:
        value, null = _measured(seed["phi"])
        words.append(f"The seed's Phi is {value}, null {null}.")
    table = _table(head, rows, right=range(1, len(head) - 1))
    return f"## Observables\n\n{' '.join(words)}\n\n{table}"


def _measured(value: Json | None, *, digits: int = 3) -> tuple[str, str]:
    """Return a value with its interval and null, as text."""
    if value is None or value["value"] is None:
        return (NONE, NONE)
    number = _number(value["value"], digits)
    if value["interval"] is not None:
        number += f" ({span(value['interval'], digits)})"
    return (number, _number(value["null"], digits))


def _nearest(basin: Json | None) -> tuple[str, str]:
    if basin is None:
        return (NONE, NONE)
    return (f"{_plain(basin['nearest'])} {basin['distance']:.3f}", _number(basin["radius"]))


def _arrivals(facts: Sequence[Json]) -> str:
    if not facts:
        return ""
    words = (
        "The share of each kernel's held-out passages of 32 tokens whose nearest kernel by the "
        "bearing rule is their own. 95 % intervals in brackets count passages, of which several "
        "are from one document."
    )
    head = ("kernel", "basins", "arrive", "passages")
    table = _table(head, arrival_rows(facts), right=(1, 2, 3))
    return f"## Arrivals\n\n{words}\n\n{table}"


def _refusal(facts: Sequence[Json]) -> str:
    if not facts:
        return ""
    words = (
        "What is refused as out of every domain, measured on held-out text. Refused: in-domain "
        "texts, by thresholds that were fitted on other documents. Caught: texts whose own kernel "
        "was left out of the table. 95 % intervals in brackets count documents, not texts."
    )
    head = ("share asked", "tokens", "refused", "caught", "documents")
    table = _table(head, refusal_rows(facts), right=(0, 1, 4))
    return f"## Refusal\n\n{words}\n\n{table}"


def _beta(beta: Json | None) -> str:
    if beta is None:
        return ""
    rows = [
        (f"{length:,}", _number(mean, 4), span(interval, 4), _number(null, 4), "yes" * beyond)
        for length, mean, interval, null, beyond in zip(
            beta["context_lengths"],
            beta["kappa_measured"],
            beta["kappa_ci95"],
            beta["kappa_shuffled"],
            beta["extrapolated"],
            strict=True,
        )
    ]
    head = ("context", "kappa, nats", "interval", "shuffled tokens", "beyond training")
    table = _table(head, rows, right=range(4))
    return f"## Running of the coupling\n\n{_plain(beta['conclusion_words'])}\n\n{table}"


def _samples(samples: Json | None) -> str:
    if samples is None or not samples["samples"]:
        return ""
    settings = samples["settings"]
    parts = [
        "## Samples",
        f"What each kernel writes after the first {settings['prompt_tokens']} tokens of held-out "
        f"text, {settings['written_tokens']} tokens at temperature {settings['temperature']} and "
        f"top-p {settings['top_p']}; beside it the seed and a network without training, which draw "
        "with the same random numbers, and how the document goes on. Nothing was picked.",
    ]
    parts += [
        f"{_plain(name)} writes none here: {_plain(why)}."
        for name, why in samples.get("left_out", {}).items()
    ]
    for sample in samples["samples"]:
        parts += _sample(sample)
    return "\n\n".join(parts)


def _sample(sample: Json) -> Iterable[str]:
    yield f"### {_plain(sample['kernel'])}: {_plain(sample['source'])}"
    texts = {
        "prompt": sample["prompt"],
        f"kernel {sample['kernel']}": sample["written"]["kernel"],
        **{name: text for name, text in sample["written"].items() if name != "kernel"},
        "the document": sample["document"],
    }
    for name, text in texts.items():
        routed = sample["routed_to"].get("kernel" if name.startswith("kernel ") else name)
        after = f" (the router takes it for {_plain(routed)})" if routed else ""
        yield f"*{_plain(name)}*{after}\n\n{_block(text)}"


def _course(summary: Json) -> str:
    happened, known = summary["course"], summary["states"]
    lines = [f"- {_plain(line)}" for line in happened["lines"]]
    if happened["lines_left_out"]:
        lines.append(f"- and {happened['lines_left_out']} more, in `training.log`")
    unfinished = {name: state for name, state in known.items() if state != "FINISHED"}
    lines += [f"- {_plain(name)} is {state}" for name, state in unfinished.items()]
    if not lines:
        return ""
    return "## Course of the run\n\n" + "\n".join(lines)


def _validation(checked: Json | None) -> str:
    if checked is None:
        return ""
    words = {True: "passed", False: "failed", None: "not applicable"}
    rows = [
        (_plain(check["name"]), words[check["passed"]], _plain(check["detail"]))
        for check in checked["checks"]
    ]
    table = _table(("check", "result", "detail"), rows)
    return f"## Validation\n\n{_plain(checked['sentence'])}\n\n{table}"


def _spending(spent: Json) -> str:
    rows = [(f"time of {part}", f"{seconds:,.1f} s") for part, seconds in spent["seconds"].items()]
    if spent["seconds_total"] is not None:
        rows.append(("time in all", f"{spent['seconds_total']:,.1f} s"))
    rows += [(f"tokens of {name}", f"{count:,}") for name, count in spent["tokens"].items()]
    if spent["tokens_total"] is not None:
        rows.append(("tokens in all", f"{spent['tokens_total']:,}"))
    if spent["memory_bytes_max"] is not None:
        rows.append(("peak memory of a process", f"{spent['memory_bytes_max']:,} bytes"))
    rows += [(f"budget: {name}", f"{limit:,}") for name, limit in spent["budget"].items()]
    rows += [(f"used: {name}", f"{used:,.4g}") for name, used in spent["used"].items()]
    if not rows:
        return ""
    return "## Budget and time\n\n" + _table(("what", "spent"), rows, right=(1,))


def _provenance(made: Json) -> str:
    rows = [
        (f"data: {name}", f"{values['num_documents']:,} documents, {values['num_bytes']:,} bytes, "
         f"sha256 `{values['sha256']}`")
        for name, values in made["data"].items()
    ]  # fmt: skip
    rows += [
        (f"training text of {name}", f"{size:,} bytes") for name, size in made["domains"].items()
    ]
    rows += [(name, f"`{digest}`") for name, digest in made["hashes"].items()]
    for group in (made["versions"], made["machine"]):
        rows += [(_plain(name), _plain(str(value))) for name, value in group.items()]
    if made["random_seed"] is not None:
        rows.insert(0, ("seed of all chance", str(made["random_seed"])))
    if made["mode"] is not None:
        rows.insert(0, ("mode", made["mode"]))
    parts = ["## What it was made from"]
    if rows:
        parts.append(_table(("what", "which"), rows))
    if made["recipe"] is not None:
        recipe = json.dumps(made["recipe"], indent=2, ensure_ascii=False)
        parts.append(f"The recipe with all of its defaults:\n\n```json\n{recipe}\n```")
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _conclusion(sentences: Sequence[str]) -> str:
    return "## Conclusion\n\n" + "\n".join(f"- {_plain(sentence)}" for sentence in sentences)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a Markdown table without the columns that are empty in every row."""
    kept = [i for i in range(len(head)) if any(row[i] not in ("", NONE) for row in rows)]
    aligned = set(right)
    rule = ["---:" if index in aligned else "---" for index in range(len(head))]
    return "\n".join(
        f"| {' | '.join(row[index] for index in kept)} |" for row in (head, rule, *rows)
    )


def _number(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def _count(value: int | None) -> str:
    return NONE if value is None else str(value)


def _interval(interval: Sequence[float] | None, *, digits: int = 4, signed: bool = True) -> str:
    return NONE if interval is None else span(interval, digits, signed=signed)


def _plain(text: str) -> str:
    """Return text with all Markdown and table characters escaped."""
    marked = "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)
    return " ".join(marked.split())


def _block(text: str) -> str:
    """Return text as a code block that the text cannot end; control characters are shown."""
    shown = "".join(map(_visible, text))
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def _visible(letter: str) -> str:
    code = ord(letter)
    if code < 0x20 and letter not in "\n\t":
        return chr(0x2400 + code)
    return "\N{REPLACEMENT CHARACTER}" if 0x7F <= code < 0xA0 else letter
