"""A signature file is whole and undamaged or it is refused, always with a clear error."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.errors import ArtifactError, ConfigError, InvalidBasin
from constellation.kernel.observables.measurement import Measurement
from constellation.kernel.observables.signature import (
    BYTES_MAX,
    Signature,
    load_signature,
    load_target,
    pack_signature,
    save_signature,
    unpack_signature,
)

OUTCOMES = 64


def signature(seed: int = 0, *, heads: tuple[int, int] | None = (4, 4)) -> Signature:
    random = np.random.default_rng(seed)
    bearing_K = random.standard_normal(OUTCOMES)
    return Signature(
        kernel_hash="a" * 64,
        coordizer_hash="b" * 64,
        probe_id="c" * 64,
        num_texts=48,
        basin_source="basin head",
        basin_K=random.dirichlet(np.ones(OUTCOMES)),
        spread_K=np.abs(random.standard_normal(OUTCOMES)) / 50,
        bearing_K=bearing_K / np.linalg.norm(bearing_K),
        kappa_NH=None if heads is None else random.uniform(5, 15, heads).astype(np.float32),
        beta_NH=None if heads is None else random.normal(0, 0.1, heads).astype(np.float32),
        kappa_measured=Measurement(value=1.2, method="m", n=8, null=1.0, interval=(1.1, 1.3)),
        phi=Measurement(value=0.6, method="median over texts", n=8, null=0.01, interval=(0.5, 0.7)),
    )


WHOLE = pack_signature(signature())


def assert_same(left: Signature, right: Signature) -> None:
    for name in Signature.__slots__:
        ours, theirs = getattr(left, name), getattr(right, name)
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs


def enveloped(content: dict[str, Any]) -> bytes:
    """Return a file with a right digest, whatever the content is."""
    packed = msgpack.packb(content)
    digest = hashlib.sha256(packed).digest()
    names = {"format": "constellation-signature", "version": 1}
    return bytes(msgpack.packb({**names, "sha256": digest, "content": packed}))


def content_of(data: bytes) -> dict[str, Any]:
    return dict(msgpack.unpackb(msgpack.unpackb(data)["content"]))


@pytest.mark.parametrize("heads", [(4, 4), (12, 12), None])
def test_what_is_saved_is_loaded(tmp_path: Path, heads: tuple[int, int] | None) -> None:
    path = tmp_path / "k.basin"
    save_signature(path, signature(heads=heads))
    loaded = load_signature(path)
    assert_same(loaded, signature(heads=heads))
    assert loaded.hash == signature(heads=heads).hash != signature(1, heads=heads).hash
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("heads", [(4, 4), (8, 8), (12, 12)])
def test_a_signature_has_two_to_four_kilobytes(heads: tuple[int, int]) -> None:
    assert 2000 <= len(pack_signature(signature(heads=heads))) <= 4096


def test_every_truncation_is_refused() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(ArtifactError):
            unpack_signature(WHOLE[:length])


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_damaged_byte_is_noticed(flip: int) -> None:
    for place in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[place] ^= flip
        with pytest.raises(ArtifactError):
            unpack_signature(bytes(damaged))


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
@settings(max_examples=300)
def test_any_other_byte_at_any_place_is_refused(place: int, value: int) -> None:
    """The version as `true`, which equals 1, and the like."""
    damaged = bytearray(WHOLE)
    damaged[place] = value
    if bytes(damaged) == WHOLE:
        assert_same(unpack_signature(bytes(damaged)), signature())
        return
    with pytest.raises(ArtifactError):
        unpack_signature(bytes(damaged))


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        unpack_signature(data)
    with pytest.raises(ArtifactError):
        unpack_signature(WHOLE + data + b"x")


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=80),
    st.lists(st.integers(-3, 2**40), max_size=4),
    st.dictionaries(st.sampled_from(["shape", "values", "value", "n"]), st.binary(max_size=64)),
)


@given(st.sampled_from(sorted(content_of(WHOLE))), VALUES)
@settings(max_examples=300)
def test_a_wrong_value_under_a_right_digest_is_refused(name: str, value: object) -> None:
    """Someone may write the digest too: what is inside is checked for itself."""
    content = content_of(WHOLE) | {name: value}
    try:
        loaded = unpack_signature(enveloped(content))
    except ArtifactError:
        return
    assert_same(unpack_signature(pack_signature(loaded)), loaded)
    assert np.isfinite(loaded.basin_K).all()


@pytest.mark.parametrize("name", sorted(content_of(WHOLE)))
def test_a_missing_value_is_refused(name: str) -> None:
    content = content_of(WHOLE)
    del content[name]
    with pytest.raises(ArtifactError):
        unpack_signature(enveloped(content))


def test_another_version_is_named() -> None:
    envelope = msgpack.unpackb(WHOLE) | {"version": 2}
    with pytest.raises(ArtifactError, match="version 2; this release reads 1"):
        unpack_signature(msgpack.packb(envelope))


def test_an_oversized_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: reading it would take 10 GiB
    with pytest.raises(ArtifactError, match=str(BYTES_MAX)):
        load_signature(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        load_signature(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_signature(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be written"):
        save_signature(tmp_path / "file" / "k", signature())


def test_a_target_must_be_of_the_coordizer_that_is_trained_with(tmp_path: Path) -> None:
    save_signature(tmp_path / "k", signature())
    assert_same(load_target(tmp_path / "k", coordizer_hash="b" * 64), signature())
    with pytest.raises(ArtifactError, match="another coordizer"):
        load_target(tmp_path / "k", coordizer_hash="c" * 64)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "k"
    path.write_bytes(pickle.dumps({"format": "constellation-signature"}))
    with pytest.raises(ArtifactError):
        load_signature(path)


def nan_at_start(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.size).reshape(values.shape) == 0, np.nan, values)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, basin_K=nan_at_start(s.basin_K)),
        lambda s: replace(s, basin_K=s.basin_K * 1.1),
        lambda s: replace(s, basin_K=-s.basin_K),
        lambda s: replace(s, spread_K=nan_at_start(s.spread_K)),
        lambda s: replace(s, spread_K=-s.spread_K),
        lambda s: replace(s, spread_K=s.spread_K[:-1]),
        lambda s: replace(s, bearing_K=nan_at_start(s.bearing_K)),
        lambda s: replace(s, bearing_K=s.bearing_K * 1.1),
        lambda s: replace(s, bearing_K=s.bearing_K[:, None]),
        lambda s: replace(s, kappa_NH=nan_at_start(s.kappa_NH)),
        lambda s: replace(s, kappa_NH=-s.kappa_NH),
        lambda s: replace(s, beta_NH=nan_at_start(s.beta_NH)),
        lambda s: replace(s, beta_NH=s.beta_NH[0]),
        lambda s: replace(s, num_texts=0),
        lambda s: replace(s, basin_source="guess"),
        lambda s: replace(s, phi=replace(s.phi, value=float("inf"))),
        lambda s: replace(s, kappa_measured=replace(s.kappa_measured, interval=(0.0, np.nan))),
    ],
)
def test_no_signature_holds_what_is_not_finite_or_out_of_range(
    change: Callable[[Signature], Signature],
) -> None:
    with pytest.raises((ConfigError, InvalidBasin)):
        change(signature())
