"""The text forms keep the limits on depth, size and memory, whatever the text."""

import subprocess
import sys
from typing import Any

import pytest

from constellation.curricula.hlx.lc_binary import encode
from constellation.curricula.hlx.text_forms import FORMS, decode_text, encode_text
from constellation.curricula.hlx.values import DEPTH_MAX, SIZE_MAX, TEXT_MAX
from constellation.errors import HlxError

CONTAINERS = [
    lambda inner: (inner,),
    lambda inner: {0: inner},
    lambda inner: {"a": inner},
    lambda inner: {14: {0: inner}},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("container", "levels"), list(zip(CONTAINERS, (1, 1, 5, 2), strict=True)))
def test_depth_is_limited_alike_in_all_forms(form: str, container: Any, levels: int) -> None:
    deepest: Any = ()
    for _ in range((DEPTH_MAX - 1) // levels):
        deepest = container(deepest)
    text = encode_text(deepest, form)
    assert encode(decode_text(text, form)) == encode(deepest)
    atom = encode_text((), form)
    once = encode_text(container(()), form)
    if form in ("lct", "lcr", "hlxl", "hlx"):
        before, _, after = once.partition(atom)
        for depth in (DEPTH_MAX, 10_000):
            with pytest.raises(HlxError, match="E_DEPTH_EXCEEDED"):
                decode_text(before * depth + atom + after * depth, form)


@pytest.mark.parametrize(
    ("form", "before"),
    [
        ("lct", "["),
        ("lct", "{a:"),
        ("lct", "{C:14,0="),
        ("lct-stream", "ARR_START, "),
        ("bracket-hex", "["),
        ("bracket-hex", "[14|0:"),
        ("lcr", "🜃"),
        ("lcr", "🜊14🜁0 "),
        ("hlxl", "[ "),
        ("hlx", "{14: {"),
        ("english", "Represent the list ("),
        ("hlxl", " "),
        ("lct", "9"),
        ("lct", "1."),
        ("lct", '"'),
        ("lct", '"\\'),
        ("english", "Represent the integer one "),
        ("english", "List of 1, "),
    ],
)
def test_long_texts_end_soon_with_a_typed_error(form: str, before: str) -> None:
    with pytest.raises(HlxError):
        decode_text(before * (100_000 // len(before)), form)


def test_texts_beyond_the_size_limits_are_refused() -> None:
    with pytest.raises(HlxError, match="E_SIZE_EXCEEDED"):
        decode_text("x" * (TEXT_MAX + 1), "lct")
    with pytest.raises(HlxError, match="E_SIZE_EXCEEDED"):
        decode_text("[" + f'"{"x" * 1_000}",' * (SIZE_MAX // 1_000), "lct")
    with pytest.raises(HlxError, match="E_SIZE_EXCEEDED"):
        decode_text("00" * (2 * SIZE_MAX), "lcb")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("lct", '"' + r"\n" * 2_000_000 + '"'),
        ("lct", "#" + "00" * 2_000_000),
        ("hlxl", " " * 4_000_000),
        ("lcb", "00" * 1_500_000),
        ("english", "List of 1" + ", 1" * 1_500_000),
        ("english", "Represent the integer " + "one " * 1_000_000),
    ],
)
def test_reading_needs_no_memory_per_character(form: str, text: str) -> None:
    """Greedy groups of a regular expression would take 60 bytes for each character."""
    script = (
        "import resource, sys\n"
        "from constellation.curricula.hlx.text_forms import decode_text\n"
        "from constellation.errors import HlxError\n"
        "text = sys.stdin.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try:\n    decode_text(text, {form!r})\nexcept HlxError:\n    pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) < 20 * len(text) / 1024
