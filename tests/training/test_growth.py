"""One more kernel for a finished run: trained from its seed or brought along, and what it costs."""

import random
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from cluster.kernel_changes import join
from constellation.curricula.corpus_store import load_prepared
from constellation.errors import (
    ArtifactError,
    ConfigError,
    CorpusError,
    IncompatibleKernels,
    InvalidRequest,
    TrainingError,
)
from constellation.kernel.adapters.adapter_file import save_adapter
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.files.transformers_folder import check_model
from constellation.kernel.network.decoder import Decoder
from constellation.releases.builder import domain_path
from constellation.releases.store import ReleaseStore
from tests.support.hugging_face import build_model, qwen2
from tests.training.served import content, leave, release, sites
from tests.training.test_pipeline import alone, recipe
from training.evaluation.new_kernel_cost import (
    DocumentReader,
    Routing,
    growth_cost,
    routing_of,
    token_reader,
)
from training.ledger import file_sha256
from training.loop.step import Alone
from training.new_kernel import import_new, take_back, train_new
from training.pipeline import train
from training.progress.events import OnEvent
from training.recipe import Recipe
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_share

pytestmark = pytest.mark.slow

STOCKS = {
    "sea": "wave tide salt harbour anchor gull keel drift storm sail".split(),  # noqa: SIM905
    "bake": "flour yeast oven crust knead rise butter loaf sugar salt".split(),  # noqa: SIM905
    "stars": "orbit comet lens dust nebula pulsar light drift mass ring".split(),  # noqa: SIM905
}
FORGE = "anvil hammer tongs bellows iron ember rivet steel quench rasp".split()  # noqa: SIM905


def write(folder: Path, stock: list[str], *, files: int = 12) -> Path:
    source = random.Random(0)
    folder.mkdir(parents=True)
    for number in range(files):
        lines = (" ".join(source.choices(stock, k=9)) for _ in range(30))
        (folder / f"{number}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("new") / "forge", FORGE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    for domain, stock in STOCKS.items():
        write(folder / "text" / domain, stock)
    branch = {"steps": 30, "batch_size": 2, "learning_rate": 1e-2, "replay_share": 0.2}
    wanted = recipe(folder / "text", branch_stage=branch)
    return train(wanted, folder / "out", trainer=alone).out


@pytest.fixture
def artifacts(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "out")
    return tmp_path / "out"


def files(artifacts: Path) -> dict[str, str]:
    """Return the hash of every file of a run but locks and views, which are made on reading."""
    found = (path for path in sorted(artifacts.rglob("*")) if path.is_file())
    named = {path.relative_to(artifacts).as_posix(): path for path in found}
    return {
        name: file_sha256(path)
        for name, path in named.items()
        if not re.match(r"releases/\d+/", name) and not name.endswith(".lock")
    }


def record_file(artifacts: Path, name: str) -> bytes:
    """Return the record of text by which a kernel can join."""
    return domain_path(artifacts, name).read_bytes()


def routing(artifacts: Path) -> Routing:
    return routing_of(ReleaseStore(artifacts).current_folder())


def test_a_new_domain_gets_a_kernel_and_costs_the_others_nothing(
    artifacts: Path, forge: Path
) -> None:
    before = files(artifacts)
    new = train_new(artifacts, "forge", forge, trainer=alone)
    after = files(artifacts)
    assert {name: after[name] for name in before} == before, "what was there is what it was"
    kernel, seed = (load_kernel(artifacts / folder) for folder in ("kernels/forge", "seed"))
    assert kernel.facts["base_sha256"] == seed.weights_hash
    assert kernel.weights_hash != seed.weights_hash
    assert not (artifacts / "checkpoints").exists()
    added = join(artifacts, new, None)
    assert added.others is not None
    assert added.others.num_documents >= 3
    assert added.others.ratio <= 1.005
    assert added.own is not None
    assert added.own.num_moved == added.own.num_documents
    assert added.own.after < added.own.before
    assert own_bits(artifacts, "forge") < own_bits(artifacts, "sea")
    leave(artifacts, "forge")
    store = ReleaseStore(artifacts)
    assert content(artifacts) == store.read(1).content_sha256, "to the bit what was served"


def own_bits(artifacts: Path, name: str) -> float:
    """Return bits per byte of the new domain's held-out text under one kernel."""
    whole = routing(artifacts)
    only = tuple(site for site in whole.table.sites if site.name == name)
    alone_in = replace(whole, table=replace(whole.table, sites=only))
    found = growth_cost(
        load_prepared(artifacts / "added" / "forge").test,
        before=alone_in,
        after=alone_in,
        kernel=lambda name: token_reader(load_kernel(artifacts / "kernels" / name).decoder),
    )
    assert found is not None
    return found.after


def test_what_is_served_changes_when_a_kernel_joins_and_not_when_it_is_made(
    artifacts: Path, forge: Path
) -> None:
    before = release(artifacts)
    new = train_new(artifacts, "forge", forge, trainer=alone)
    assert release(artifacts) == before
    assert list(sites(artifacts)) == sorted(STOCKS)
    join(artifacts, new, None)
    assert list(sites(artifacts)) == sorted([*STOCKS, "forge"])
    assert len({site.seat for site in sites(artifacts).values()}) == 4
    assert release(artifacts).parent == before.version


def test_the_same_text_gives_the_same_kernel_and_a_finished_one_is_not_trained_again(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    train_new(artifacts, "forge", forge, trainer=alone)
    first = load_kernel(artifacts / "kernels" / "forge").weights_hash
    known = record_file(artifacts, "forge")

    def nobody(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        raise AssertionError("it is finished")

    train_new(artifacts, "forge", forge, trainer=nobody)
    assert record_file(artifacts, "forge") == known
    other = write(tmp_path / "other", [*FORGE[:5], *STOCKS["sea"][:5]])
    train_new(artifacts, "forge", other, trainer=alone)
    assert load_kernel(artifacts / "kernels" / "forge").weights_hash != first
    assert record_file(artifacts, "forge") != known
    train_new(artifacts, "forge", forge, trainer=alone)
    assert load_kernel(artifacts / "kernels" / "forge").weights_hash == first
    assert record_file(artifacts, "forge") == known


def test_a_stopped_training_goes_on_to_the_same_weights(
    artifacts: Path, trained: Path, forge: Path, tmp_path: Path
) -> None:
    asked = iter(range(1000))

    def stopping(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        train_share(plan, Alone(), should_stop=lambda: next(asked) == 12)

    with pytest.raises(TrainingError, match="same command"):
        train_new(artifacts, "forge", forge, trainer=stopping)
    train_new(artifacts, "forge", forge, trainer=alone)
    shutil.copytree(trained, tmp_path / "straight")
    train_new(tmp_path / "straight", "forge", forge, trainer=alone)
    one, two = (
        load_kernel(out / "kernels" / "forge") for out in (artifacts, tmp_path / "straight")
    )
    assert one.weights_hash == two.weights_hash


def test_the_measure_sees_a_kernel_that_draws_text_and_writes_it_badly(artifacts: Path) -> None:
    """An ignorant kernel in the place of the sea's costs what it is worse by, and nothing else."""
    before = routing(artifacts)
    renamed = (
        replace(site, name="shore") if site.name == "sea" else site for site in before.table.sites
    )
    config = load_kernel(artifacts / "seed").config
    corpus = load_prepared(artifacts / "corpus")
    documents = [*corpus.dev, *corpus.test, *corpus.train[::2]]

    def kernel(name: str) -> DocumentReader:
        if name == "shore":
            return token_reader(Decoder(config, seed=5).eval())
        return token_reader(load_kernel(artifacts / "kernels" / name).decoder)

    paid = growth_cost(
        documents,
        before=before,
        after=replace(before, table=replace(before.table, sites=tuple(renamed))),
        kernel=kernel,
    )
    assert paid is not None
    assert 0 < paid.num_moved < paid.num_documents
    assert paid.ratio > 1.05
    assert paid.interval is not None
    assert 0 < paid.interval[0] < paid.after - paid.before < paid.interval[1]


def test_a_removed_kernel_comes_back_with_another_text(artifacts: Path, tmp_path: Path) -> None:
    leave(artifacts, "sea")
    text = write(tmp_path / "sea", [*STOCKS["sea"], *FORGE[:2]])
    with pytest.raises(ConfigError, match="take it back"):
        train_new(artifacts, "sea", text, trainer=alone)
    weights = load_kernel(artifacts / "kernels" / "sea").weights_hash
    before = content(artifacts)
    join(artifacts, import_new(artifacts, "sea", artifacts / "kernels" / "sea", text), None)
    assert load_kernel(artifacts / "kernels" / "sea").weights_hash == weights
    assert sorted(sites(artifacts)) == sorted(STOCKS)
    assert content(artifacts) != ReleaseStore(artifacts).read(1).content_sha256
    leave(artifacts, "sea")
    assert content(artifacts) == before


def test_what_does_not_fit_is_refused(artifacts: Path, forge: Path, tmp_path: Path) -> None:
    before = files(artifacts)
    with pytest.raises(ConfigError, match="already"):
        train_new(artifacts, "sea", forge, trainer=alone)
    with pytest.raises(ConfigError, match="shared start"):
        train_new(artifacts, "seed", forge, trainer=alone)
    with pytest.raises(InvalidRequest, match="name"):
        train_new(artifacts, "../forge", forge, trainer=alone)
    with pytest.raises(CorpusError):
        train_new(artifacts, "forge", tmp_path / "nothing", trainer=alone)
    with pytest.raises(ArtifactError):
        import_new(artifacts, "forge", tmp_path / "nothing", forge)
    stranger = tmp_path / "stranger"
    shutil.copytree(artifacts / "kernels" / "sea", stranger)
    loaded = load_kernel(stranger)
    save_kernel(stranger, loaded.decoder, tokenizer_hash="0" * 64, facts={})
    with pytest.raises(IncompatibleKernels, match="forge"):
        import_new(artifacts, "forge", stranger, forge)
    assert not (artifacts / "kernels" / "forge").exists()
    assert files(artifacts) == before


def test_a_model_of_transformers_is_brought_along_and_costs_the_others_nothing(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    build_model(tmp_path / "model", partial(qwen2, context=256), seed=3)
    before = files(artifacts)
    new = import_new(artifacts, "forge", tmp_path / "model", forge)
    assert {name: digest for name, digest in files(artifacts).items() if name in before} == before
    known, served = record_file(artifacts, "forge"), content(artifacts)
    path = artifacts / "kernels" / "forge"
    assert check_model(path).weights_hash in (artifacts / "added/forge/added.json").read_text()
    added = join(artifacts, new, None)
    assert added.others is not None
    assert added.others.ratio <= 1.005
    assert added.own is not None
    assert added.own.num_moved == added.own.num_documents
    assert added.own.after > 8.0  # of a model drawn at random, in bits per byte
    with pytest.raises(IncompatibleKernels, match="forge"):
        load_kernel(path)
    leave(artifacts, "forge")
    assert content(artifacts) == served
    import_new(artifacts, "forge", path, forge)
    assert record_file(artifacts, "forge") == known


def an_adapter(artifacts: Path, folder: Path, *, seed: int = 0) -> Path:
    """Write an adapter over a copy of the run's seed that lies beside it; return its folder."""
    shutil.copytree(artifacts / "seed", folder.parent / "base", dirs_exist_ok=True)
    base = load_kernel(folder.parent / "base")
    adapted = attach(base.decoder, LoraConfig(rank=2), seed=seed)
    adapted.load({name: number + 0.1 for name, number in adapted.state().items()})
    save_adapter(folder, adapted, base=base, base_folder=folder.parent / "base")
    return folder


def test_adapters_are_brought_along_with_their_base_once(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    before = files(artifacts)
    elsewhere = an_adapter(artifacts, tmp_path / "far" / "away")
    wanted = open_kernel(elsewhere).decoder.state_dict()
    import_new(artifacts, "forge", elsewhere, forge)
    known = record_file(artifacts, "forge")
    import_new(artifacts, "smithy", an_adapter(artifacts, tmp_path / "far" / "too", seed=1), forge)
    assert {name: digest for name, digest in files(artifacts).items() if name in before} == before
    shutil.rmtree(tmp_path / "far")
    shutil.move(artifacts, tmp_path / "moved")
    moved = tmp_path / "moved"
    (kept,) = (moved / "bases").iterdir()
    assert kept.name == load_kernel(moved / "seed").weights_hash
    found = open_kernel(moved / "kernels" / "forge")
    assert all(torch.equal(found.decoder.state_dict()[key], wanted[key]) for key in wanted)
    other = open_kernel(moved / "kernels" / "smithy")
    assert other.weights_hash != found.weights_hash
    import_new(moved, "forge", moved / "kernels" / "forge", forge)
    assert record_file(moved, "forge") == known
    for name in ("forge", "smithy"):
        join(moved, take_back(moved, name), None)
    served = ReleaseStore(moved).current_folder()
    adapted = open_kernel(served / "kernels" / "forge").decoder.state_dict()
    assert all(torch.equal(adapted[key], wanted[key]) for key in wanted)
    assert list(release(moved).bases) == [kept.name]


def test_a_base_that_is_not_whole_is_copied_again(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    elsewhere = an_adapter(artifacts, tmp_path / "far" / "away")
    import_new(artifacts, "forge", elsewhere, forge)
    (kept,) = (artifacts / "bases").iterdir()
    (kept / "kernel.json").unlink()
    import_new(artifacts, "forge", elsewhere, forge)
    assert open_kernel(artifacts / "kernels" / "forge").tokenizer_hash


def test_an_adapter_that_does_not_belong_to_its_base_leaves_nothing_behind(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    elsewhere = an_adapter(artifacts, tmp_path / "far" / "away")
    shutil.copytree(artifacts / "kernels" / "sea", tmp_path / "far" / "base", dirs_exist_ok=True)
    before = files(artifacts)
    with pytest.raises(ArtifactError, match="belongs to the base"):
        import_new(artifacts, "forge", elsewhere, forge)
    shutil.rmtree(tmp_path / "far" / "base")
    with pytest.raises(ArtifactError, match="cannot be read"):
        import_new(artifacts, "forge", elsewhere, forge)
    assert files(artifacts) == before


def test_a_model_that_is_damaged_leaves_nothing_behind(
    artifacts: Path, forge: Path, tmp_path: Path
) -> None:
    build_model(tmp_path / "model", qwen2)
    (tmp_path / "model" / "config.json").write_text("{")
    before = files(artifacts)
    with pytest.raises(ArtifactError, match=r"config\.json"):
        import_new(artifacts, "forge", tmp_path / "model", forge)
    assert files(artifacts) == before


def test_a_training_that_was_stopped_keeps_its_checkpoints(artifacts: Path, forge: Path) -> None:
    stopped = artifacts / "checkpoints" / "of-another-recipe" / "sea" / "step-50"
    stopped.mkdir(parents=True)
    train_new(artifacts, "forge", forge, trainer=alone)
    assert stopped.is_dir()
    assert [path.name for path in (artifacts / "checkpoints").iterdir()] == ["of-another-recipe"]
