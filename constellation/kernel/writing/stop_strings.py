"""End a reply before its first stop string, wherever token boundaries are.

Text that may be the beginning of a stop string waits until it is clear that it is not.
"""

from collections.abc import Sequence


class StopStrings:
    """Searches the text of one reply for stop strings while it is written.

    The first stop string to be complete counts; of those complete at the same character, the
    longest. The text is taken as it would be character by character, so that how it arrives makes
    no difference.

    Attributes:
        stopped: Whether a stop string was found; no further text is returned.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._stops = tuple(stops)
        self._waiting = ""

    def feed(self, text: str) -> str:
        """Process the next piece of text; return the text that may be sent, possibly empty."""
        if self.stopped or not self._stops:
            return "" if self.stopped else text
        text = self._waiting + text
        places = [(text.find(stop), len(stop)) for stop in self._stops]
        complete = [(start + length, start) for start, length in places if start >= 0]
        if complete:
            self.stopped = True
            self._waiting = ""
            return text[: min(complete)[1]]
        num_safe = len(text) - max(_num_waiting(text, stop) for stop in self._stops)
        self._waiting = text[num_safe:]
        return text[:num_safe]

    def flush(self) -> str:
        """End the text; return the withheld text, which can no longer begin a stop string."""
        waiting, self._waiting = self._waiting, ""
        return waiting


def _num_waiting(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` with which `stop` begins."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
