"""What was kept of a kernel's text when it was trained: a sum for each source, not the texts.

Enough to take a source out of a kernel of one basin.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from constellation.geometry.means import HellingerSum, fold_hellinger
from constellation.records import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class SummedTexts:
    """The sums of a kernel's text, source by source."""

    name: str
    """The kernel."""
    corpora: Mapping[str, HellingerSum]
    """Source -> its sum of square roots and count."""

    def basin(self) -> FloatArray:
        """Return the Hellinger mean of all its texts, shape (K,).

        Raises:
            InvalidBasin: There is no source.
        """
        return fold_hellinger(self.corpora.values()).mean()
