"""The root system, by the theorems that characterise it."""

import numpy as np
import pytest

from constellation.geometry.e8 import (
    cartan_matrix,
    coxeter_projection,
    nearest_root,
    reflect,
    roots,
    simple_roots,
)

BOURBAKI_EDGES = {(1, 3), (3, 4), (2, 4), (4, 5), (5, 6), (6, 7), (7, 8)}


def test_there_are_240_different_roots_of_two_forms() -> None:
    assert len({tuple(root) for root in roots()}) == 240
    integer = (np.abs(roots()) == 1).sum(axis=1) == 2
    half = (np.abs(roots()) == 0.5).all(axis=1)
    assert (integer.sum(), half.sum(), (integer ^ half).sum()) == (112, 128, 240)
    assert ((roots()[half] < 0).sum(axis=1) % 2 == 0).all()


def test_every_root_sees_shells_of_1_56_126_56_1() -> None:
    for products in roots() @ roots().T:
        values, counts = np.unique(products, return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert counts.tolist() == [1, 56, 126, 56, 1]


def test_the_cartan_matrix_is_that_of_the_bourbaki_diagram() -> None:
    edges = {(i, j) for i in range(1, 9) for j in range(i, 9) if cartan_matrix()[i - 1, j - 1] < 0}
    assert edges == BOURBAKI_EDGES
    assert np.diag(cartan_matrix()).tolist() == [2.0] * 8
    assert set(np.unique(cartan_matrix())) == {-1.0, 0.0, 2.0}
    assert np.linalg.det(cartan_matrix()) == pytest.approx(1)


def test_every_root_is_an_integer_combination_of_simple_roots_of_one_sign() -> None:
    coefficients = np.linalg.solve(simple_roots().T, roots().T).T
    np.testing.assert_allclose(coefficients, np.round(coefficients), atol=1e-12)
    rounded = np.round(coefficients)
    assert ((rounded >= 0).all(axis=1) ^ (rounded <= 0).all(axis=1)).all()
    highest = rounded[rounded.sum(axis=1).argmax()]
    assert highest.tolist() == [2, 3, 4, 6, 5, 4, 3, 2]


def test_simple_reflections_generate_exactly_the_240_roots_from_the_8() -> None:
    found = {tuple(root) for root in simple_roots()}
    while True:
        reflected = reflect(np.array(sorted(found))[:, None], simple_roots()[None]).reshape(-1, 8)
        grown = found | {tuple(root) for root in reflected}
        if grown == found:
            break
        found = grown
    assert found == {tuple(root) for root in roots()}


def test_a_reflection_undoes_itself_and_negates_its_root() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 8))
    for root in simple_roots():
        np.testing.assert_allclose(reflect(reflect(vectors, root), root), vectors, atol=1e-14)
        assert (reflect(root, root) == -root).all()


@pytest.mark.slow
def test_the_nearest_root_is_what_brute_force_finds_on_many_vectors() -> None:
    vectors = np.random.default_rng(1).normal(size=(100_000, 8))
    assert (nearest_root(vectors) == (vectors @ roots().T).argmax(axis=1)).all()


def test_every_root_is_nearest_to_itself() -> None:
    assert (nearest_root(roots()) == np.arange(240)).all()
    assert (nearest_root(1e-9 * roots()) == np.arange(240)).all()


def test_ties_are_broken_to_one_of_the_nearest() -> None:
    vectors = np.random.default_rng(2).integers(-1, 2, size=(500, 8)).astype(float)
    products = vectors @ roots().T
    chosen = products[np.arange(500), nearest_root(vectors)]
    assert (chosen == products.max(axis=1)).all()


def test_the_coxeter_projection_has_eight_rings_of_thirty() -> None:
    radii = np.linalg.norm(coxeter_projection(), axis=1)
    rings, counts = np.unique(radii.round(9), return_counts=True)
    assert counts.tolist() == [30] * 8
    assert rings.min() > 0.2


def test_a_thirtieth_of_a_turn_maps_the_projection_to_itself() -> None:
    turn = 2 * np.pi / 30
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    turned = coxeter_projection() @ rotation
    gaps = np.linalg.norm(turned[:, None] - coxeter_projection()[None], axis=-1)
    assert gaps.min(axis=1).max() < 1e-12
    assert sorted(gaps.argmin(axis=1)) == list(range(240))


def test_shared_tables_cannot_be_written() -> None:
    for table in (roots(), simple_roots(), coxeter_projection()):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 0
