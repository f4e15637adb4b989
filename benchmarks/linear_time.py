"""How the time for text grows with its length, on the lines that are hardest for each stage.

Usage: python -m benchmarks.linear_time [--megabytes 5] [--documents 10000] [--repeats 3]
[--stage encode]

One line each of blanks, one letter, random letters, Chinese and emoji goes through cleaning,
de-duplication, the training of a coordizer and its encoding, once at the given size and once at
twice the size; then documents with a common opening go through the search for near copies. A
ratio of 2 is linear. Prints a line per ratio, and one JSON object as the last line: the ratios, the
largest of them, and the processor seconds behind them (medians).
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.deduplication import deduplicate
from constellation.curricula.documents import Document
from constellation.curricula.text_cleaning import clean

VOCAB_SIZE = 4096
"""Most tokens of the coordizers, as in the starter recipe."""

STAGES = ("clean", "de-duplicate", "train a coordizer", "encode")
"""What a line goes through."""

ALPHABETS = {
    "blanks": " ",
    "one letter": "a",
    "random letters": "abcdefghijklmnopqrstuvwxyz",
    "Chinese": "".join(map(chr, range(0x4E00, 0x5A00))),
    "emoji": "".join(map(chr, range(0x1F300, 0x1F600))),
}
"""Kind of line -> characters that it is drawn from."""


def line(kind: str, num_bytes: int) -> str:
    """Return one line of about `num_bytes` in UTF-8."""
    alphabet = ALPHABETS[kind]
    width = len(alphabet[0].encode())
    return "".join(random.Random(kind).choices(alphabet, k=num_bytes // width))


def with_common_opening(num_documents: int) -> list[Document]:
    """Return documents of 35 words, the first 13 of which are the same."""
    source = random.Random(0)
    opening = " ".join(f"notice{word}" for word in range(13))
    texts = (
        f"{opening} " + " ".join(f"w{source.randrange(10**6)}" for _ in range(22))
        for _ in range(num_documents)
    )
    return [Document(text=text, domain="d", source=str(n)) for n, text in enumerate(texts)]


def stages(
    kind: str, num_bytes: int, coordizer: Coordizer
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is measured on one line."""
    text = line(kind, num_bytes)
    # A letter after a run of blanks is what made cleaning slow; two documents can be copies.
    documents = [Document(text=text + end, domain="d", source=end) for end in "ab"]
    yield "clean", lambda: clean(f"a{text}b")
    yield "de-duplicate", lambda: deduplicate(documents)
    yield "train a coordizer", lambda: train_coordizer([text + "ab"], vocab_size=VOCAB_SIZE)
    yield "encode", lambda: coordizer.encode(text)


def processor_seconds(work: Callable[[], object]) -> float:
    """Return what one call takes, of all threads together."""
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


def measure(
    num_bytes: int, num_documents: int, repeats: int, wanted: Sequence[str] = STAGES
) -> dict[str, tuple[float, float]]:
    """Return name -> median processor seconds at the size and at twice the size."""
    coordizer = train_coordizer(
        [line(kind, 100_000) for kind in ALPHABETS], vocab_size=VOCAB_SIZE, anchored=False
    )
    found: dict[str, tuple[float, float]] = {}
    for kind in ALPHABETS:
        once, twice = (dict(stages(kind, n, coordizer)) for n in (num_bytes, 2 * num_bytes))
        for stage in wanted:
            found[f"{stage}, {kind}"] = medians(once[stage], twice[stage], repeats)
            report(f"{stage}, {kind}", *found[f"{stage}, {kind}"])
    if "de-duplicate" not in wanted:
        return found
    few, many = with_common_opening(num_documents), with_common_opening(2 * num_documents)
    name = f"de-duplicate, {num_documents:,} documents with a common opening"
    found[name] = medians(lambda: deduplicate(few), lambda: deduplicate(many), repeats)
    report(name, *found[name])
    return found


def medians(
    once: Callable[[], object], twice: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Return the medians of both, measured in turn."""
    pairs = [(processor_seconds(once), processor_seconds(twice)) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def report(name: str, once_s: float, twice_s: float) -> None:
    """Print one line."""
    print(f"{name}: {once_s:.3f} s -> {twice_s:.3f} s, ratio {twice_s / once_s:.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=5, help="Of a line; twice that as well.")
    parser.add_argument("--documents", type=int, default=10_000, help="With a common opening.")
    parser.add_argument("--repeats", type=int, default=3, help="Medians are of so many runs.")
    parser.add_argument(
        "--stage", action="append", choices=STAGES, help="Only this one; may be repeated."
    )
    given = parser.parse_args()
    size = int(given.megabytes * 10**6)
    found = measure(size, given.documents, given.repeats, given.stage or STAGES)
    ratios = {name: round(twice_s / once_s, 3) for name, (once_s, twice_s) in found.items()}
    seconds = {name: [round(each, 3) for each in pair] for name, pair in found.items()}
    print(json.dumps({"ratio_max": max(ratios.values()), "ratios": ratios, "seconds": seconds}))


if __name__ == "__main__":
    main()
