"""Two small domains, and text that is awkward to encode."""

from hypothesis import strategies as st

from constellation.coordizer.bytelevel import END_TEXT

POEM = (
    "The river carries leaves and rain; the river never reads the names of stones. "
    "Été, naïve, façade, Straße, Ελλάδα, 日本語のテキスト, привет мир. "
)
CODE = (
    "def fold(rows, start=0):\n    total = start\n    for row in rows:\n        total += row\n"
    "    return total\n\n\nclass Row(list):\n    def head(self):\n        return self[0]\n"
)
DOCUMENTS = [text * copies for copies in (3, 4, 5) for text in (POEM, CODE)]
LABELS = ["poem", "code"] * 3

ASCII_FRAGMENTS = ["def ", "the", "\n    ", END_TEXT, "<|", "self.x", "\r\n", "\0", "2048", ")\n\n"]
OTHER_FRAGMENTS = ["é", "\U0001f600", "e\u0301", "日本", "Ġ", "\u00a0", "½", "\u2028"]

ascii_text = st.lists(
    st.sampled_from(ASCII_FRAGMENTS) | st.text(st.characters(max_codepoint=127), max_size=6),
    max_size=30,
).map("".join)
mixed_text = st.lists(
    st.sampled_from(ASCII_FRAGMENTS + OTHER_FRAGMENTS) | st.text(max_size=5), max_size=20
).map("".join)
broken_bytes = st.lists(st.binary(max_size=4) | mixed_text.map(str.encode), max_size=12).map(
    b"".join
)
