"""How long does a routing decision take?

    python -m benchmarks.decision [--kernels 240] [--basins 8] [--rule bearing] [--json]

Times the whole of `RoutingPolicy.decide`, thresholds of refusal included, for random kernels of 64
outcomes and random queries, without folding a text. Keys: `microseconds` (the fastest of many short
series: what the decision itself takes) and `median` (with what else the machine does). Lower is
better. The last line is one JSON object.
"""

import argparse
import json
import platform
import timeit
from statistics import median

import numpy as np

from constellation.geometry.bearings import bearing
from constellation.records import KernelSite, Refusal, Rule, Table, Thresholds
from constellation.routing.policy import RoutingPolicy
from constellation.routing.refusal_rule import LENGTHS, SHARES

OUTCOMES = 64
NUM_QUERIES = 20
SERIES = 1_000


def random_table(rng: np.random.Generator, num_kernels: int, num_basins: int) -> Table:
    """Return kernels whose basins lie about a centre of their own, and thresholds."""
    background_K = rng.dirichlet(np.full(OUTCOMES, 50.0))
    sites = []
    for number in range(num_kernels):
        centre_K = rng.dirichlet(np.full(OUTCOMES, 2.0))
        basins_BK = rng.dirichlet(np.maximum(128 * centre_K, 0.1), num_basins)
        bearings_BK = bearing(basins_BK, background_K)
        sites.append(
            KernelSite(
                name=f"k{number}",
                basin_K=basins_BK[0],
                bearing_K=bearings_BK[0],
                radii=dict.fromkeys(Rule, 1.0),
                basins_BK=basins_BK,
                bearings_BK=bearings_BK,
            )
        )
    return Table(
        version=1,
        coordizer_hash="",
        background_K=background_K,
        temperatures=dict.fromkeys(Rule, 0.3),
        sites=tuple(sites),
        refusal=_refusal(),
    )


def _refusal() -> Refusal:
    grid = np.tile(np.linspace(0.9, 0.1, len(SHARES)), (len(LENGTHS), 1))
    grids = dict.fromkeys(Rule, grid)
    return Refusal(
        thresholds=Thresholds(lengths=LENGTHS, shares=SHARES, excess=grids),
        refused=grids,
        caught=grids,
        num_texts=(1,) * len(LENGTHS),
        num_documents=(1,) * len(LENGTHS),
    )


def measure(num_kernels: int, num_basins: int, rule: Rule, series: int = SERIES) -> dict:
    """Return the microseconds of one decision."""
    rng = np.random.default_rng(0)
    policy = RoutingPolicy(random_table(rng, num_kernels, num_basins), rule=rule)
    queries = list(rng.dirichlet(np.full(OUTCOMES, 2.0), NUM_QUERIES))

    def decide() -> None:
        for query_K in queries:
            policy.decide(query_K, num_tokens=20)

    seconds = timeit.repeat(decide, number=1, repeat=series)
    return {
        "kernels": num_kernels,
        "basins": num_basins,
        "rule": str(rule),
        "microseconds": round(1e6 * min(seconds) / NUM_QUERIES, 1),
        "median": round(1e6 * median(seconds) / NUM_QUERIES, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=int, default=240)
    parser.add_argument("--basins", type=int, default=8, help="of every kernel")
    parser.add_argument("--rule", choices=list(Rule), default=Rule.BEARING, type=Rule)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    args = parser.parse_args()
    if args.kernels < 1 or args.basins < 1:
        parser.error("--kernels and --basins must be at least 1")
    found = measure(args.kernels, args.basins, args.rule)
    if not args.json:
        print(
            f"{found['kernels']} kernels, {found['basins']} basins each, by {found['rule']}: "
            f"{found['microseconds']} us, median {found['median']} us"
        )
    print(json.dumps({**found, "machine": f"{platform.machine()} {platform.python_version()}"}))


if __name__ == "__main__":
    main()
