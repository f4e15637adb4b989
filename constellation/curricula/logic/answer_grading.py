"""Grade written answers to puzzles: lenient, first symbol, and exact with a stop."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from constellation.errors import ConfigError
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
