"""The benchmark of refusal, on a few invented queries."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.refusal import query_settings, read_queries
from benchmarks.refusal_figures import auroc, caught_at
from constellation.records import Rule
from tests.domains.test_thresholds import WORDS, documents


def test_auroc_counts_pairs_and_half_of_the_ties() -> None:
    own_N, foreign_N = np.array([0.1, 0.2, 0.2, 0.5]), np.array([0.2, 0.6])
    pairs = [(foreign > own) + (foreign == own) / 2 for foreign in foreign_N for own in own_N]
    assert auroc(own_N, foreign_N) == pytest.approx(np.mean(pairs))
    assert auroc(own_N, own_N + 1) == 1


def test_caught_at_refuses_exactly_a_share_of_ones_own() -> None:
    own_N = np.arange(100) / 100
    foreign_N = np.array([0.5, 0.93, 0.955, 0.99])
    assert caught_at(own_N, foreign_N, 0.05) == 0.5  # own beyond .94 are five
    assert caught_at(own_N, foreign_N, 0.01) == 0.25
    assert caught_at(own_N - 3, foreign_N - 3, 0.05) == 0.5  # a shift of all changes nothing
    assert caught_at(np.ones(100), np.ones(4), 0.05) == 0  # equals are not told apart


def test_queries_of_labels_and_of_domains_give_a_setting_each(tmp_path: Path) -> None:
    known = [name for name in WORDS if name != "mend"]
    splits = {
        name: [
            [each.text.strip(), each.domain]
            for each in documents(seed, count, 8)
            if each.domain in known
        ]
        for seed, (name, count) in enumerate({"train": 60, "val": 40, "test": 40}.items())
    }
    splits["oos_test"] = [
        [each.text.strip(), "oos"] for each in documents(9, 40, 8) if each.domain == "mend"
    ]
    queries, groups = tmp_path / "queries.json", tmp_path / "groups.json"
    queries.write_text(json.dumps(splits))
    groups.write_text(json.dumps({f"{name}-s": [name] for name in known}))
    found = query_settings([queries, groups], seeds=1, rule=Rule.BEARING, basins_max=8)
    assert set(found) == {"labels_full", "labels_few", "domains_full", "domains_few"}
    for setting in found.values():
        assert {"refused_in", "caught_out", "caught_at", "auroc"} <= set(setting)
        assert setting["caught_at"]["0.01"] <= setting["caught_at"]["0.05"]
        assert 60 < sum(row["queries_in"] for row in setting["by_length"].values()) <= 80
        assert setting["refused_in"]["0.05"] <= 0.2
        assert setting["queries"] == [80, 40]
    assert found["labels_full"]["auroc"] > 0.6
    # Two domains of one label each: the same kernels by other names.
    assert found["domains_full"]["caught_out"] == found["labels_full"]["caught_out"]
    missing = tmp_path / "missing.json"
    missing.write_text(json.dumps({"train": splits["train"]}))
    with pytest.raises(SystemExit, match="oos_test"):
        read_queries([missing])
