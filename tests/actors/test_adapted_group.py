"""Kernels of other vocabularies in one process: adapters share their base, symbols stand alone."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
import torch

from actors.spec import DeploymentSpec
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError
from constellation.kernel.files.peft_folder import import_peft
from constellation.kernel.files.transformers_folder import import_model
from constellation.releases.manifest import Engine
from constellation.releases.store import ReleaseStore
from tests.actors.groups import PROMPT, Sky, one_process, publish, run, save
from tests.support.hugging_face import build_model, qwen2, tokenizer
from tests.support.peft_adapters import greedy_of_peft, write_adapter
from tests.support.symbols import save_symbol_kernel

ADAPTERS = ("red", "green", "blue")


@pytest.fixture
def spec(tmp_path: Path, coordizer: Coordizer) -> DeploymentSpec:
    """Return a deployment: three adapters, their base, symbols, and a kernel of bytes."""
    made = one_process(tmp_path, coordizer)
    build_model(tmp_path / "base", partial(qwen2, context=96), seed=4)
    known = import_model(tmp_path / "base", made.artifacts / "kernels" / "whole").weights_hash
    import_model(tmp_path / "base", made.artifacts / "bases" / known)
    for seed, name in enumerate(ADAPTERS):
        folder = write_adapter(tmp_path / "base", tmp_path / name, seed=seed)
        import_peft(folder, made.artifacts / "kernels" / name, base_hash=known)
    save_symbol_kernel(made.artifacts / "kernels" / "symbols")
    save(made, coordizer, "bytes", seed=1)
    return made


def text_of_peft(tmp_path: Path, coordizer: Coordizer, name: str) -> str:
    prompt = coordizer.decode(PROMPT).decode()
    ids = torch.tensor([tokenizer().encode(prompt).ids])
    return str(tokenizer().decode(greedy_of_peft(tmp_path / "base", tmp_path / name, ids, 10)))


@pytest.mark.slow
def test_adapters_of_a_process_share_their_base_and_answer_as_peft_does(
    spec: DeploymentSpec, coordizer: Coordizer, tmp_path: Path
) -> None:
    async def story(sky: Sky) -> None:
        await sky.start(*ADAPTERS, "whole", "symbols", "bytes")
        engines = sky.group._loaded.engines
        assert len({engines[name].stacked for name in (*ADAPTERS, "whole")}) == 1
        assert engines["symbols"].stacked is None
        texts = await asyncio.gather(*(sky.ask(name) for name in ADAPTERS))
        assert texts == [text_of_peft(tmp_path, coordizer, name) for name in ADAPTERS]
        assert len({*texts, await sky.ask("whole")}) == 4
        assert await sky.ask("bytes")
        before = await sky.ask("green")
        await sky.group.leave("red", 5.0)
        assert await sky.ask("green") == before

    run(spec, story)


def test_a_release_holds_the_base_of_adapters_once(spec: DeploymentSpec) -> None:
    version = publish(spec)
    release = ReleaseStore(spec.artifacts).read(version)
    kinds = {name: release.kernel(name) for name in ADAPTERS}
    assert {kernel.engine for kernel in kinds.values()} == {Engine.ADAPTER}
    (base,) = {kernel.base for kernel in kinds.values()}
    assert set(release.bases) == {base}
    whole = release.kernel("whole").files["model.safetensors"]
    assert release.bases[str(base)]["model.safetensors"] == whole
    assert set(kinds["red"].files) == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "peft.json",
    }


def test_an_adapter_whose_base_was_changed_is_refused(spec: DeploymentSpec) -> None:
    (base,) = (spec.artifacts / "bases").iterdir()
    path = base / "tokenizer.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="sha256"):
        publish(spec)
