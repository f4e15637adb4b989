"""Kernels with vocabularies of their own join a finished run, leave, and come back as they were."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from cluster.kernel_changes import join, make_kernel
from constellation.errors import ArtifactError
from constellation.kernel.files.symbol_vocabulary import SYMBOLS_FILE
from constellation.kernel.network.decoder import Decoder
from constellation.releases.store import ReleaseStore
from tests.support.artifacts import build_artifacts
from tests.support.hugging_face import build_model, qwen2
from tests.support.peft_adapters import write_adapter
from tests.support.symbols import save_symbol_kernel, symbol_config
from tests.training.served import content, leave, release
from tests.training.test_growth import FORGE, files, write
from training.new_kernel import import_new, take_back
from training.progress.events import ignore
from training.run_kernels import speaking_folders


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_artifacts(tmp_path_factory.mktemp("artifacts"), steps=0)


@pytest.fixture
def artifacts(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("new") / "forge", FORGE)


@pytest.mark.slow
def test_a_kernel_with_symbols_joins_and_comes_back(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    save_symbol_kernel(tmp_path / "kernel", Decoder(symbol_config(context=200), seed=1))
    new = import_new(artifacts, "forge", tmp_path / "kernel", forge)
    added = join(artifacts, new, None)
    assert added.own is not None
    assert added.own.num_moved == added.own.num_documents > 0
    view = ReleaseStore(artifacts).current_folder() / "kernels" / "forge"
    for name in (SYMBOLS_FILE, "kernel.json", "weights.safetensors"):
        assert (view / name).read_bytes() == (tmp_path / "kernel" / name).read_bytes()
    served = content(artifacts)
    leave(artifacts, "forge")
    join(artifacts, take_back(artifacts, "forge"), None)
    assert content(artifacts) == served
    speaking, others = speaking_folders(artifacts)
    assert "forge" not in speaking
    assert list(others) == ["forge"]


def test_a_kernel_with_other_symbols_than_its_own_does_not_join(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    save_symbol_kernel(tmp_path / "kernel")
    before = files(artifacts)
    path = tmp_path / "kernel" / SYMBOLS_FILE
    path.write_text(path.read_text("utf-8").replace("abc", "bac"), encoding="utf-8")
    with pytest.raises(ArtifactError, match="trained with"):
        import_new(artifacts, "forge", tmp_path / "kernel", forge)
    assert files(artifacts) == before


@pytest.mark.slow
def test_adapters_of_peft_join_over_one_base_and_come_back(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    build_model(tmp_path / "base", partial(qwen2, context=200), seed=6)
    for seed, name in enumerate(("forge", "smithy")):
        folder = write_adapter(tmp_path / "base", tmp_path / name, seed=seed)
        join(artifacts, make_kernel(artifacts, name, folder, forge, ignore), None)
    served = release(artifacts)
    assert len(list((artifacts / "bases").iterdir())) == 1
    assert {served.kernel(name).base for name in ("forge", "smithy")} == set(served.bases)
    leave(artifacts, "smithy")
    shutil.rmtree(tmp_path / "base")
    own = artifacts / "kernels" / "smithy"
    join(artifacts, make_kernel(artifacts, "smithy", own, None, ignore), None)
    assert content(artifacts) == served.content_sha256
    _, others = speaking_folders(artifacts)
    assert set(others) == {"forge", "smithy"}


def test_an_adapter_of_peft_without_its_base_is_refused_with_the_way_out(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    build_model(tmp_path / "base", qwen2)
    folder = write_adapter(tmp_path / "base", tmp_path / "adapter", seed=1)
    shutil.rmtree(tmp_path / "base")
    before = files(artifacts)
    with pytest.raises(ArtifactError, match="base_model_name_or_path"):
        make_kernel(artifacts, "forge", folder, forge, ignore)
    assert files(artifacts) == before
