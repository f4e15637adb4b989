"""What a kernel's engine can do beside continuing a text, and which vocabulary it writes in.

The engine declares both, the registry carries them, and routers, the HTTP door and `status` read
them there: nobody asks an engine of which class it is.
"""

from dataclasses import dataclass
from typing import Final

COORDIZER_TOKENS: Final = "coordizer"
"""Name of the coordizer's vocabulary; a kernel with a vocabulary of its own names that one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """Which requests an engine answers; those that it does not answer are refused by a type."""

    continues_ids: bool = True
    """The engine reads and writes ids of the coordizer's tokens, so that another kernel can
    continue the text from its ids. Otherwise the other kernel continues from the text."""
    mixes: bool = True
    """The engine predicts token by token together with other kernels: mixture and posterior, and
    the nats of every token. Otherwise such requests end in `IncompatibleKernels`."""
    scores: bool = True
    """The engine measures how likely a text is."""
    looks_inside: bool = True
    """The engine's hidden states and couplings can be measured: kappa, Phi, beta, basins."""
    reads_roles: bool = False
    """The engine has a prompt format, in which the roles of a conversation leave their mark."""


EVERYTHING: Final = Capabilities()
"""Of one of our own kernels that writes in the coordizer's tokens, with plain prompts."""

OWN_VOCABULARY: Final = Capabilities(continues_ids=False, mixes=False)
"""Of one of our own networks that writes in a vocabulary of its own."""

FOREIGN_NETWORK: Final = Capabilities(continues_ids=False, mixes=False, looks_inside=False)
"""Of a network of another library, which writes in a vocabulary of its own."""
