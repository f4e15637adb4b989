"""Record the routes and texts of a running constellation, or compare them with a recording.

    python -m benchmarks.same_answers record FILE --endpoint HOST:PORT --queries FILE.jsonl
    python -m benchmarks.same_answers compare FILE --endpoint HOST:PORT

For a change of the code that must not change any answer: record with the code of before, change the
code, serve the same artifacts, compare. The recording holds the queries (held-out documents from a
file of JSON lines with a key "text", cut to lengths of 8 to 2,000 characters), 200 routes (both
rules, distances as hexadecimal floats) and 60 greedy and 60 seeded texts (a third of each in each
of the modes nearest, mixture and posterior). `compare` asks everything again and names every
difference; the last line is one JSON object with the keys `routes_differ` and `texts_differ`, of
which 0 is good. Exit code 1 when anything differs.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from constellation.client import Client
from constellation.records import Mode, Route, Rule

NUM_ROUTES = 200
NUM_TEXTS = 60
"""Greedy texts, and as many seeded ones."""
TOKENS_MAX = 48
PROMPT_CHARACTERS_MAX = 200
"""Of a query that is to be continued: the context of a small kernel is short."""
LENGTHS = (8, 20, 60, 200, 700, 2_000)
SEED = 20_261_130


def draw_queries(file: Path) -> list[str]:
    """Return the beginnings of held-out documents, of lengths that alternate."""
    lines = file.read_text(encoding="utf-8").splitlines()
    texts = [text for line in lines if (text := str(json.loads(line)["text"])).strip()]
    rng = random.Random(SEED)
    count = NUM_ROUTES + 2 * NUM_TEXTS
    drawn = [texts[rng.randrange(len(texts))] for _ in range(count)]
    return [text[: LENGTHS[place % len(LENGTHS)]] for place, text in enumerate(drawn)]


def routes(client: Client, queries: list[str]) -> Iterator[dict[str, Any]]:
    """Ask for the route of each of the first queries; the rules alternate."""
    for place, text in enumerate(queries[:NUM_ROUTES]):
        rule = (Rule.BEARING, Rule.GEODESIC)[place % 2]
        yield _route_facts(client.route(text, rule=rule, explain=place % 5 == 0))


def _route_facts(route: Route) -> dict[str, Any]:
    return {
        "kernel": route.kernel,
        "out_of_domain": route.out_of_domain,
        "choices": [
            [each.kernel, float(each.distance).hex(), float(each.weight).hex()]
            for each in route.choices
        ],
        "influences": [repr(each) for each in route.influences],
    }


def texts(client: Client, queries: list[str]) -> Iterator[dict[str, Any]]:
    """Ask for the greedy texts, then for the seeded ones; the modes alternate."""
    modes = list(Mode)
    for place, text in enumerate(queries[NUM_ROUTES:]):
        options: dict[str, Any] = {"mode": modes[place % len(modes)], "tokens_max": TOKENS_MAX}
        if options["mode"] is not Mode.NEAREST:
            options["top_k"] = 2
        if place < NUM_TEXTS:
            options["temperature"] = 0.0
        else:
            options |= {"temperature": 0.9, "seed": place}
        reply = client.ask(text[:PROMPT_CHARACTERS_MAX], **options)
        yield {"kernel": reply.route.kernel, "text": reply.text, "reason": str(reply.finish.reason)}


def ask_all(client: Client, queries: list[str]) -> dict[str, Any]:
    """Return a recording."""
    found = {"queries": queries, "routes": list(routes(client, queries))}
    return found | {"texts": list(texts(client, queries))}


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], part: str
) -> list[tuple[int, Any, Any]]:
    """Return the place and both values of everything that differs in a part of a recording."""
    pairs = zip(before[part], after[part], strict=True)
    return [(place, one, two) for place, (one, two) in enumerate(pairs) if one != two]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("file", type=Path, help="the recording")
    parser.add_argument("--endpoint", required=True, help="host:port of the router")
    parser.add_argument("--queries", type=Path, help="held-out documents as JSON lines, to record")
    args = parser.parse_args()
    with Client(args.endpoint) as client:
        if args.action == "record":
            if args.queries is None:
                parser.error("record needs --queries")
            found = ask_all(client, draw_queries(args.queries))
            args.file.write_text(json.dumps(found), encoding="utf-8")
            print(json.dumps({"routes": len(found["routes"]), "texts": len(found["texts"])}))
            return
        before = json.loads(args.file.read_text(encoding="utf-8"))
        after = json.loads(json.dumps(ask_all(client, before["queries"])))
    counts = {}
    for part in ("routes", "texts"):
        found = differences(before, after, part)
        counts[f"{part}_differ"] = len(found)
        for place, one, two in found:
            print(f"{part} {place}: {one} became {two}")
    print(json.dumps(counts | {"routes": len(after["routes"]), "texts": len(after["texts"])}))
    sys.exit(1 if any(counts.values()) else 0)


if __name__ == "__main__":
    main()
