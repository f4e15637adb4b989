"""Check, before the first training step, that there is enough text, and not too many domains.

Calibration needs a held-out text in every domain, however short, and without one there is no
routing table. Figures need documents of 64 tokens; a domain without such a document is left out of
them.
"""

from collections.abc import Sequence

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.prepare import PreparedCorpus
from constellation.domains.membership import KERNELS_MAX
from constellation.errors import ConfigError, CorpusError
from training.evaluation.held_out_figures import TOKENS_LEAST


def check_calibration_text(corpus: PreparedCorpus, coordizer: Coordizer) -> None:
    """Raise when a domain has too little held-out text to calibrate radii and temperatures.

    Raises:
        CorpusError: A domain has no held-out document with a token; names all such domains.
    """
    longest = _longest(corpus.dev, corpus.domains, coordizer, enough=1)
    empty = [name for name, length in longest.items() if length == 0]
    if empty:
        raise CorpusError(
            "held-out text",
            f"there is none to calibrate on in: {', '.join(empty)}; add texts, or give the "
            "domain's text to another domain",
        )


def unscored_domains(
    corpus: PreparedCorpus, coordizer: Coordizer, *, context: int
) -> dict[str, int]:
    """Return the domains that held-out figures leave out, with the tokens of their longest text.

    No more text is encoded than shows that a domain is not left out.

    Args:
        corpus: Whose test documents are scored.
        coordizer: Counts tokens.
        context: Tokens that the kernels read at once; longer documents are cut to it.
    """
    longest = _longest(corpus.test, corpus.domains, coordizer, enough=TOKENS_LEAST)
    return {name: n for name, n in longest.items() if min(n, context) < TOKENS_LEAST}


def check_num_domains(num_domains: int) -> None:
    """Raise for more domains than a routing table has seats for kernels.

    Raises:
        ConfigError: There are too many; the error names the number, the limit and the ways out.
    """
    if num_domains > KERNELS_MAX:
        raise ConfigError(
            f"the text has {num_domains} domains, each of which gets a kernel, and a table holds "
            f"{KERNELS_MAX}; merge domains by corpus.merge, or group the text into fewer by "
            "corpus.discover_domains"
        )


def in_words(unscored: dict[str, int], *, context: int) -> str:
    """Return one sentence on the domains without held-out figures."""
    if context < TOKENS_LEAST:
        return (
            f"no held-out figures: they need {TOKENS_LEAST} tokens of a document and the kernels "
            f"read {context}; training continues without them"
        )
    shown = ", ".join(f"{name} (longest: {tokens})" for name, tokens in unscored.items())
    return (
        f"no held-out figures of: {shown}; they need a held-out document of {TOKENS_LEAST} tokens, "
        "and training continues without them"
    )


def _longest(
    documents: Sequence[Document], domains: Sequence[str], coordizer: Coordizer, *, enough: int
) -> dict[str, int]:
    """Return domain -> tokens of its longest document; 0 for a domain without one.

    A domain with a document of `enough` tokens is not looked at further.
    """
    longest = dict.fromkeys(domains, 0)
    for document in documents:
        known = longest.get(document.domain, 0)
        if known < enough:
            num_tokens = len(coordizer.encode(document.text))
            longest[document.domain] = max(known, num_tokens)
    return longest
