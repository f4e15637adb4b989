"""How accurate and how fast is the Fisher-Rao distance of `constellation.geometry`?

Accuracy is measured against the arccosine form at 50 digits (mpmath), of exactly the floats that
were given; time against the arccosine form written out in numpy, and against the categorical
Fisher-Rao distance of geomstats where that can be imported (its figures are null otherwise).

    python -m benchmarks.geometry_accuracy [--pairs 1500] [--json]
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import torch

from constellation.geometry import SiteIndex, distance

NUM_OUTCOMES = 64
SEPARATIONS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
BATCH = 4096
Pairs = tuple[np.ndarray, np.ndarray]


def exact_distance(p_K: np.ndarray, q_K: np.ndarray) -> mpmath.mpf:
    """Return the distance at 50 digits of two points, each divided by its exact sum."""
    p, q = ([mpmath.mpf(float(x)) for x in point] for point in (p_K, q_K))
    overlap = mpmath.fsum(mpmath.sqrt(a * b) for a, b in zip(p, q, strict=True) if a and b)
    cosine = overlap / mpmath.sqrt(mpmath.fsum(p) * mpmath.fsum(q))
    return 2 * mpmath.acos(min(cosine, mpmath.mpf(1)))


def generic(generator: np.random.Generator, count: int) -> Pairs:
    """Pairs from flat to spiky."""
    alphas = generator.choice([0.05, 0.3, 1.0, 5.0], size=(2, count, 1))
    raw = generator.gamma(alphas, size=(2, count, NUM_OUTCOMES)) + 1e-12
    p, q = raw / raw.sum(axis=-1, keepdims=True)
    return p, q


def separated(generator: np.random.Generator, count: int, radians: np.ndarray) -> Pairs:
    """Pairs about `radians` apart, along random great circles."""
    root = np.sqrt(generator.dirichlet(np.ones(NUM_OUTCOMES), size=count))
    tangent = generator.normal(size=root.shape) * root
    tangent -= root * np.sum(root * tangent, axis=1, keepdims=True)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    half = np.broadcast_to(radians, count)[:, None] / 2
    other = (np.cos(half) * root + np.sin(half) * tangent) ** 2
    return root**2, other / other.sum(axis=1, keepdims=True)


def near(generator: np.random.Generator, count: int) -> Pairs:
    return separated(generator, count, 10.0 ** generator.uniform(-15, -2, size=count))


def boundary(generator: np.random.Generator, count: int) -> Pairs:
    """Pairs with many entries that are 0 or tiny in one or both."""
    p, q = (_sparse(generator, points) for points in generic(generator, count))
    return p, q


def _sparse(generator: np.random.Generator, points: np.ndarray) -> np.ndarray:
    kept = np.where(generator.random(points.shape) < 0.5, points, 0)
    kept[generator.random(points.shape) < 0.1] = 1e-30
    kept[:, 0] += 1e-3
    return kept / kept.sum(axis=1, keepdims=True)


def orthogonal(generator: np.random.Generator, count: int) -> Pairs:
    """Pairs that share no outcome, which are pi apart."""
    p, q = generic(generator, count)
    mine = generator.random(p.shape) < 0.5
    mine[:, 0], mine[:, 1] = True, False
    p, q = np.where(mine, p, 0), np.where(mine, 0, q)
    return p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)


def float64_errors(count: int, seed: int) -> dict[str, float]:
    """Return the largest absolute error in radians of each kind of pair."""
    errors = {}
    for kind in (generic, near, boundary, orthogonal):
        p_NK, q_NK = kind(np.random.default_rng(seed), count)
        exact = [exact_distance(p, q) for p, q in zip(p_NK, q_NK, strict=True)]
        found = distance(p_NK, q_NK)
        pairs = zip(found, exact, strict=True)
        errors[kind.__name__] = float(max(abs(mpmath.mpf(float(a)) - b) for a, b in pairs))
    return errors


def float32_errors(count: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the largest relative error at each separation, of our form and of two naive ones."""
    table = {}
    for separation in SEPARATIONS:
        pairs = separated(np.random.default_rng(seed), count, np.array(separation))
        p_NK, q_NK = (side.astype(np.float32) for side in pairs)
        exact_N = np.array([float(exact_distance(*pair)) for pair in zip(p_NK, q_NK, strict=True)])
        direct_N = 4 * np.arcsin(np.linalg.norm(np.sqrt(p_NK) - np.sqrt(q_NK), axis=1) / 2)
        forms = {
            "quotient": distance(p_NK, q_NK),
            "roots": direct_N,
            "arccos": arccosine_form(p_NK, q_NK),
        }
        table[f"{separation:g}"] = {
            name: float(np.max(np.abs(found_N.astype(np.float64) / exact_N - 1)))
            for name, found_N in forms.items()
        }
    return table


def arccosine_form(p_NK: np.ndarray, q_NK: np.ndarray) -> np.ndarray:
    """The textbook formula, the baseline of accuracy and time."""
    return 2 * np.arccos(np.clip(np.sum(np.sqrt(p_NK * q_NK), axis=-1), -1, 1))


def gradients(seed: int) -> dict[str, Any]:
    """Return the distance and gradient at coincidence, and the largest one on the boundary."""
    report: dict[str, Any] = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        p_NK, q_NK = boundary(np.random.default_rng(seed), 500)
        p = torch.tensor(p_NK, dtype=dtype, requires_grad=True)
        same = distance(p, p.detach().clone())
        (same_grad,) = torch.autograd.grad(same.sum(), p)
        q = torch.tensor(q_NK, dtype=dtype, requires_grad=True)
        ours = torch.autograd.grad(distance(p, q).sum(), (p, q))
        report[name] = {
            "self_distance": float(same.detach().abs().max()),
            "self_gradient": float(same_grad.abs().max()),
            "boundary_finite": all(bool(torch.isfinite(grad).all()) for grad in ours),
            "boundary_largest": max(float(grad.abs().max()) for grad in ours),
        }
    return report


def seconds(call: Callable[[], object], repeats: int) -> list[float]:
    """Return the times of repeated calls after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def geomstats_distance() -> Callable[[np.ndarray, np.ndarray], Any] | None:
    """Return the peer's function, or None where geomstats is not installed."""
    try:
        from geomstats.information_geometry.categorical import CategoricalDistributions
    except ImportError:
        return None
    peer: Callable[[np.ndarray, np.ndarray], Any] = CategoricalDistributions(
        dim=NUM_OUTCOMES - 1
    ).metric.dist
    return peer


def geomstats_difference(count: int, seed: int) -> float | None:
    """Return the largest difference from the peer in radians; it uses the arccosine form."""
    peer = geomstats_distance()
    if peer is None:
        return None
    p_NK, q_NK = generic(np.random.default_rng(seed), count)
    return float(np.max(np.abs(peer(p_NK, q_NK) - distance(p_NK, q_NK))))


def timings(seed: int, repeats: int) -> dict[str, Any]:
    """Return milliseconds (median, quartiles) for one batch, and microseconds for one query."""
    p_NK, q_NK = generic(np.random.default_rng(seed), BATCH)
    p_torch, q_torch = torch.from_numpy(p_NK), torch.from_numpy(q_NK)
    site_MK = q_NK[:240]
    index = SiteIndex.of(site_MK)
    peer = geomstats_distance()
    calls: dict[str, Callable[[], object] | None] = {
        "ours_numpy": lambda: distance(p_NK, q_NK),
        "ours_torch": lambda: distance(p_torch, q_torch),
        "arccos_numpy": lambda: arccosine_form(p_NK, q_NK),
        "geomstats": None if peer is None else lambda: peer(p_NK, q_NK),
        "index_240_sites_one_query": lambda: index.distances(p_NK[0]),
        "arccos_240_sites_one_query": lambda: arccosine_form(p_NK[0], site_MK),
    }
    return {name: call and _summary(seconds(call, repeats)) for name, call in calls.items()}


def _summary(times: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median_ms": 1e3 * middle, "quartile_low_ms": 1e3 * low, "quartile_high_ms": 1e3 * high}


def ratio(times: dict[str, Any], name: str, to: str) -> float | None:
    """Return how many times longer `name` takes than `to`; None when either was not measured."""
    if times[name] is None or times[to] is None:
        return None
    return float(times[name]["median_ms"] / times[to]["median_ms"])


def measure(num_pairs: int, seed: int, repeats: int) -> dict[str, Any]:
    with mpmath.workdps(50):
        by_kind = float64_errors(num_pairs, seed)
        by_separation = float32_errors(max(1, num_pairs // 5), seed)
    slopes = gradients(seed)
    times = timings(seed, repeats)
    return {
        "pairs_per_kind": num_pairs,
        "float64_max_abs_error": max(by_kind.values()),
        "float64_max_abs_error_by_kind": by_kind,
        "float32_max_rel_error": max(row["quotient"] for row in by_separation.values()),
        "float32_max_rel_error_by_separation": by_separation,
        "self_distance": max(row["self_distance"] for row in slopes.values()),
        "self_gradient": max(row["self_gradient"] for row in slopes.values()),
        "boundary_gradients_finite": all(row["boundary_finite"] for row in slopes.values()),
        "gradients": slopes,
        "batch": BATCH,
        "times": times,
        "geomstats_importable": times["geomstats"] is not None,
        "geomstats_max_abs_difference": geomstats_difference(num_pairs, seed),
        "geomstats_time_ratio": ratio(times, "geomstats", "ours_numpy"),
        "arccos_time_ratio": ratio(times, "arccos_numpy", "ours_numpy"),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} torch threads",
        "seed": seed,
    }


def table(report: dict[str, Any]) -> str:
    """Return the report for reading."""
    lines = ["float64, largest absolute error in radians against 50 digits (bar 1e-12)"]
    errors = report["float64_max_abs_error_by_kind"]
    lines += [f"  {kind:<12}{error:.1e}" for kind, error in errors.items()]
    lines += ["float32, largest relative error by separation (bar 1e-5): ours, roots, arccos"]
    for separation, row in report["float32_max_rel_error_by_separation"].items():
        shown = "  ".join(f"{row[name]:.1e}" for name in ("quotient", "roots", "arccos"))
        lines.append(f"  {separation:<12}{shown}")
    lines.append(
        f"d(p, p) = {report['self_distance']:g} with gradient {report['self_gradient']:g}; "
        f"gradients on the boundary finite: {report['boundary_gradients_finite']}"
    )
    lines.append(f"time, median (batch of {BATCH} pairs, {NUM_OUTCOMES} outcomes)")
    for name, row in report["times"].items():
        shown = "not importable" if row is None else f"{row['median_ms']:.3f} ms"
        lines.append(f"  {name:<28}{shown}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy and speed of the Fisher-Rao distance.")
    parser.add_argument("--pairs", type=int, default=1500, help="pairs of each of four kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=50, help="timed calls of each function")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    options = parser.parse_args()
    report = measure(options.pairs, options.seed, options.repeats)
    if not options.json:
        print(table(report))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
