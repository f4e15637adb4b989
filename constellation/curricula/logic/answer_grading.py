"""Grade written answers to puzzles: lenient, first symbol, and exact with a stop.

The expected answer is proved again from the puzzle; what a file says about it is only compared.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from constellation.curricula.json_lines import BadLine, parse_line
from constellation.curricula.logic.prover import prove
from constellation.curricula.logic.puzzle_parser import parse_puzzle
from constellation.errors import ConfigError, CorpusError, PuzzleError
from constellation.routing.refusal_rule import wilson_interval

COLUMNS: Final = ("lenient", "first_symbol", "exact_stop")
"""The three columns of every report; `exact_stop` is the primary one."""
REASON_START: Final = " by "
"""Text between the symbol and the name of the rule, where a reason is allowed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A puzzle that was asked, with its proved answer."""

    prompt: str
    family: str
    answer: str
    """"●", "◑" or "⊥"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What a model wrote after a prompt."""

    text: str
    """The written text, at most about 8 tokens, without the end token."""
    stopped: bool
    """Whether the model ended the text by itself, by its end token."""
    long_text: str | None = None
    """The text when up to 50 tokens were allowed, for the lenient column; None: `text`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """Whether one output is right, in three columns."""

    lenient: bool
    """The symbol occurs anywhere in the long text."""
    first_symbol: bool
    """The text, without blanks and line breaks before it, begins with the symbol."""
    exact_stop: bool
    """The text is the symbol, to the character, and the model stopped by itself."""


def grade_output(answer: str, output: Output, *, reason_allowed: bool = False) -> Grade:
    """Grade one output.

    Args:
        answer: The proved answer.
        output: What was written.
        reason_allowed: Accept, in the exact column, one line with a reason after the symbol.

    Returns:
        The grade; `exact_stop` implies `first_symbol`, which implies `lenient`.
    """
    first = output.text.lstrip(" \n").startswith(answer)
    long_text = output.text if output.long_text is None else output.long_text
    rest = output.text.removeprefix(answer)
    is_reason = reason_allowed and _is_reason(rest)
    exact = output.text.startswith(answer) and (rest == "" or is_reason)
    return Grade(
        lenient=first or answer in long_text,
        first_symbol=first,
        exact_stop=exact and output.stopped,
    )


def _is_reason(text: str) -> bool:
    """Return whether a text names a rule: " by " and small letters in words."""
    words = text.removeprefix(REASON_START).split(" ")
    return text.startswith(REASON_START) and all(
        word.isascii() and word.isalpha() and word.islower() for word in words
    )


def grade_report(
    questions: Sequence[Question],
    outputs: Sequence[Output],
    *,
    reason_allowed: bool = False,
    learned: Iterable[Question] | None = None,
) -> dict[str, Any]:
    """Return shares of right answers by family, with 95 % intervals and the majority baseline.

    Args:
        questions: What was asked.
        outputs: The output for each question, in the same order.
        reason_allowed: As for `grade_output`.
        learned: Training set, whose most frequent answer of a family is the majority baseline. If
            it is None, or lacks a family, the most frequent answer of the questions is.

    Returns:
        "families": name -> "num_items", "majority" (share that always giving the most frequent
        answer gets right), and for each of `COLUMNS` the share "right" and its Wilson "interval";
        "all": the same over all items; "macro": the mean over families of each column; "least":
        the lowest share of a family, for each column. All shares are in [0, 1]; high is good.

    Raises:
        ConfigError: There is no question.
    """
    if not questions:
        raise ConfigError("there are no questions to grade; give at least one")
    grades = [
        grade_output(question.answer, output, reason_allowed=reason_allowed)
        for question, output in zip(questions, outputs, strict=True)
    ]
    majority = _majority([*([] if learned is None else learned)])
    places: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        places.setdefault(question.family, []).append(place)
    rows = {
        name: _row([questions[i] for i in some], [grades[i] for i in some], majority.get(name))
        for name, some in sorted(places.items())
    }
    shares = {column: [row[column]["right"] for row in rows.values()] for column in COLUMNS}
    return {
        "families": rows,
        "all": _row(questions, grades, None),
        "macro": {column: sum(some) / len(some) for column, some in shares.items()},
        "least": {column: min(some) for column, some in shares.items()},
    }


def _row(
    questions: Sequence[Question], grades: Sequence[Grade], guess: str | None
) -> dict[str, Any]:
    counts = Counter(question.answer for question in questions)
    number = len(questions)
    most = max(counts.values()) if guess is None else counts[guess]
    row: dict[str, Any] = {"num_items": number, "majority": most / number}
    for column in COLUMNS:
        share = sum(getattr(grade, column) for grade in grades) / number
        row[column] = {"right": share, "interval": list(wilson_interval(share, number))}
    return row


def _majority(learned: Sequence[Question]) -> Mapping[str, str]:
    counts: dict[str, Counter[str]] = {}
    for question in learned:
        counts.setdefault(question.family, Counter())[question.answer] += 1
    return {family: some.most_common(1)[0][0] for family, some in counts.items()}


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a file that `logic generate` wrote; every answer is proved again.

    Raises:
        CorpusError: The file cannot be read or holds no question, or a line is no question, or its
            answer is not the proved one; names the line.
    """
    questions = []
    for number, entry in _entries(path):
        prompt, answer, puzzle = (_text(path, number, entry, k) for k in _QUESTION_KEYS)
        try:
            proved = prove(parse_puzzle(puzzle)).answer
        except PuzzleError as error:
            raise CorpusError(path, f"line {number}: {error}") from error
        if not answer.startswith(proved):
            raise CorpusError(
                path, f"line {number}: the answer is {answer!r}, and the prover finds {proved!r}"
            )
        family = _text(path, number, entry, "family")
        questions.append(Question(prompt=prompt, family=family, answer=proved))
    if not questions:
        raise CorpusError(path, "it holds no question; write one a line")
    return questions


_QUESTION_KEYS = ("prompt", "answer", "puzzle")


def read_outputs(path: Path, questions: Sequence[Question]) -> list[Output]:
    """Return the outputs of a JSON-lines file, in the order of the questions.

    Each line has the keys "prompt", "output", "stopped", and if wanted "long_output".

    Raises:
        CorpusError: The file cannot be read, a line is no output, a prompt was not asked or occurs
            twice, or the output for a question is missing.
    """
    found: dict[str, Output] = {}
    asked = {question.prompt for question in questions}
    for number, entry in _entries(path):
        prompt = _text(path, number, entry, "prompt")
        if prompt not in asked or prompt in found:
            problem = "occurs twice" if prompt in found else "is not among the questions"
            raise CorpusError(path, f"line {number}: the prompt {prompt[:60]!r} {problem}")
        found[prompt] = _output(path, number, entry)
    missing = [question.prompt for question in questions if question.prompt not in found]
    if missing:
        raise CorpusError(
            path,
            f"{len(missing)} of {len(questions)} questions have no output; the first is "
            f"{missing[0][:60]!r}",
        )
    return [found[question.prompt] for question in questions]


def _output(path: Path, number: int, entry: Mapping[str, Any]) -> Output:
    stopped = entry.get("stopped")
    if not isinstance(stopped, bool):
        raise CorpusError(path, f'line {number}: "stopped" is {stopped!r}; give true or false')
    long_text = _text(path, number, entry, "long_output") if "long_output" in entry else None
    text = _text(path, number, entry, "output")
    return Output(text=text, stopped=stopped, long_text=long_text)


def _entries(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CorpusError(path, f"it cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = parse_line(line)
        except BadLine as error:
            raise CorpusError(path, f"line {number} is {error}") from error
        if not isinstance(entry, dict):
            raise CorpusError(path, f"line {number} is no JSON object")
        found.append((number, entry))
    return found


def _text(path: Path, number: int, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise CorpusError(path, f'line {number}: "{key}" must be a text')
    return value
