"""How fast is the binary form of HLX, and does any input make a decoder fail in an untyped way?

    python -m benchmarks.hlx_codec [--rounds 7] [--seed 0] [--fuzz N] [--forms lcb,lct]

Speed: megabytes of LC-B per second (high is good) of encoding and decoding one after the other, in
one process, on random nested values of about 1 MB together; median and range over the rounds.
Fuzzing: N inputs for each form. A quarter are random, the others are canonical texts of random
values with one to four changes. Each input must be refused with the typed error, or read as a value
whose canonical text reads as the same value; for LC-B the accepted bytes must be canonical
themselves. Any other exception ends the program with the input. The last line is a JSON object.
"""

import argparse
import json
import platform
import random
import sys
from collections import Counter
from statistics import median
from time import perf_counter, process_time
from typing import Any

from constellation.curricula.hlx import lc_binary
from constellation.curricula.hlx.text_forms import FORMS, decode_text, encode_text
from constellation.curricula.hlx.values import Handle
from constellation.errors import HlxError

WORDS = ("age", "name", "stage", "vertex", "search for documents", "output image", "é ü", "C")
KEYS = ("age", "name", "size", "stage_idx", "memory_scope", "C")
GLYPHS = "∅⊤⊥⊠⟁🜊🜂🜁🜃🜄◇◆🜇🐊"


def atom(chance: random.Random) -> Any:
    """Return a random value without parts."""
    kind = chance.randrange(8)
    if kind < 2:
        return chance.choice((None, True, False))
    if kind < 4:
        return chance.choice((chance.randrange(200), chance.randrange(-(2**63), 2**63)))
    if kind == 4:
        return chance.uniform(-1e3, 1e3)
    if kind == 5:
        return chance.randbytes(chance.randrange(12))
    return chance.choice((chance.choice(WORDS), Handle(f"&h_{chance.randrange(99)}")))


def nested(chance: random.Random, depth: int) -> Any:
    """Return a random value with at most `depth` levels of arrays and objects."""
    kind = chance.randrange(8) if depth else 0
    if kind < 3:
        return atom(chance)
    inner = [nested(chance, depth - 1) for _ in range(chance.randint(1, 4))]
    if kind < 5:
        return tuple(inner)
    if kind == 5:
        return dict(zip(sorted(chance.sample(KEYS, len(inner))), inner, strict=True))
    record = dict(enumerate(inner))
    return record if kind == 6 else {chance.choice((1, 14, 902, 1000)): record}


# --- speed --------------------------------------------------------------------------------------


def measure_speed(seed: int, rounds: int) -> dict[str, Any]:
    """Return megabytes per second of encoding, of decoding, and of both."""
    chance = random.Random(seed)
    values = [lc_binary.canonical(nested(chance, 6)) for _ in range(20_000)]
    values = values[: _enough(values)]
    if [lc_binary.decode(lc_binary.encode(value)) for value in values] != values:
        raise AssertionError("a value did not come back")
    times = [_one_round(values) for _ in range(rounds + 1)][1:]  # the first round warms up
    num_bytes = sum(len(lc_binary.encode(value)) for value in values)
    speeds = {
        "encode": [num_bytes / encode_s / 1e6 for encode_s, _ in times],
        "decode": [num_bytes / decode_s / 1e6 for _, decode_s in times],
        "both": [num_bytes / (encode_s + decode_s) / 1e6 for encode_s, decode_s in times],
    }
    return {
        "num_values": len(values),
        "num_bytes": num_bytes,
        "num_rounds": rounds,
        **{f"{name}_mb_per_s": round(median(each), 2) for name, each in speeds.items()},
        "both_mb_per_s_range": [round(min(speeds["both"]), 2), round(max(speeds["both"]), 2)],
    }


def _enough(values: list[Any]) -> int:
    """Return how many values have a megabyte together."""
    total = 0
    for place, value in enumerate(values):
        total += len(lc_binary.encode(value))
        if total >= 1_000_000:
            return place + 1
    return len(values)


def _one_round(values: list[Any]) -> tuple[float, float]:
    start = process_time()
    encoded = [lc_binary.encode(value) for value in values]
    middle = process_time()
    for data in encoded:
        lc_binary.decode(data)
    end = process_time()
    return middle - start, end - middle


# --- fuzzing ------------------------------------------------------------------------------------


def fuzz_binary(seed: int, count: int) -> dict[str, Any]:
    """Return how many byte strings were accepted and how many refused, by error code."""
    chance = random.Random(seed)
    originals = [lc_binary.encode(nested(chance, chance.randrange(5))) for _ in range(2_000)]
    found: Counter[str] = Counter()
    slowest_s = 0.0
    for _ in range(count):
        data = _changed_bytes(chance, originals)
        start = perf_counter()
        found[_binary_outcome(data)] += 1
        slowest_s = max(slowest_s, perf_counter() - start)
    return _counts(found, slowest_s)


def _changed_bytes(chance: random.Random, originals: list[bytes]) -> bytes:
    if chance.randrange(4) == 0:
        tags = bytes(chance.choices(range(12), k=chance.randrange(24)))
        return tags if chance.randrange(2) else chance.randbytes(chance.randrange(24))
    data = bytearray(chance.choice(originals))
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        new = bytes((chance.choice((chance.randrange(12), chance.randrange(256))),))
        data[place : place + chance.randrange(2)] = new * chance.randrange(2)
    return bytes(data)


def _binary_outcome(data: bytes) -> str:
    try:
        value = lc_binary.decode(data)
    except HlxError as error:
        return error.code
    except BaseException as error:
        error.add_note(f"input: {data.hex(' ')}")
        raise
    if lc_binary.encode(value) != data:
        raise AssertionError(f"accepted, but not canonical: {data.hex(' ')}")
    return "accepted"


def fuzz_text(form: str, seed: int, count: int) -> dict[str, Any]:
    """Return how many texts of a form were accepted and how many refused, by error code."""
    chance = random.Random(seed)
    values = [nested(chance, chance.randrange(4)) for _ in range(500)]
    originals = [encode_text(value, form) for value in values]
    alphabet = "".join(originals) + "\0\r\ud800é\u0301 \n\t" + GLYPHS
    found: Counter[str] = Counter()
    slowest_s = 0.0
    for _ in range(count):
        text = _changed_text(chance, originals, alphabet)
        start = perf_counter()
        found[_text_outcome(text, form)] += 1
        slowest_s = max(slowest_s, perf_counter() - start)
    return _counts(found, slowest_s)


def _changed_text(chance: random.Random, originals: list[str], alphabet: str) -> str:
    if chance.randrange(4) == 0:
        return "".join(chance.choices(alphabet, k=chance.randrange(24)))
    text = chance.choice(originals)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(text) + 1)
        new = chance.choice(("", chance.choice(alphabet), text[place : place + 8]))
        text = text[:place] + new + text[place + chance.randrange(2) :]
    return text


def _text_outcome(text: str, form: str) -> str:
    try:
        value = decode_text(text, form)
    except HlxError as error:
        return error.code
    except BaseException as error:
        error.add_note(f"form {form}, input: {text!r}")
        raise
    if not lc_binary.same_value(decode_text(encode_text(value, form), form), value):
        raise AssertionError(f"form {form}: the canonical text has another value: {text!r}")
    return "accepted"


def _counts(found: Counter[str], slowest_s: float) -> dict[str, Any]:
    return {
        "num_inputs": found.total(),
        "slowest_ms": round(slowest_s * 1e3, 3),
        "outcomes": dict(found.most_common()),
    }


def main() -> None:
    """Measure, fuzz if asked to, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fuzz", type=int, default=0, metavar="N", help="inputs for each form")
    parser.add_argument("--forms", default=",".join(FORMS), help="forms to fuzz")
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "benchmark": "hlx_codec",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "speed": measure_speed(arguments.seed, arguments.rounds),
    }
    print(f"LC-B: {report['speed']['both_mb_per_s']} MB/s, encode and decode (high is good)")
    if arguments.fuzz:
        report["fuzz"] = {}
    for form in arguments.forms.split(",") if arguments.fuzz else ():
        fuzzed = (
            fuzz_binary(arguments.seed, arguments.fuzz)
            if form == "lcb"
            else fuzz_text(form, arguments.seed, arguments.fuzz)
        )
        report["fuzz"][form] = fuzzed
        print(f"{form}: {fuzzed['num_inputs']} inputs, none failed in an untyped way")
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
