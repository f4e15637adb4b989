"""Read the questions and outputs that are graded, from JSON-lines files.

The expected answer is proved again from the puzzle; the answer in the file is only compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from constellation.curricula.json_lines import BadLine, parse_line
from constellation.curricula.logic.answer_grading import Output, Question
from constellation.curricula.logic.prover import prove
from constellation.curricula.logic.puzzle_errors import PuzzleError
from constellation.curricula.logic.puzzle_parser import parse_puzzle
from constellation.errors import CorpusError


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
    found: list[tuple[int, Mapping[str, Any]]] = []
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
