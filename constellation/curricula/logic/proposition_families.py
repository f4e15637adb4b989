"""Families of puzzles about propositions.

Each draws premises that make a formula true, false or open.
"""

from itertools import pairwise

from constellation.curricula.logic.formula_tree import (
    Asserted,
    Binary,
    Chain,
    Formula,
    Not,
    Premise,
)
from constellation.curricula.logic.puzzle_draft import Draft, Outline


def implies(left: Formula, right: Formula) -> Premise:
    """Return the premise that one formula implies another."""
    return Asserted(Binary("→", left, right))


def modus_ponens(draft: Draft, status: str) -> Outline:
    """Draw `X→Y, X ? Y`; open if X is unknown, or if Y is known and X asked."""
    left, right = draft.operand(needed=1), draft.operand()
    if status == "true":
        return [implies(left, right), draft.fact(left)], right
    if status == "false":
        return [implies(left, Not(right)), draft.fact(left)], right
    rule = implies(left, right)
    variants: list[Outline] = [
        ([rule, draft.fact(right)], left),
        ([rule, draft.fact(Not(left))], right),
        ([rule, *draft.open_mark(left)], right),
    ]
    return draft.rng.choice(variants)


def modus_tollens(draft: Draft, status: str) -> Outline:
    """Draw `X→Y, ¬Y ? X`; open if ¬X is known and Y asked, or Y is unknown."""
    left, right = draft.operand(needed=1), draft.operand()
    if status == "true":
        return [implies(Not(left), right), draft.fact(Not(right))], left
    rule = implies(left, right)
    if status == "false":
        return [rule, draft.fact(Not(right))], left
    variants: list[Outline] = [
        ([rule, draft.fact(Not(left))], right),
        ([rule, *draft.open_mark(right)], left),
    ]
    return draft.rng.choice(variants)


def chain(draft: Draft, status: str) -> Outline:
    """Draw a chain of 2 to 6 implications."""
    return chain_of(draft, status, draft.rng.randint(2, 6))


def longer_chain(draft: Draft, status: str) -> Outline:
    """Draw a chain of 7 to 10 implications."""
    return chain_of(draft, status, draft.rng.randint(7, 10))


def chain_of(draft: Draft, status: str, length: int) -> Outline:
    """Draw a chain of implications of the given length, broken or unbroken.

    Without a formula that is true at the beginning, or with a link left out, the end is open. A
    chain whose beginning is true and whose middle is false has no model.
    """
    links = [draft.operand(needed=length - place) for place in range(length + 1)]
    rules = [implies(left, right) for left, right in pairwise(links)]
    start, end = links[0], links[-1]
    whole = [Chain(tuple(links))] if draft.chance(0.5) else rules
    if status == "true":
        return [*whole, draft.fact(start)], end
    if status == "false":
        broken = [*whole, draft.fact(start), draft.fact(Not(draft.rng.choice(links[1:-1])))]
        variants: list[Outline] = [
            ([*rules[:-1], implies(links[-2], Not(end)), draft.fact(start)], end),
            ([*whole, draft.fact(Not(end))], start),
            (broken, end),
        ]
        return draft.rng.choice(variants)
    gap = draft.rng.randrange(length)
    return draft.rng.choice(
        [
            ([*rules[:gap], *rules[gap + 1 :], draft.fact(start)], end),
            ([*whole, draft.fact(end)], start),
            ([*whole, *draft.open_mark(start)], end),
        ]
    )


def conjunction_introduction(draft: Draft, status: str) -> Outline:
    """Draw `X, Y ? X∧Y`; open if one of both is unknown."""
    left, right = draft.operand(needed=1), draft.operand()
    asked = Binary("∧", left, right) if draft.chance(0.5) else Binary("∧", right, left)
    if status == "true":
        return [draft.fact(left), draft.fact(right)], asked
    if status == "false":
        return [draft.fact(left), draft.fact(Not(right))], asked
    return [draft.fact(left), *draft.open_mark(right)], asked


def conjunction_elimination(draft: Draft, status: str) -> Outline:
    """Draw `X∧Y ? X`; open if something else is asked, or only the conjunction is false."""
    left, right = draft.operand(needed=1), draft.operand(needed=1)
    sides = [left, right] if draft.chance(0.5) else [right, left]
    if status == "true":
        return [Asserted(Binary("∧", *sides))], left
    if status == "false":
        sides[sides.index(left)] = Not(left)
        return [Asserted(Binary("∧", *sides))], left
    if draft.chance(0.5):
        return [Asserted(Binary("∧", *sides))], draft.operand()
    return [Asserted(Not(Binary("∧", *sides)))], left


def disjunction(draft: Draft, status: str) -> Outline:
    """Draw `X∨Y, ¬X ? Y` and `X ? X∨Y`; open if no side is known to be false."""
    left, right = draft.operand(needed=1), draft.operand()
    either = Binary("∨", left, right) if draft.chance(0.5) else Binary("∨", right, left)
    outlines: dict[str, list[Outline]] = {
        "true": [
            ([Asserted(either), draft.fact(Not(left))], right),
            ([draft.fact(left)], either),
        ],
        "false": [
            ([Asserted(Not(either))], left),
            ([draft.fact(Not(left)), draft.fact(Not(right))], either),
        ],
        "open": [
            ([Asserted(either)], left),
            ([Asserted(either), draft.fact(left)], right),
            ([draft.fact(Not(left)), *draft.open_mark(right)], either),
        ],
    }
    return draft.rng.choice(outlines[status])


def negation(draft: Draft, status: str) -> Outline:
    """Draw formulas under one to five negations; open if another formula is asked."""
    body = draft.operand(needed=1)
    wrapped: Formula = body
    for _ in range(2 * draft.rng.randint(1, 2) - (status == "false")):
        wrapped = Not(wrapped)
    if status != "open":
        return [draft.fact(wrapped)], body
    other = draft.operand()
    asked = Not(Not(other)) if draft.chance(0.2) else other
    return [draft.fact(wrapped), *draft.open_mark(other)], asked


def biconditional(draft: Draft, status: str) -> Outline:
    """Draw `X↔Y, X ? Y` and `X, Y ? X↔Y`; open if no side is known."""
    left, right = draft.operand(needed=1), draft.operand()
    same = Binary("↔", left, right) if draft.chance(0.5) else Binary("↔", right, left)
    outlines: dict[str, list[Outline]] = {
        "true": [
            ([Asserted(same), draft.fact(left)], right),
            ([draft.fact(left), draft.fact(right)], same),
        ],
        "false": [
            ([Asserted(same), draft.fact(Not(left))], right),
            ([draft.fact(left), draft.fact(Not(right))], same),
        ],
        "open": [
            ([Asserted(same), *draft.open_mark(left)], right),
            ([draft.fact(left), *draft.open_mark(right)], same),
        ],
    }
    return draft.rng.choice(outlines[status])


def exclusive_or(draft: Draft, status: str) -> Outline:
    """Draw `X⊕Y, X ? Y`, with the connective that no other family has."""
    left, right = draft.operand(needed=1), draft.operand()
    either = Binary("⊕", left, right) if draft.chance(0.5) else Binary("⊕", right, left)
    if status == "true":
        return [Asserted(either), draft.fact(Not(left))], right
    if status == "false":
        return [Asserted(either), draft.fact(left)], right
    return [Asserted(either), *draft.open_mark(left)], right


def consistency(draft: Draft, status: str) -> Outline:
    """Draw premises with or without a model; the formula is a stand-in for `?consistent`."""
    left, middle = draft.operand(needed=2), draft.operand(needed=1)
    right = draft.operand()
    premises = [draft.fact(left), implies(left, middle), implies(middle, right)]
    if draft.chance(0.3):
        premises[1:] = [Asserted(Binary("↔", left, right))]
    if status == "false":
        premises.append(draft.fact(Not(right)))
    elif draft.chance(0.6):
        del premises[0]
        premises.append(draft.fact(Not(right)))
    return premises, right
