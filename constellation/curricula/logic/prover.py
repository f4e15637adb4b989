"""Answer a puzzle by its truth table, with the evidence: exhausted models or two counter-models.

Without a model of the premises the answer is `⊥`. Otherwise a query that is true in all models has
the answer `●`, one that is false in all models `⊥`, and any other `◑`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import and_

from constellation.curricula.logic.formula_printer import print_formula
from constellation.curricula.logic.formula_tree import (
    FALSE,
    TRUE,
    UNDETERMINED,
    Asserted,
    Chain,
    Comparison,
    Consistent,
    Marked,
    Member,
    Name,
    Premise,
    Puzzle,
    ValidSquare,
    formulas_of,
    implications,
)
from constellation.curricula.logic.grounding import (
    Leaf,
    Vocabulary,
    check_size,
    leaves,
    value_of,
    vocabulary_of,
)
from constellation.curricula.logic.puzzle_errors import PuzzleTooLarge
from constellation.curricula.logic.truth_table import ATOMS_MAX, TruthTable, Variable, name_key

SQUARE = re.compile(r"[a-h][1-8]")
"""A square of the chess board."""

NAMES_MAX = 6
"""Most names of unknown integers: seven names have over 65,536 candidate models."""

Model = dict[str, bool | int]
"""Atom or name -> its value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """The answer to a puzzle and its evidence."""

    answer: str
    """"●", "◑" or "⊥"."""
    reason: str
    """What was found in the models of the premises."""
    num_candidates: int
    """Assignments of values to atoms and names that were all tried."""
    num_models: int
    """Assignments in which all premises are true."""
    models: tuple[Model, ...]
    """For `◑`: a model in which the query is true and one in which it is false. Otherwise one model
    of the premises, or none when there is no model."""


def prove(puzzle: Puzzle) -> Proof:
    """Return the answer to a puzzle with its evidence.

    Raises:
        PuzzleTooLarge: A formula is deeper than 64 nodes, quantifiers are written out to over
            20,000 nodes, or there are over 16 atoms or over 65,536 candidate models; no table is
            computed.
        PuzzleError: A quantifier has no constant to range over.
    """
    vocabulary = vocabulary_of(puzzle)
    check_size(puzzle, vocabulary)
    table = TruthTable(_variables(puzzle, vocabulary), vocabulary)
    models = table.full
    for premise in puzzle.premises:
        models &= _premise_table(table, premise)
    if isinstance(puzzle.query, ValidSquare):
        is_square = SQUARE.fullmatch(puzzle.query.square) is not None
        true, kind = models if is_square else 0, "square"
    elif isinstance(puzzle.query, Consistent):
        true, kind = models, "consistent"
    else:
        true, kind = models & table.of(puzzle.query), "formula"
    return _judge(table, models, true, kind)


_REASONS = {
    ("formula", TRUE): "the query is true in every model of the premises",
    ("formula", FALSE): "the query is false in every model of the premises",
    ("consistent", TRUE): "the premises have a model",
    ("square", TRUE): "the text names a square: a to h, then 1 to 8",
    ("square", FALSE): "the text names no square: a to h, then 1 to 8",
}


def _judge(table: TruthTable, models: int, true: int, kind: str) -> Proof:
    false = models & ~true
    shown: tuple[int, ...] = (models,)
    if not models:
        answer, reason = FALSE, "no model: the premises contradict each other"
    elif true and false:
        answer, shown = UNDETERMINED, (true, false)
        reason = "the query is true in the first model and false in the second"
    else:
        answer = TRUE if true else FALSE
        reason = _REASONS[kind, answer]
    found = (table.model(each) for each in shown)
    return Proof(
        answer=answer,
        reason=reason,
        num_candidates=table.num_candidates,
        num_models=models.bit_count(),
        models=tuple(_readable(model) for model in found if model is not None),
    )


def _readable(model: Model) -> Model:
    """Return a model with names as keys, where no proposition has the same letters."""
    short = {text: text.removeprefix("value of ") for text in model}
    return {
        text if text != name and name in model else name: model[text]
        for text, name in short.items()
    }


def _premise_table(table: TruthTable, premise: Premise) -> int:
    if isinstance(premise, Asserted):
        return table.of(premise.formula)
    if isinstance(premise, Chain):
        return reduce(and_, map(table.of, implications(premise)))
    if isinstance(premise, Marked) and premise.mark != UNDETERMINED:
        true = table.of(premise.atom)
        return true if premise.mark == TRUE else table.full & ~true
    return table.full


def _variables(puzzle: Puzzle, vocabulary: Vocabulary) -> tuple[Variable, ...]:
    found: dict[Leaf, None] = {}
    for formula in formulas_of(puzzle):
        found.update(dict.fromkeys(leaves(formula, vocabulary)))
    atoms = [print_formula(leaf) for leaf in found if _is_open(leaf, vocabulary)]
    if len(atoms) > ATOMS_MAX:
        raise PuzzleTooLarge("atoms", value=len(atoms), limit=ATOMS_MAX)
    comparisons = [leaf for leaf in found if isinstance(leaf, Comparison)]
    return (*(Variable(text, (False, True)) for text in atoms), *_name_variables(comparisons))


def _is_open(leaf: Leaf, vocabulary: Vocabulary) -> bool:
    if isinstance(leaf, Member):
        return isinstance(leaf.collection, str) and leaf.collection not in vocabulary.sets
    return not isinstance(leaf, Comparison)


def _name_variables(comparisons: Iterable[Comparison]) -> list[Variable]:
    """Return the names that stand for unknown integers, with values enough for every order.

    n names without numbers need the values 0 to n - 1. Beside numbers, the n integers below the
    least number, and every number with the n integers after it, suffice: between two numbers that
    are further apart, only the order of at most n names matters.
    """
    names: dict[str, None] = {}
    numbers: set[int] = set()
    for each in comparisons:
        ends = (each.left, each.right)
        unknown = [end for end in ends if isinstance(end, Name)]
        names.update((name_key(end), None) for end in unknown)
        if unknown:
            numbers |= {value_of(end) for end in ends if not isinstance(end, Name)}
    if (count := len(names)) > NAMES_MAX:
        raise PuzzleTooLarge("names of unknown integers", value=count, limit=NAMES_MAX)
    values = set(range(count)) if not numbers else set(range(min(numbers) - count, min(numbers)))
    for number in numbers:
        values |= set(range(number, number + count + 1))
    return [Variable(name, tuple(sorted(values))) for name in names]
