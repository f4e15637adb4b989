"""What kernels' basins are made of, on disk: whole or refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ArtifactError
from constellation.geometry.means import HellingerSum, sum_hellinger
from constellation.wire.texts_file import load_texts, save_texts, texts_path


def sources(seed: int, count: int) -> dict[str, HellingerSum]:
    random = np.random.default_rng(seed)
    return {
        f"part/{number}.txt": sum_hellinger(random.dirichlet(np.ones(64), number + 1))
        for number in range(count)
    }


@given(st.integers(0, 1000), st.integers(0, 5))
def test_what_was_written_is_read_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    folder = tmp_path_factory.mktemp("artifacts")
    written = sources(seed, count)
    path = save_texts(folder, "mail", written, coordizer_hash="c")
    assert path == texts_path(folder, "mail")
    read = load_texts(folder, "mail", coordizer_hash="c")
    assert list(read) == list(written)
    for name, each in written.items():
        assert read[name].root_sum_K.tobytes() == each.root_sum_K.tobytes()
        assert read[name].count == each.count


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = save_texts(tmp_path, "mail", sources(0, 2), coordizer_hash="c")
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ArtifactError):
            load_texts(tmp_path, "mail", coordizer_hash="c")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="mail"):
        load_texts(tmp_path, "mail", coordizer_hash="c")


def test_what_is_missing_or_anothers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_texts(tmp_path, "mail", coordizer_hash="c")
    path = save_texts(tmp_path, "mail", sources(0, 2), coordizer_hash="c")
    with pytest.raises(ArtifactError, match="another"):
        load_texts(tmp_path, "mail", coordizer_hash="d")
    path.rename(texts_path(tmp_path, "poems"))
    with pytest.raises(ArtifactError, match="another"):
        load_texts(tmp_path, "poems", coordizer_hash="c")
