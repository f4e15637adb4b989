"""The catalog of all rule families, by name."""

from typing import Final

from constellation.curricula.logic import element_families as elements
from constellation.curricula.logic import proposition_families as propositions
from constellation.curricula.logic.formula_tree import FALSE, TRUE
from constellation.curricula.logic.puzzle_draft import Drawing, Family

LONGER_CHAINS: Final = "longer_chains"
"""Split of the puzzles with chains that are longer than any learned."""
NEW_CONNECTIVE: Final = "new_connective"
"""Split of the puzzles with a connective that no learned puzzle has."""

_DECIDED = (TRUE, FALSE)
_OF_THREE_ANSWERS: dict[str, Drawing] = {
    "modus_ponens": propositions.modus_ponens,
    "modus_tollens": propositions.modus_tollens,
    "chain": propositions.chain,
    "conjunction_introduction": propositions.conjunction_introduction,
    "conjunction_elimination": propositions.conjunction_elimination,
    "disjunction": propositions.disjunction,
    "negation": propositions.negation,
    "biconditional": propositions.biconditional,
    "exists_finite": elements.exists_finite,
    "forall_finite": elements.forall_finite,
    "universal_instantiation": elements.universal_instantiation,
    "set_membership": elements.set_membership,
    "order_chain": elements.order_chain,
}

FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        *(Family(name=name, draw=draw) for name, draw in _OF_THREE_ANSWERS.items()),
        Family(name="integer_comparison", draw=elements.integer_comparison, answers=_DECIDED),
        Family(
            name="consistency",
            draw=propositions.consistency,
            answers=_DECIDED,
            asks_consistency=True,
        ),
        Family(name="symbol_identity", enumerate=elements.identities, answers=_DECIDED),
        Family(name="chess_square", enumerate=elements.squares, answers=_DECIDED),
        Family(
            name="longer_chain",
            draw=propositions.longer_chain,
            split=LONGER_CHAINS,
            num_distractors_max=2,
        ),
        Family(name="exclusive_or", draw=propositions.exclusive_or, split=NEW_CONNECTIVE),
    )
}
"""Name -> family, the trained families first."""
