"""Cut a long text into pieces of a few kilobytes at blank lines, without losing a character."""

import re

# Blank lines end a block and stay with it.
_GAP = re.compile(r"(\n(?:[ \t]*\n)+)")


def chunk(text: str, *, chars_min: int = 2000, chars_max: int = 4000) -> list[str]:
    """Cut `text` into pieces whose concatenation is the text.

    A piece ends at a blank line when the piece has `chars_min` characters and the next block starts
    in the first column (a top-level definition in source, a paragraph in prose), or earlier when
    the next block would not fit into `chars_max`. A block over `chars_max` is cut at line ends.

    Args:
        text: Any text.
        chars_min: Characters a piece should have before it may end, at least 1.
        chars_max: Most characters of a piece, at least `chars_min`.

    Returns:
        Pieces of 1 to `chars_max` characters; none for an empty text.
    """
    pieces: list[str] = []
    current = ""
    for block in _blocks(text, chars_max):
        full = len(current) + len(block) > chars_max
        natural = len(current) >= chars_min and not block[:1].isspace()
        if current and (full or natural):
            pieces.append(current)
            current = ""
        current += block
    return [*pieces, current] if current else pieces


def _blocks(text: str, chars_max: int) -> list[str]:
    """Return the blocks between blank lines; blocks over `chars_max` are cut at line ends."""
    blocks: list[str] = []
    pieces = _GAP.split(text)
    for body, gap in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        block = body + gap
        if len(block) <= chars_max:
            blocks.append(block)
            continue
        for line in block.splitlines(keepends=True):
            blocks += [line[i : i + chars_max] for i in range(0, len(line), chars_max)]
    return [block for block in blocks if block]
