"""Adapters join a live constellation with their base, take new numbers, and leave."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import launcher_process
from cluster.kernel_changes import join, make_kernel
from constellation import Client
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.vocabulary import END_ID
from constellation.errors import ReloadRefused
from constellation.kernel.adapters.adapter_file import ADAPTER_FILE, load_base, save_adapter
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.writing.generation import Generation
from constellation.records import Sampling
from constellation.releases.store import ReleaseStore
from constellation.settings import Settings
from tests.kernel.test_adapters import disturbed
from tests.support.artifacts import PROMPTS
from tests.support.released import rewrite

pytestmark = pytest.mark.ray

TEXTS = {
    "poems": "the river sings of spring and the lark of morning over meadows white with dew",
    "forge": "anvil hammer tongs bellows iron ember rivet steel quench rasp and the glowing coal",
}


@pytest.fixture(scope="module")
def own(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return artifacts that nobody else serves."""
    folder = tmp_path_factory.mktemp("adapted") / "artifacts"
    shutil.copytree(artifacts, folder)
    return folder


@pytest.fixture(scope="module")
def stars(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(
        artifacts=own,
        run_dir=tmp_path_factory.mktemp("adapted_run"),
        serve={"port": 0},
        kernel={"slots": 4, "queue_max": 8, "per_actor": 8},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        with Client(launcher_process.start(settings).endpoint) as stars:
            yield stars
            assert stars.status().num_unexpected_errors == 0
        launcher_process.stop(settings.run_dir)


def text_of(name: str, folder: Path) -> Path:
    folder.mkdir()
    words = TEXTS[name].split()
    for number in range(12):
        lines = (" ".join(words[k:] + words[:k]) + f" {number * k}" for k in range(len(words)))
        (folder / f"{number}.txt").write_text("\n".join(lines))
    return folder


def say(stars: Client, kernel: str) -> str:
    return stars.ask(PROMPTS["mail"], kernel=kernel, tokens_max=12, temperature=0.0).text


def alone(artifacts: Path, kernel: str) -> str:
    coordizer = Coordizer.load(artifacts / "coordizer")
    decoder = open_kernel(artifacts / "kernels" / kernel).decoder
    sampling = Sampling(tokens_max=12, temperature=0)
    prompt = coordizer.encode(PROMPTS["mail"]).tolist()
    generation = Generation(decoder, prompt, sampling, END_ID)
    while generation.step() is not None:
        pass
    return coordizer.decode(generation.produced).decode(errors="replace")


def test_adapters_come_with_their_base_change_and_go(
    own: Path, stars: Client, tmp_path: Path
) -> None:
    shutil.copytree(own / "kernels" / "mail", tmp_path / "base")
    base = load_kernel(tmp_path / "base")
    said = {name: say(stars, name) for name in PROMPTS}
    store = ReleaseStore(own)
    served = store.read_current().content_sha256
    for seed, name in enumerate(TEXTS):
        adapted = disturbed(attach(base.decoder, LoraConfig(rank=2 + seed)), seed)
        save_adapter(tmp_path / name, adapted, base=base, base_folder=tmp_path / "base")
        text = text_of(name, tmp_path / f"{name}-text")
        new = make_kernel(own, name, tmp_path / name, text, lambda event: None)
        assert join(own, new, stars).changed.joined == (name,)
    shutil.rmtree(tmp_path / "base")
    for name in (*TEXTS, *PROMPTS):
        assert say(stars, name) == alone(own, name)
    assert len({kernel.pid for kernel in stars.status().kernels}) == 1
    assert [path.name for path in (own / "bases").iterdir()] == [base.weights_hash]

    folder, joined = own / "kernels" / "poems", store.current()
    before, whole = say(stars, "poems"), (folder / ADAPTER_FILE).read_bytes()
    rewrite(own, {"poems": {ADAPTER_FILE: whole[:-1]}})
    with pytest.raises(ReloadRefused, match="adapter"):
        stars.reload()
    assert say(stars, "poems") == before
    kept = load_base(own / "kernels" / "forge")
    other = disturbed(attach(kept.decoder, LoraConfig(rank=3)), 9)
    save_adapter(folder, other, base=kept, base_folder=own / "bases" / kept.weights_hash)
    rewrite(own, {"poems": {ADAPTER_FILE: (folder / ADAPTER_FILE).read_bytes()}}, parent=joined)
    assert stars.reload().reloaded == ("poems",)
    assert say(stars, "poems") == alone(own, "poems") != before

    for name in TEXTS:
        stars.retire(name)
    assert {name: say(stars, name) for name in PROMPTS} == said
    assert store.read_current().content_sha256 == served
