"""A run's facts, invented: eight documents or more everywhere, and every optional part."""

import copy
from pathlib import Path
from typing import Any

from tests.training.events import progress
from training.progress.events import BudgetWarning, Event, GuardChanged, PhaseChanged
from training.report.facts import RunFacts
from training.report.history import fold

KERNELS = ("sea", "sky")


def measurement(value: float | None, low: float, high: float, null: float) -> dict[str, Any]:
    return {"value": value, "method": "m", "n": 8, "null": null, "interval": [low, high]}


def _domain(name: str, gain: list[float] | None) -> dict[str, Any]:
    return {
        "num_documents": 10,
        "bits_per_byte": {
            "constellation": 1.5,
            "oracle_label": 1.45,
            "seed": 1.75,
            "unigram": 3.25,
        },
        "seed_minus_own_ci95": gain,
        "routing_accuracy": 0.9,
        "routed_to": {name: 9, "sea" if name == "sky" else "sky": 1},
    }


def _side(before: float, after: float, gain: list[float] | None) -> dict[str, Any]:
    return {"num_documents": 10, "before": before, "after": after, "gain_ci95": gain}


REPORT: dict[str, Any] = {
    "recipe": {"name": "invented", "seed": 3, "budget": {"tokens": 1000, "cost": None}},
    "kernels": {name: {"steps": 10, "num_parameters": 1234} for name in KERNELS},
    "seed": {"steps": 20, "num_parameters": 1234},
    "held_out": {
        "prefix_tokens": 32,
        "num_documents": 20,
        "num_bytes": 20_000,
        "bits_per_byte": {
            "constellation": 1.5,
            "oracle_label": 1.45,
            "seed": 1.75,
            "unigram": 3.25,
        },
        "seed_minus_constellation_ci95": [0.125, 0.375],
        "unigram_minus_seed_ci95": [1.25, 1.75],
        "constellation_minus_oracle_ci95": [-0.0125, 0.0875],
        "routing_accuracy": 0.9,
        "domains": {"sea": _domain("sea", [0.2, 0.4]), "sky": _domain("sky", [-0.1, 0.3])},
    },
    "across": {
        "prefix_tokens": 32,
        "num_documents": {"sea": 4, "sky": 4},
        "bits_per_byte": {
            "sea": {"sea": 1.25, "sky": 2.5},
            "sky": {"sea": 2.25, "sky": 1.125},
            "seed": {"sea": 1.5, "sky": 1.75},
        },
        "kernels": {
            "sea": {"own": _side(1.5, 1.25, None), "other": _side(1.75, 2.5, [-0.9, -0.6])},
            "sky": {"own": _side(1.75, 1.125, None), "other": _side(1.5, 2.25, [-0.8, 0.1])},
        },
    },
    "table": {
        "observables": {
            "kernels": {
                name: {
                    "phi": measurement(0.5 + gauge / 10, 0.4, 0.7, 0.0625),
                    "phi_gauge": gauge,
                    "kappa_learned": measurement(9.25, 9.1, 9.4, 10.0),
                    "kappa_measured": measurement(1.125, 1.0, 1.25, 1.1),
                }
                for name, gauge in (("sea", 0.8), ("sky", 0.9))
            },
            "seed": {"phi": measurement(0.55, 0.5, 0.6, 0.0625), "reference": None},
        }
    },
    "corpus": {
        "splits": {
            "train": {
                "sha256": "ab" * 32,
                "num_documents": 30,
                "num_bytes": 3000,
                "domains": {"sea": {"num_bytes": 1000}, "sky": {"num_bytes": 2000}},
            }
        }
    },
    "seconds": {"corpus": 1.5, "kernels": 20.25},
    "machine": {"torch": "2.9.1"},
}

BETA: dict[str, Any] = {
    "context_lengths": [64, 128, 256],
    "trained_context": 128,
    "extrapolated": [False, False, True],
    "kappa_measured": [1.0, 1.25, 1.5],
    "kappa_ci95": [[0.9, 1.1], [1.15, 1.35], [1.4, 1.6]],
    "kappa_shuffled": [0.9, 0.95, 1.0],
    "beta_fit": {"value": 0.3125, "ci95": [0.25, 0.375]},
    "kappa_0": {"value": 1.25},
    "raw_slope": {"value": 0.36},
    "reference_length": 128,
    "expected": 0.44,
    "conclusion": "inconclusive",
    "conclusion_words": "beta is +0.312 (+0.250 to +0.375, 95 %).",
    "n": 12,
}

SAMPLES: dict[str, Any] = {
    "settings": {
        "prompt_tokens": 24,
        "written_tokens": 48,
        "temperature": 0.7,
        "top_p": 0.95,
    },
    "samples": [
        {
            "kernel": name,
            "domain": name,
            "source": f"{name}/1.txt",
            "seed": 0,
            "prompt": "once",
            "document": " upon a time",
            "written": {"kernel": " ```\nmore", "seed": " some", "untrained": "\x00|#"},
            "routed_to": {"kernel": name, "seed": "sea", "untrained": "sea"},
        }
        for name in KERNELS
    ],
}

_PHASES = ("FOAM", "FOAM", "TACKING", "CRYSTAL")

EVENTS: list[Event] = [
    *(
        progress(
            kernel=kernel,
            stage="seed" if kernel == "seed" else "branch",
            step=5 * (index + 1),
            num_steps=20,
            bits_per_byte=2.5 - index / 4,
            dev_bits_per_byte=2.625 - index / 4,
            basin_distance=0.75 - index / 8,
            depth=3 + index / 2,
            phi_gauge=0.6 + index / 16,
            phase=_PHASES[index],
            tokens=320 * (index + 1),
            memory_bytes=4096,
        )
        for kernel in ("seed", *KERNELS)
        for index in range(4)
    ),
    GuardChanged(kernel="sea", step=9, before="WARN", after="PAUSED", cause="no number"),
    PhaseChanged(kernel="sea", step=15, before="FOAM", after="TACKING", phi_gauge=0.75),
    BudgetWarning(budget="tokens", used=800, limit=1000),
]


def facts(folder: Path, **changes: object) -> RunFacts:
    """Return the invented run, with some parts changed or left out (None)."""
    values: dict[str, Any] = {
        "report": copy.deepcopy(REPORT),
        "history": fold(EVENTS),
        "status": {"kernels": {name: {"state": "FINISHED"} for name in KERNELS}},
        "run": None,
        "usage": {"seconds": 3600.0, "tokens": {"sea": 500, "sky": 300}},
        "ledger": None,
        "validation": {
            "checks": [
                {"name": "causality", "passed": True, "detail": "no logit changed"},
                {"name": "depth", "passed": None, "detail": "does not recur"},
                {"name": "gradient", "passed": False, "detail": "1 parameter without"},
            ]
        },
        "beta": copy.deepcopy(BETA),
    }
    return RunFacts(folder=folder, **{**values, **changes})
