"""Tables of version 0.1.0: which text was unlearned is still known."""

import hashlib
from pathlib import Path
from typing import Any

import msgpack
import pytest

from constellation.errors import ArtifactError
from constellation.wire.table_file import pack_table
from constellation.wire.table_v010 import unlearned_sources
from tests.wire.fakes import make_table

TABLE = make_table()


def former(unlearned: Any) -> bytes:
    """Return a table whose first kernel had unlearned these sources."""
    content = msgpack.unpackb(msgpack.unpackb(pack_table(TABLE))["content"])
    content["sites"][0]["unlearned"] = unlearned
    packed = msgpack.packb(content)
    digest = hashlib.sha256(packed).digest()
    return bytes(msgpack.packb({"schema": 1, "sha256": digest, "content": packed}))


def test_sources_that_were_unlearned_are_named_by_kernel(tmp_path: Path) -> None:
    path = tmp_path / "table.msgpack"
    path.write_bytes(former(["b.txt", "a.txt#1"]))
    first, *others = (site.name for site in TABLE.sites)
    assert unlearned_sources(path) == {first: ("b.txt", "a.txt#1"), **dict.fromkeys(others, ())}


def test_a_table_of_today_has_unlearned_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.msgpack"
    path.write_bytes(pack_table(TABLE))
    assert set(unlearned_sources(path).values()) == {()}


@pytest.mark.parametrize("unlearned", [3, [3], [["a.txt"]]])
def test_names_that_are_no_names_are_refused(tmp_path: Path, unlearned: Any) -> None:
    path = tmp_path / "table.msgpack"
    path.write_bytes(former(unlearned))
    with pytest.raises(ArtifactError, match=r"table\.msgpack"):
        unlearned_sources(path)


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.msgpack"
    path.write_bytes(former(["a.txt"])[:-3])
    with pytest.raises(ArtifactError, match=r"table\.msgpack"):
        unlearned_sources(path)
