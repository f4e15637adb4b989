"""Families of puzzles about elements: quantifiers, sets, orders, integers, glyphs and squares."""

from itertools import pairwise, product

from constellation.curricula.logic.formula_tree import (
    COMPARISONS,
    FALSE,
    GLYPHS,
    TRUE,
    Asserted,
    Binary,
    Comparison,
    Formula,
    Member,
    Name,
    Not,
    Predicate,
    Premise,
    Quantified,
    SetDefinition,
    Total,
)
from constellation.curricula.logic.puzzle_draft import Draft, Labelled, Outline

_REVERSED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "=": "=", "≠": "≠"}


def _set(draft: Draft, elements: list[str]) -> tuple[list[Premise], str | tuple[str, ...]]:
    """Return a set as a definition with its name, or as a literal set."""
    if draft.chance(0.3):
        return [], tuple(elements)
    name = draft.capital()
    return [SetDefinition(name, tuple(elements))], name


def _signed(draft: Draft, name: str, is_negated: bool, element: str) -> Formula:
    atom = Predicate(name, (element,))
    return Not(atom) if is_negated else atom


def exists_finite(draft: Draft, status: str) -> Outline:
    """Draw `S={a,b}, F(a) ? ∃x∈S:F(x)`; open if F is known of some elements only, to be false."""
    elements = [draft.small() for _ in range(draft.rng.randint(2, 4))]
    premises, domain = _set(draft, elements)
    predicate, variable, negated = draft.capital(), draft.variable(), draft.chance(0.4)
    formula = Quantified("∃", variable, domain, _signed(draft, predicate, negated, variable))
    known = draft.rng.sample(elements, draft.rng.randint(0, len(elements) - 1))
    if status == "false":
        known = draft.rng.sample(elements, len(elements))
    premises += [draft.fact(_signed(draft, predicate, not negated, each)) for each in known]
    if status == "true":
        witness = draft.rng.choice([each for each in elements if each not in known])
        premises.append(draft.fact(_signed(draft, predicate, negated, witness)))
    return premises, formula


def forall_finite(draft: Draft, status: str) -> Outline:
    """Draw `S={a,b}, F(a), F(b) ? ∀x∈S:F(x)`; open if F is known of some elements only."""
    opposite = {"true": "false", "false": "true", "open": "open"}[status]
    premises, formula = exists_finite(draft, opposite)
    assert isinstance(formula, Quantified)
    body = formula.body.body if isinstance(formula.body, Not) else Not(formula.body)
    return premises, Quantified("∀", formula.variable, formula.domain, body)


def universal_instantiation(draft: Draft, status: str) -> Outline:
    """Draw `∀x:F(x)→G(x), F(a) ? G(a)` and `∀x:G(x) ? G(a)`; open for the converse."""
    first, second, variable = draft.capital(), draft.capital(), draft.variable()
    element, other = draft.small(), draft.small()
    negated, reversed_ = draft.chance(0.3), status == "false"
    condition = _signed(draft, first, negated, variable)
    conclusion = _signed(draft, second, reversed_, variable)
    known = draft.fact(_signed(draft, first, negated, element))
    asked = Predicate(second, (element,))
    if status != "open" and draft.chance(0.3):
        return [Asserted(Quantified("∀", variable, None, conclusion))], asked
    rule = Asserted(Quantified("∀", variable, None, Binary("→", condition, conclusion)))
    aside = draft.fact(_signed(draft, first, draft.chance(0.5), other))
    asides = [aside] if draft.chance(0.4) else []
    if status != "open":
        return [rule, known, *asides], asked
    variants: list[Outline] = [
        ([rule, draft.fact(asked), *asides], _signed(draft, first, negated, element)),
        ([rule, aside], asked),
        ([rule, *draft.open_mark(asked), *asides], asked),
    ]
    return draft.rng.choice(variants)


def set_membership(draft: Draft, status: str) -> Outline:
    """Draw `S={a,b} ? a∈S`, and subsets; open for the converse of a subset."""
    elements = [draft.small() for _ in range(draft.rng.randint(1, 5))]
    name, above, variable = draft.capital(), draft.capital(), draft.variable()
    element = draft.rng.choice(elements)
    stranger = draft.small()
    defined: Premise = SetDefinition(name, tuple(elements))
    subset = Asserted(Quantified("∀", variable, name, Member(variable, above)))
    within = Asserted(Quantified("∀", variable, above, Member(variable, name)))
    outlines: dict[str, list[Outline]] = {
        "true": [
            ([defined], Member(element, name)),
            ([defined, subset], Member(element, above)),
            ([draft.fact(Member(element, name)), subset], Member(element, above)),
        ],
        "false": [
            ([defined], Member(stranger, name)),
            ([defined, within], Member(stranger, above)),
            ([subset, draft.fact(Not(Member(element, above)))], Member(element, name)),
        ],
        "open": [
            ([defined, subset], Member(stranger, above)),
            ([defined, within], Member(element, above)),
            ([subset, draft.fact(Member(element, above))], Member(element, name)),
        ],
    }
    return draft.rng.choice(outlines[status])


def order_chain(draft: Draft, status: str) -> Outline:
    """Draw `a>b, b>c ? a>c` of 2 to 4 steps; open if two names lie on the same side of a third.

    A third of the decided chains is of integers; one with a false comparison has no model.
    """
    length = draft.rng.randint(2, 4)
    draft.num_propositions = min(draft.num_propositions, 4)
    if status != "open" and draft.chance(0.33):
        return _integer_chain(draft, status, length)
    names = [draft.small() for _ in range(length + 1)]
    steps = [(Name(high), Name(low)) for high, low in pairwise(names)]
    signs = [draft.rng.choice(">>>≥") for _ in steps]
    if status != "open" and ">" not in signs:
        signs[0] = ">"
    high, low = Name(names[0]), Name(names[-1])
    if status == "open":
        turn = draft.rng.randrange(length)
        steps[turn] = (steps[turn][1], steps[turn][0])
    if status == "false":
        high, low = low, high
    premises = [
        Asserted(_either_way(draft, sign, *ends)) for sign, ends in zip(signs, steps, strict=True)
    ]
    return list(premises), _either_way(draft, ">", high, low)


def _integer_chain(draft: Draft, status: str, length: int) -> Outline:
    numbers = draft.rng.sample(range(100), length + 1)
    numbers.sort(reverse=status == "true" or draft.chance(0.3))
    operands = [Total((number,)) for number in numbers]
    premises: list[Premise] = [
        Asserted(Comparison(">", high, low)) for high, low in pairwise(operands)
    ]
    if status == "false" and numbers[0] > numbers[-1]:
        return premises, Comparison("<", operands[0], operands[-1])
    return premises, Comparison(">", operands[0], operands[-1])


def _either_way(draft: Draft, sign: str, left: Name, right: Name) -> Comparison:
    if draft.chance(0.5):
        return Comparison(sign, left, right)
    return Comparison(_REVERSED[sign], right, left)


def integer_comparison(draft: Draft, status: str) -> Outline:
    """Draw a comparison of two sums of one or two integers below 100; never open."""
    sign = draft.rng.choice(COMPARISONS)
    left, right = (_total(draft) for _ in range(2))
    value = sum(left.parts)
    if draft.chance(0.3) or (sign in "=≠" and (sign == "=") == (status == "true")):
        first = draft.rng.randint(0, 99)
        right = (
            Total((value,)) if draft.chance(0.5) and value >= 0 else Total((first, value - first))
        )
    return [], Comparison(sign, left, right)


def _total(draft: Draft) -> Total:
    parts = [draft.rng.randint(0, 99)]
    if draft.chance(0.5):
        parts.append(draft.rng.choice([-1, 1]) * draft.rng.randint(1, 99))
    return Total(tuple(parts))


def squares() -> tuple[Labelled, ...]:
    """Return the 64 squares of the chess board, and 64 texts that are none."""
    valid = [file + rank for file, rank in product("abcdefgh", "12345678")]
    near = [file + rank for file, rank in product("abcdefgh", "90")]
    near += [file + rank for file, rank in product("ijklmn", "12345678")]
    return (
        *((TRUE, f"?valid:{square}") for square in valid),
        *((FALSE, f"?valid:{square}") for square in near),
    )


def identities() -> tuple[Labelled, ...]:
    """Return every pair of glyphs, compared by `=` and by `≠`."""
    return tuple(
        (TRUE if (left == right) == (sign == "=") else FALSE, f"?{left}{sign}{right}")
        for left, right in product(GLYPHS, GLYPHS)
        for sign in "=≠"
    )
