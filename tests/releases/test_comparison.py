"""What is different between two releases is named, measured, and nothing else is."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError
from constellation.geometry.bearings import bearing
from constellation.geometry.simplex import distance
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.decoder import Decoder
from constellation.records import FloatArray, KernelSite, Rule, Share, Table
from constellation.releases.manifest import Engine
from constellation.releases.release_comparison import Comparison, compare, farthest
from constellation.releases.store import ReleaseStore
from constellation.wire.table_file import load_table, save_table
from tests.releases.conftest import publish
from tests.releases.drafts import write
from tests.routing.tables import refusal


def compared(store: ReleaseStore, workshop: Path, change: Callable[[Path], None]) -> Comparison:
    """Return what a change of the workshop makes different."""
    publish(store, workshop)
    change(workshop)
    publish(store, workshop)
    return compare(store, 1, 2)


def with_table(change: Callable[[Table], Table]) -> Callable[[Path], None]:
    def apply(workshop: Path) -> None:
        path = workshop / "table.msgpack"
        save_table(path, change(load_table(path)))

    return apply


def with_site(change: Callable[[KernelSite], KernelSite]) -> Callable[[Path], None]:
    """Return a change of the second site."""
    return with_table(
        lambda table: replace(
            table, sites=(table.sites[0], change(table.sites[1]), *table.sites[2:])
        )
    )


@pytest.mark.slow
def test_a_release_made_again_is_the_same(store: ReleaseStore, workshop: Path) -> None:
    told = compared(store, workshop, lambda _: None)
    assert told.same
    assert (told.joined, told.left, told.kernels, told.moved_rad) == ((), (), (), 0.0)
    assert not told.coordizer.changed
    assert told.words() == ["releases 1 and 2 serve the same, to the bit"]


def test_kernels_that_join_and_leave_are_named(store: ReleaseStore, workshop: Path) -> None:
    shorter = with_table(lambda table: replace(table, sites=table.sites[:2]))
    told = compared(store, workshop, shorter)
    assert (told.joined, told.left, told.kernels) == ((), ("numbers",), ())
    assert told.words() == ["left: numbers"]
    back = compare(store, 2, 1)
    assert (back.joined, back.left) == (("numbers",), ())
    assert not back.same


def test_other_weights_are_named_by_their_files(store: ReleaseStore, workshop: Path) -> None:
    def train(workshop: Path) -> None:
        kernel = load_kernel(workshop / "kernels/mail")
        save_kernel(
            workshop / "kernels/mail",
            Decoder(kernel.config, seed=9),
            tokenizer_hash=kernel.tokenizer_hash,
            facts=kernel.facts,
        )

    told = compared(store, workshop, train)
    (change,) = told.kernels
    assert (change.name, change.files) == ("mail", ("kernel.json", "weights.safetensors"))
    assert (change.moved_rad, change.radius_rad, change.base_changed) == (0.0, 0.0, False)
    assert told.words() == ["mail: other files (kernel.json, weights.safetensors)"]


def test_a_basin_that_moved_is_measured(store: ReleaseStore, workshop: Path) -> None:
    before_K = load_table(workshop / "table.msgpack").sites[1].basin_K
    after_K = 0.9 * before_K + 0.1 / before_K.size
    told = compared(store, workshop, with_site(lambda site: replace(site, basin_K=after_K)))
    (change,) = told.kernels
    expected = float(distance(before_K, after_K))
    assert change.name == "network"
    assert change.moved_rad == pytest.approx(expected, rel=1e-12)
    assert told.moved_rad == change.moved_rad
    assert change.files == ()
    assert told.words() == [f"network: basins moved by at most {expected:.2g} rad"]


def test_seat_radius_and_text_of_a_kernel_are_compared(store: ReleaseStore, workshop: Path) -> None:
    def site(site: KernelSite) -> KernelSite:
        radii = {**site.radii, Rule.BEARING: site.radii[Rule.BEARING] + 0.25}
        return replace(site, seat=239, radii=radii)

    seat = load_table(workshop / "table.msgpack").sites[1].seat
    told = compared(store, workshop, with_site(site))
    (change,) = told.kernels
    assert change.seats == (seat, 239)
    assert change.radius_rad == pytest.approx(0.25)
    assert told.words() == [
        f"network: radius changed by 0.25 rad, 239 as its seat instead of {seat}"
    ]
    assert not change.text_changed
    kernels = store.read(2).kernels
    with store.adding() as put:
        other = replace(kernels[1], domain=put.put_bytes(b"more text"))
        draft = replace(store.read(2), kernels=(kernels[0], other, kernels[2]))
        store.write(draft)
    assert compare(store, 2, 3).words() == ["network: other text"]


def test_basins_shares_and_arrivals_of_a_kernel_are_compared(
    store: ReleaseStore, workshop: Path
) -> None:
    before = load_table(workshop / "table.msgpack")
    background_K, own = before.background_K, before.sites[1]
    far_K = 0.5 * own.basin_K + 0.5 * background_K
    basins_BK = np.stack([own.basin_K, far_K])
    several = replace(
        own,
        basins_BK=basins_BK,
        bearings_BK=np.stack([bearing(each_K, background_K) for each_K in basins_BK]),
        arrived=0.75,
        num_held_out=40,
    )
    told = compared(store, workshop, with_site(lambda _: several))
    (change,) = told.kernels
    apart = float(distance(own.basin_K, far_K))
    assert change.num_basins == (1, 2)
    assert change.moved_rad == pytest.approx(apart, rel=1e-12)
    assert own.arrived is not None
    assert change.arrived == (own.arrived, 0.75)
    assert told.words() == [
        f"network: basins moved by at most {apart:.2g} rad, 2 basins instead of 1, "
        f"0.75 of its held-out passages arriving instead of {own.arrived:.4g}"
    ]
    parted = Share(family="mail", basin_K=far_K, bearing_K=bearing(far_K, background_K))
    with_site(lambda site: replace(site, share=parted))(workshop)
    publish(store, workshop)
    assert compare(store, 2, 3).words() == ["network: another share of its family"]


def test_temperatures_and_thresholds_are_compared(store: ReleaseStore, workshop: Path) -> None:
    def warmer(table: Table) -> Table:
        temperatures = {**table.temperatures, Rule.GEODESIC: 0.5}
        return replace(table, temperatures=temperatures, refusal=refusal(0))

    before = load_table(workshop / "table.msgpack").temperatures[Rule.GEODESIC]
    told = compared(store, workshop, with_table(warmer))
    assert told.temperatures == {"geodesic": (before, 0.5)}
    assert told.thresholds_changed
    assert told.words() == [
        f"temperature of rule geodesic: {before:.4g} to 0.5 rad",
        "thresholds of refusal changed",
    ]


def test_coordinates_that_changed_under_the_same_tokens_are_said_so(
    store: ReleaseStore, workshop: Path
) -> None:
    def refit(workshop: Path) -> None:
        coordizer = Coordizer.load(workshop / "coordizer")
        old = coordizer.coordinates
        blocks = dict(zip(old.blocks, [*list(old.blocks.values())[1:], (0, 1)], strict=True))
        fresh = type(old)(
            counts_VK=old.counts_VK[:, ::-1].copy(),
            background_K=old.background_K,
            blocks=blocks,
            smoothing=old.smoothing,
        )
        moved = coordizer.with_coordinates(fresh)
        moved.save(workshop / "coordizer")
        path = workshop / "table.msgpack"
        save_table(path, replace(load_table(path), coordizer_hash=moved.hash))

    told = compared(store, workshop, refit)
    assert told.coordizer.changed
    assert not told.coordizer.tokens_changed
    assert set(told.coordizer.blocks) == {"mail", "network", "numbers"}
    assert told.coordizer.num_outcomes == (64, 64)
    assert told.words() == [
        "coordizer: the same tokens at other coordinates, other blocks for mail, network, numbers"
    ]


def test_options_that_changed_are_named(store: ReleaseStore, workshop: Path) -> None:
    release = publish(store, workshop)
    store.write(replace(release, options={"seed": 3}))
    assert compare(store, 1, 2).words() == ["options that changed: seed"]


def test_a_base_that_is_another_or_has_other_files_is_said_of_its_adapters(
    store: ReleaseStore, workshop: Path
) -> None:
    release = publish(store, workshop)
    mail, *others = release.kernels
    first, second = "a" * 64, "b" * 64

    def over(base: str, content: bytes) -> None:
        with store.adding() as put:
            adapter = replace(mail, engine=Engine.ADAPTER, base=base)
            bases = {base: {"kernel.json": put.put_bytes(content)}}
            store.write(replace(release, kernels=(adapter, *others), bases=bases))

    over(first, b"base")
    over(first, b"the same name, other files")
    over(second, b"base")
    assert compare(store, 2, 2).kernels == ()
    for before, after in ((2, 3), (2, 4)):
        told = compare(store, before, after)
        assert [(change.name, change.base_changed) for change in told.kernels] == [("mail", True)]
        assert told.words() == ["mail: another base"]


def test_a_table_that_is_none_is_named_with_its_release(store: ReleaseStore) -> None:
    write(store)
    with pytest.raises(ArtifactError, match="table of release 1"):
        compare(store, 1, 1)


def test_a_comparison_is_json(store: ReleaseStore, workshop: Path) -> None:
    told = compared(store, workshop, with_site(lambda site: replace(site, seat=None)))
    read = json.loads(json.dumps(asdict(told)))
    assert read["kernels"][0]["seats"][1] is None
    assert read["before"] == 1


def test_a_release_that_is_not_there_is_refused(store: ReleaseStore, workshop: Path) -> None:
    publish(store, workshop)
    with pytest.raises(ArtifactError, match="there is no release 2"):
        compare(store, 1, 2)


# --- sets of basins -----------------------------------------------------------------------------


def points(seed: int, num_points: int) -> FloatArray:
    return np.random.default_rng(seed).dirichlet(np.ones(8), num_points)


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_how_far_sets_of_basins_lie_apart_is_a_distance(seed: int, num: int, other: int) -> None:
    first_BK, second_BK = points(seed, num), points(seed + 1, other)
    apart = farthest(first_BK, second_BK)
    assert apart is not None
    assert apart == farthest(second_BK, first_BK)
    assert farthest(first_BK, first_BK[::-1]) == 0.0
    assert apart > 0
    through = points(seed + 2, 3)
    legs = farthest(first_BK, through), farthest(through, second_BK)
    assert legs[0] is not None
    assert legs[1] is not None
    assert apart <= legs[0] + legs[1] + 1e-12


def test_basins_of_different_simplexes_cannot_be_compared() -> None:
    assert farthest(np.full((1, 4), 0.25), np.full((1, 2), 0.5)) is None
