"""A manifest says exactly what is served: one form in bytes, damage noticed, paths kept inside."""

import hashlib
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ArtifactError, ConfigError
from constellation.releases.canonical_msgpack import plain, seal
from constellation.releases.manifest import Blob, Draft, Release
from constellation.releases.manifest_file import (
    MANIFEST_BYTES_MAX,
    SCHEMA_VERSION,
    pack_release,
    unpack_release,
)
from tests.releases.drafts import Unwritten, blob_of, draft

RELEASE = Release.of(draft(Unwritten(), parent=2), version=3, created_s=1.5)
PACKED = pack_release(RELEASE)


def test_a_release_survives_its_file_with_the_type_of_every_value() -> None:
    read = unpack_release(PACKED)
    assert read == RELEASE
    assert pack_release(read) == PACKED
    assert [(key, type(value)) for key, value in read.options.items()] == [
        ("basins_max", tuple),
        ("nothing", type(None)),
        ("on", bool),
        ("seed", int),
        ("smoothing", float),
    ]


def test_the_order_in_which_a_release_is_put_together_changes_no_byte() -> None:
    shuffled = replace(
        RELEASE,
        kernels=RELEASE.kernels[::-1],
        coordizer=dict(reversed(RELEASE.coordizer.items())),
        options=dict(reversed(RELEASE.options.items())),
    )
    assert pack_release(shuffled) == PACKED


def test_kernels_lie_in_the_order_of_their_names() -> None:
    assert [kernel.name for kernel in RELEASE.kernels] == ["law", "talk", "verse"]


def test_the_digest_of_the_content_is_that_of_what_is_served_and_of_nothing_else() -> None:
    told = Release.of(
        replace(draft(Unwritten()), change="made again", parent=7), version=9, created_s=4.0
    )
    assert told.content_sha256 == RELEASE.content_sha256
    for other in (
        replace(RELEASE, table=blob_of(b"another")),
        replace(RELEASE, options={**RELEASE.options, "seed": 1.0}),
        replace(RELEASE, kernels=RELEASE.kernels[:2]),
        draft(Unwritten(), "second"),
    ):
        assert other.content_sha256 != RELEASE.content_sha256


def test_files_are_laid_out_as_an_artifacts_folder() -> None:
    assert set(RELEASE.files()) == {
        "table.msgpack",
        "coordizer/meta.json",
        "coordizer/vocab.json",
        "kernels/law/weights.safetensors",
        "kernels/law/kernel.json",
        "kernels/talk/hugging_face.json",
        "kernels/talk/onnx/model.json",
        "kernels/verse/adapter.safetensors",
        f"bases/{'b' * 64}/weights.safetensors",
        f"bases/{'b' * 64}/kernel.json",
        "domains/law.msgpack",
        "domains/talk.msgpack",
        "domains/verse.msgpack",
    }


@given(position=st.integers(0, len(PACKED) - 1), flip=st.integers(1, 255))
def test_every_damaged_byte_is_noticed(position: int, flip: int) -> None:
    damaged = bytearray(PACKED)
    damaged[position] ^= flip
    with pytest.raises(ArtifactError):
        unpack_release(bytes(damaged))


@given(st.integers(0, len(PACKED) - 1))
def test_every_short_file_is_noticed(length: int) -> None:
    with pytest.raises(ArtifactError):
        unpack_release(PACKED[:length])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_manifest(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        unpack_release(data)


def _sealed(content: bytes, *, reverse: bool = False) -> bytes:
    digest = hashlib.sha256(content).digest()
    envelope = {"schema": SCHEMA_VERSION, "sha256": digest, "content": content}
    items = list(envelope.items())
    return bytes(msgpack.packb(dict(items[::-1] if reverse else items)))


def test_a_manifest_has_one_form_and_others_are_refused_although_their_digest_fits() -> None:
    content: bytes = msgpack.unpackb(PACKED)["content"]
    assert _sealed(content) == PACKED
    values = msgpack.unpackb(content)
    for other in (
        _sealed(content, reverse=True),
        _sealed(bytes(msgpack.packb(dict(reversed(values.items()))))),
        _sealed(content.replace(b"\xa7version\x03", b"\xa7version\xcc\x03")),
        PACKED + b"\xc0",
    ):
        assert other != PACKED
        with pytest.raises(ArtifactError, match="is damaged"):
            unpack_release(other)


def test_a_manifest_of_another_schema_is_refused_with_its_number() -> None:
    with pytest.raises(ArtifactError, match="schema 2; this version reads 1"):
        unpack_release(seal({"what": "ever"}, schema=SCHEMA_VERSION + 1))


def test_a_manifest_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(ArtifactError, match="at most"):
        unpack_release(bytes(MANIFEST_BYTES_MAX + 1))


def _changed(change: Any) -> bytes:
    """Return a manifest whose content was changed, with a digest that fits it."""
    content = msgpack.unpackb(msgpack.unpackb(PACKED)["content"])
    change(content)
    return seal(plain(content, "manifest"), schema=SCHEMA_VERSION)


CHANGES: list[Any] = [
    lambda about: about.pop("parent"),
    lambda about: about.update(more=1),
    lambda about: about.update(version=True),
    lambda about: about.update(version=3.0),
    lambda about: about.update(version=2),
    lambda about: about.update(version=0),
    lambda about: about.update(created_s=1),
    lambda about: about.update(change="two\nlines"),
    lambda about: about.update(change=""),
    lambda about: about["content"].update(kernels=()),
    lambda about: about["content"].update(kernels=about["content"]["kernels"][:1] * 2),
    lambda about: about["content"].update(bases={}),
    lambda about: about["content"]["kernels"][0].update(name="../law"),
    lambda about: about["content"]["kernels"][0].update(engine="oracle"),
    lambda about: about["content"]["kernels"][0].update(base="b" * 64),
    lambda about: about["content"]["kernels"][2].update(base=None),
    lambda about: about["content"]["table"].update(size_bytes=-1),
    lambda about: about["content"]["table"].update(sha256="../../etc/passwd"),
    lambda about: about["content"]["table"].update(sha256="A" * 64),
    lambda about: about["content"]["coordizer"].clear(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_manifest_that_makes_no_sense_is_refused_although_its_digest_fits(change: Any) -> None:
    with pytest.raises(ArtifactError):
        unpack_release(_changed(change))


OUTSIDE = (
    "../weights",
    "a/../../b",
    "/etc/passwd",
    "a//b",
    "a/",
    "",
    ".",
    "..",
    ".hidden",
    "a\\b",
    "a\0b",
    "a b",
    "a" * 256,
)


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("part", ["coordizer", "kernel", "base"])
def test_a_path_that_leads_out_of_its_folder_is_refused(part: str, path: str) -> None:
    def change(about: dict[str, Any]) -> None:
        content = about["content"]
        owners = {
            "coordizer": content["coordizer"],
            "kernel": content["kernels"][0]["files"],
            "base": content["bases"]["b" * 64],
        }
        owners[part][path] = {"sha256": "c" * 64, "size_bytes": 1}

    with pytest.raises(ArtifactError, match="has a file at"):
        unpack_release(_changed(change))


def test_a_path_cannot_be_a_file_and_a_folder() -> None:
    blob = blob_of(b"x")
    with pytest.raises(ConfigError, match="as a file and as the folder of 'a/b/c'"):
        replace(RELEASE, coordizer={"a/b": blob, "a/b/c": blob})


@pytest.mark.parametrize(
    "options",
    [
        {"a": float("nan")},
        {"a": 2**64},
        {"a": -(2**63) - 1},
        {"a": {1: 2}},
        {"a": object()},
        {"a": {1, 2}},
        {"a": "\ud800"},
        {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]},
    ],
)
def test_options_that_are_no_plain_values_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"options\.a"):
        replace(draft(Unwritten()), options=options)


def test_lists_and_tuples_of_options_are_the_same() -> None:
    first, second = (
        replace(draft(Unwritten()), options={"rows": rows}) for rows in ([1, 2], (1, 2))
    )
    assert first == second
    assert first.content_sha256 == second.content_sha256


def test_a_file_that_two_kernels_share_counts_once() -> None:
    whole: Draft = draft(Unwritten())
    assert len(whole.blobs()) < len(whole.files())
    assert whole.size_bytes == sum(blob.size_bytes for blob in set(whole.files().values()))
    assert isinstance(next(iter(whole.blobs())), Blob)
