"""Does a constellation beat a dense model of equal active size at equal training cost?

    python -m benchmarks.matched_compute --corpus DIR [--seeds 3] [--minutes 20] [--json]

DIR has one sub-folder or file per domain. For each seed the project's own trainer makes a dense
model; a seed and one expert per domain from it, with as many training tokens in all; and experts
of a random split. Every rule routes a held-out document from its first 32 tokens and is scored on
the rest, in bits per byte, the domains weighing alike. Intervals are paired bootstraps over test
sources and seeds.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.claim.experiment import Workshop, run
from benchmarks.claim.full import full
from benchmarks.claim.material import read_corpus
from benchmarks.claim.plan import make_plan
from benchmarks.claim.tables import print_plan, print_report, summarise
from benchmarks.claim.train import workers


def main() -> None:
    args = _arguments()
    corpus = read_corpus(args.corpus)
    plan = make_plan(args.minutes, num_domains=len(corpus.domains), num_seeds=args.seeds)
    print_plan(plan, say)
    with tempfile.TemporaryDirectory() as temporary, workers() as pool:
        shop = Workshop(args.work or Path(temporary), pool, say)
        outcome = run(corpus, plan, shop)
        report = summarise(outcome)
        if args.full:
            report |= full(outcome, corpus, shop)
    if not args.json:
        print_report(report, print)
    print(json.dumps(report))


def say(line: str) -> None:
    """Tell how far the work is, beside the result."""
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="a folder of domains")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of everything")
    parser.add_argument(
        "--minutes", type=float, default=20, help="of two cores for the first table"
    )
    parser.add_argument(
        "--work", type=Path, help="keep streams and kernels here; what is finished is not redone"
    )
    parser.add_argument(
        "--full", action="store_true", help="the slower tables too: several times the minutes"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    args = parser.parse_args()
    if args.seeds < 1 or args.minutes <= 0:
        parser.error("--seeds must be at least 1 and --minutes above 0")
    return args


if __name__ == "__main__":
    main()
