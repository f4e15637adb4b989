"""Random puzzles for laws, and an oracle that answers them by trying every assignment."""

import itertools
import operator
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

from constellation.curricula.logic import formula_tree as tree

SIGNS = {
    "<": operator.lt,
    ">": operator.gt,
    "≤": operator.le,
    "≥": operator.ge,
    "=": operator.eq,
    "≠": operator.ne,
}
elements = st.sampled_from(["a", "b", "c"])
sets = st.one_of(
    st.sampled_from(["S", "T"]), st.lists(elements, max_size=2, unique=True).map(tuple)
)
totals = st.lists(st.integers(-9, 9), min_size=1, max_size=3).map(tuple).map(tree.Total)
operands = st.one_of(totals, st.sampled_from(["m", "n"]).map(tree.Name))
comparisons = st.one_of(
    st.builds(tree.Comparison, st.sampled_from(tree.COMPARISONS), operands, operands),
    st.builds(
        tree.Comparison,
        st.sampled_from(["=", "≠"]),
        st.sampled_from(tree.GLYPHS).map(tree.Glyph),
        st.sampled_from(tree.GLYPHS).map(tree.Glyph),
    ),
)
atoms = st.one_of(
    st.sampled_from(["P", "Q"]).map(tree.Atom),
    st.builds(tree.Predicate, st.just("F"), elements.map(lambda each: (each,))),
    st.builds(tree.Member, elements, sets),
)


def _above(formulas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    quantifiers = st.sampled_from(["∀", "∃"])
    return st.one_of(
        st.builds(tree.Not, formulas),
        st.builds(tree.Binary, st.sampled_from(tree.CONNECTIVES), formulas, formulas),
        st.builds(tree.Quantified, quantifiers, elements, st.one_of(st.none(), sets), formulas),
    )


formulas = st.recursive(st.one_of(atoms, comparisons), _above, max_leaves=8)
premises = st.one_of(
    formulas.map(tree.Asserted),
    st.lists(formulas, min_size=3, max_size=4).map(tuple).map(tree.Chain),
    st.builds(tree.Marked, atoms, st.sampled_from(tree.ANSWERS)),
    elements.map(tree.Constant),
)
definitions = st.builds(
    tree.SetDefinition, st.just("S"), st.lists(elements, max_size=3, unique=True).map(tuple)
)
queries = st.one_of(
    formulas,
    st.just(tree.Consistent()),
    st.from_regex("[A-Za-z0-9]{1,8}", fullmatch=True).map(tree.ValidSquare),
)
puzzles = st.builds(
    lambda some, sets, query: tree.Puzzle((*sets, *some), query),
    st.lists(premises, max_size=4),
    st.lists(definitions, max_size=1),
    queries,
)


def _names(kind: str, text: str) -> list[str]:
    return re.findall(rf"\b{kind}\(name='(\w+)'", text)


class Oracle:
    """Answers a puzzle by the meaning of each node in one assignment after another.

    Independent of the prover: recursion over dictionaries, no tables, and names take every value of
    a range instead of a chosen few.
    """

    def __init__(self, puzzle: tree.Puzzle) -> None:
        self.puzzle = puzzle
        self.sets = {p.name: p.elements for p in puzzle.premises if type(p) is tree.SetDefinition}
        self.constants: list[str] = []
        self.formulas: list[Any] = []
        for premise in puzzle.premises:
            match premise:
                case tree.Asserted(formula) | tree.Marked(formula, _):
                    self.formulas.append(formula)
                case tree.Chain(links):
                    self.formulas += links
                case tree.SetDefinition(_, elements):
                    self.constants += elements
                case tree.Constant(name):
                    self.constants.append(name)
        if not isinstance(puzzle.query, tree.Consistent | tree.ValidSquare):
            self.formulas.append(puzzle.query)
        for formula in self.formulas:
            self.constants += self._free(formula, ())

    def _free(self, node: Any, bound: tuple[str, ...]) -> list[str]:
        match node:
            case tree.Predicate(_, found):
                return [each for each in found if each not in bound]
            case tree.Member(element, where):
                found = (element, *(where if isinstance(where, tuple) else ()))
                return [each for each in found if each not in bound]
            case tree.Not(body):
                return self._free(body, bound)
            case tree.Binary(_, left, right):
                return self._free(left, bound) + self._free(right, bound)
            case tree.Quantified(_, variable, domain, body):
                outer = [e for e in domain if e not in bound] if isinstance(domain, tuple) else []
                return outer + self._free(body, (*bound, variable))
        return []

    def holds(self, node: Any, world: dict[Any, Any], env: dict[str, str]) -> bool:
        match node:
            case tree.Atom(name):
                return bool(world[name])
            case tree.Predicate(name, found):
                return bool(world[(name, *(env.get(e, e) for e in found))])
            case tree.Member(element, where):
                return self._in(env.get(element, element), where, world, env)
            case tree.Comparison(sign, left, right):
                values = [self._value(each, world, env) for each in (left, right)]
                return bool(SIGNS[sign](*values))
            case tree.Not(body):
                return not self.holds(body, world, env)
            case tree.Binary(sign, left, right):
                a, b = self.holds(left, world, env), self.holds(right, world, env)
                meaning = {"∧": a and b, "∨": a or b, "→": not a or b, "↔": a == b, "⊕": a != b}
                return meaning[sign]
            case tree.Quantified(quantifier, variable, domain, body):
                inside = []
                for element in dict.fromkeys(self._all(domain, env)):
                    if domain is None or self._in(element, domain, world, env):
                        inside.append(self.holds(body, world, {**env, variable: element}))
                return all(inside) if quantifier == "∀" else any(inside)
        raise AssertionError(node)

    def _all(self, domain: Any, env: dict[str, str]) -> list[str]:
        if isinstance(domain, tuple):
            return [env.get(each, each) for each in domain]
        return self.constants if domain not in self.sets else list(self.sets[domain])

    def _in(self, element: str, where: Any, world: dict[Any, Any], env: dict[str, str]) -> bool:
        if isinstance(where, tuple):
            return element in [env.get(each, each) for each in where]
        if where in self.sets:
            return element in self.sets[where]
        return bool(world[("∈", element, where)])

    def _value(self, operand: Any, world: dict[Any, Any], env: dict[str, str]) -> Any:
        match operand:
            case tree.Total(parts):
                return sum(parts)
            case tree.Glyph(symbol):
                return symbol
        element = env.get(operand.name, operand.name)
        return int(element) if element.isdecimal() else world["#" + element]

    def ranges(self, span: Sequence[int]) -> dict[Any, Any]:
        """Return the values of everything that any formula may mention."""
        names, text = dict.fromkeys(self.constants), repr(self.formulas)
        found: dict[Any, Any] = dict.fromkeys(_names("Atom", text), (False, True))
        for name in _names("Predicate", text):
            found |= {(name, each): (False, True) for each in names}
        for where in re.findall(r"(?:collection|domain)='(\w+)'", text):
            if where not in self.sets:
                found |= {("∈", each, where): (False, True) for each in names}
        for name in _names("Name", text):
            found |= {"#" + each: span for each in (name, *names)}
        return found

    def worlds(self, span: Sequence[int]) -> Iterator[dict[Any, Any]]:
        ranges = self.ranges(span)
        for values in itertools.product(*ranges.values()):
            yield dict(zip(ranges, values, strict=True))

    def true_premises(self, world: dict[Any, Any]) -> bool:
        for premise in self.puzzle.premises:
            match premise:
                case tree.Asserted(formula):
                    held = self.holds(formula, world, {})
                case tree.Chain(links):
                    truths = [self.holds(link, world, {}) for link in links]
                    held = all(not a or b for a, b in itertools.pairwise(truths))
                case tree.Marked(atom, mark) if mark != "◑":
                    held = self.holds(atom, world, {}) == (mark == "●")
                case _:
                    held = True
            if not held:
                return False
        return True

    def answer(self, span: Sequence[int]) -> str:
        models = [world for world in self.worlds(span) if self.true_premises(world)]
        query = self.puzzle.query
        if isinstance(query, tree.ValidSquare):
            square = len(query.square) == 2 and query.square[0] in "abcdefgh"
            truths = [square and query.square[1] in "12345678" for _ in models]
        elif isinstance(query, tree.Consistent):
            truths = [True for _ in models]
        else:
            truths = [self.holds(query, world, {}) for world in models]
        if not any(truths):
            return "⊥"
        return "●" if all(truths) else "◑"
