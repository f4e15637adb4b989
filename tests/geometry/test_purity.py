"""Distances, means and interpolations between basins come only from the geometry package."""

from pathlib import Path

import pytest

from tests.geometry.purity import findings

ROOT = Path(__file__).parents[2]
PACKAGES = ("constellation", "actors", "training", "cluster")
EXEMPT = (ROOT / "constellation" / "geometry", ROOT / "constellation" / "v1")


def modules() -> list[Path]:
    every = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in every if not any(path.is_relative_to(folder) for folder in EXEMPT)]


@pytest.mark.slow
def test_no_module_outside_geometry_does_basin_arithmetic() -> None:
    assert ROOT / "constellation" / "records" / "kernels.py" in modules()
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {kind}"
        for path in modules()
        for line, kind in findings(path.read_text(encoding="utf-8"))
    ]
    assert wrong == []


def test_the_scan_sees_the_arithmetic_of_the_geometry_itself() -> None:
    """The exempt package is the known positive: an empty scan would pass the test above."""
    sources = [path.read_text(encoding="utf-8") for path in EXEMPT[0].glob("*.py")]
    assert sum(len(findings(source)) for source in sources) >= 5


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        ("d = 2 * np.arccos(overlap)", "arccos belongs in geometry"),
        ("d = math.acos(overlap)", "acos belongs in geometry"),
        ("d = overlap.asin()", "asin belongs in geometry"),
        ("from math import acos as inverse\nd = inverse(overlap)", "acos belongs in geometry"),
        ("d = F.cosine_similarity(a, b)", "cosine_similarity belongs in geometry"),
        ("d = scipy.spatial.distance.cdist(a, b)", "cdist belongs in geometry"),
        ("d = np.linalg.norm(query_basin_K - site.basin_K)", "norm of basins"),
        ("d = np.linalg.norm(query_basin_K - site.basin_K)", "difference of basins"),
        ("d = ((basins_NK[0] - other.basin) ** 2).sum()", "difference of basins"),
        ("d = np.sqrt(basin_K) @ np.sqrt(site)", "square root of a basin"),
        ("r = site.basin_K.sqrt()", "square root of a basin"),
        ("r = basin_K ** 0.5", "square root of a basin"),
        ("r = basin_K ** (1 / 2)", "square root of a basin"),
        ("r = (basin_K * site.basin_K).sum()", "product of basins"),
        ("c = query_K @ self.bearing_MK.T", "inner product with a basin"),
        ("c = np.dot(bearing_K, u)", "inner product with a basin"),
        ("c = torch.einsum('nk,mk->nm', basins, sites)", "inner product with a basin"),
        ("m = np.mean([k.basin_K for k in kernels], axis=0)", "average of basins"),
        ("m = np.stack(basins).mean(axis=0)", "average of basins"),
        ("m = (1 - t) * basin_K + t * other.basin_K", "sum of basins"),
        ("total_basin_K += basin_K", "sum of basins"),
        ("m = torch.lerp(old_basin, new_basin, 0.1)", "interpolation of basins"),
    ],
)
def test_planted_basin_arithmetic_is_found(planted: str, kind: str) -> None:
    assert kind in [found for _, found in findings(planted)]


@pytest.mark.parametrize(
    "innocent",
    [
        "from constellation.geometry import distance\nd = distance(query_basin_K, site.basin_K)",
        "scale = 1 / math.sqrt(head_dim)",
        "rows = len(basins) - num_basins + basin_dim * 2",
        "table = np.stack([site.basin_K for site in table.sites])",
        "# d = np.arccos(basin_K @ basin_K)\ntext = 'np.arccos(x)'",
        "loss = losses.mean() + logits @ weight",
        "same = np.array_equal(old.basin_K, new.basin_K)",
        "values = message.basin_K.astype(np.float64).tolist()",
    ],
)
def test_innocent_code_is_left_alone(innocent: str) -> None:
    assert findings(innocent) == []


def test_the_line_of_a_finding_is_given() -> None:
    assert findings("a = 1\n\nb = np.arccos(a)\n") == [(3, "arccos belongs in geometry")]
