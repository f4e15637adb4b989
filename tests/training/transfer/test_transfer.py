"""Runs that take over from other models: branches as adapters, soft targets of a teacher."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus_store import load_prepared
from constellation.errors import ConfigError
from constellation.kernel.adapters.adapter_file import ADAPTER_FILE, read_adapter
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.wire.table_file import load_table
from tests.training import tiny
from training.loop.objective import Objective, ObjectiveConfig
from training.loop.step import Alone
from training.pipeline import TrainingResult, train
from training.plan import make_plan
from training.progress.events import OnEvent
from training.recipe import Recipe
from training.recipe_transfer import DistilSection
from training.runs.training_plan import TrainingPlan
from training.runs.worker import is_finished, train_share
from training.transfer.distil import SoftTargets, soft_target_nats
from training.transfer.embeddings import project_embedding

pytestmark = pytest.mark.slow


STOCKS = {"sea": "wave tide salt harbour anchor gull", "bake": "flour yeast oven crust knead salt"}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    source = random.Random(0)
    for domain, stock in STOCKS.items():
        (folder / domain).mkdir()
        for i in range(12):
            lines = (" ".join(source.choices(stock.split(), k=9)) for _ in range(20))
            (folder / domain / f"{i}.txt").write_text("\n".join(lines) + "\n")
    return folder


def recipe(text: Path, **changes: object) -> Recipe:
    values: dict[str, object] = {
        "name": "tiny",
        "corpus": {"paths": [str(text)]},
        "coordizer": {"vocab_size": 300},
        "kernel": {"width": 16, "num_layers": 1, "num_heads": 2, "mlp_width": 32, "context": 64},
        "seed_stage": {"steps": 20, "batch_size": 4, "learning_rate": 1e-2},
        "branch_stage": {"steps": 30, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 2},
    }
    return Recipe.model_validate({**values, **changes})


def alone(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    plan = TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert train_share(plan, Alone())
    assert all(is_finished(plan, name) for name in plan.names)


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """Return a run of whole kernels. Do not change it."""
    return train(recipe(text), tmp_path_factory.mktemp("run") / "out", trainer=alone)


@pytest.fixture
def out(whole: TrainingResult, tmp_path: Path) -> Path:
    shutil.copytree(whole.out, tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize(
    "section", [{"kind": "coordinate", "num_coordinates": 16}, {"kind": "lora", "rank": 2}]
)
def test_branches_can_be_adapters_on_the_seed(
    text: Path, out: Path, section: dict[str, object]
) -> None:
    """In a folder where whole kernels lay: none is left."""
    result = train(recipe(text, adapter=section), out, trainer=alone)
    seed = load_kernel(out / "seed")
    for name in result.kernels:
        folder = out / "kernels" / name
        assert [path.name for path in folder.iterdir()] == [ADAPTER_FILE]
        assert read_adapter(folder).base_hash == seed.weights_hash
        assert result.report["kernels"][name]["adapter_parameters"] < 4000
        adapted, base = open_kernel(folder).decoder.state_dict(), seed.decoder.state_dict()
        assert all(torch.equal(adapted[key], tensor) for key, tensor in base.items())
    bits = result.report["held_out"]["bits_per_byte"]
    assert bits["constellation"] < bits["seed"]
    assert {site.name for site in load_table(out / "table.msgpack").sites} == set(result.kernels)


def test_branches_of_a_run_know_their_base(whole: TrainingResult) -> None:
    seed = load_kernel(whole.out / "seed")
    assert seed.facts["base_sha256"] is None
    for name in whole.kernels:
        kernel = load_kernel(whole.out / "kernels" / name)
        assert kernel.facts["base_sha256"] == seed.weights_hash


def test_a_run_learns_from_a_teacher(text: Path, whole: TrainingResult, out: Path) -> None:
    """A teacher that knows nothing: text alone leads away from it, soft targets towards it."""
    untaught = load_kernel(whole.out / "seed")
    config = KernelConfig.from_dict({**untaught.config.to_dict(), "init_std": 0.3})
    teacher = out.parent / "teacher"
    save_kernel(teacher, Decoder(config, seed=7), tokenizer_hash=untaught.tokenizer_hash, facts={})
    made = recipe(text, distil={"teacher": str(teacher), "weight": 1.0})
    taught = load_kernel(train(made, out, trainer=alone).out / "seed")
    tokens = torch.from_numpy(np.load(out / "tokens" / "seed.dev.npy")[:512]).long().view(-1, 64)

    @torch.no_grad()
    def nats(student: Decoder) -> float:
        theirs = load_kernel(teacher).decoder(tokens).flatten(0, 1)
        return float(soft_target_nats(student(tokens).flatten(0, 1), theirs, 2.0).mean())

    assert nats(taught.decoder) < 0.8 * nats(untaught.decoder)


def test_another_teacher_is_another_run(text: Path, whole: TrainingResult, tmp_path: Path) -> None:
    corpus = load_prepared(whole.out / "corpus")
    coordizer = Coordizer.load(whole.out / "coordizer")

    def key(**changes: object) -> str:
        return make_plan(recipe(text, **changes), whole.out, corpus, coordizer, "").key

    shutil.copytree(whole.out / "seed", tmp_path / "teacher")
    near, far = ({"teacher": str(path / "seed")} for path in (whole.out, tmp_path))
    (tmp_path / "teacher").rename(tmp_path / "seed")
    weak, adapted = {**near, "weight": 0.1}, {"kind": "lora"}
    keys = [key(), key(distil=near), key(distil=far), key(distil=weak), key(adapter=adapted)]
    assert len(set(keys)) == 5
    assert key(distil=near) == keys[1]
    (tmp_path / "seed" / "more").write_text("another file")
    assert key(distil=far) != keys[2]
    with pytest.raises(ConfigError, match="is no folder"):
        key(distil={"teacher": str(tmp_path / "none")})


def test_a_run_takes_an_embedding_over(text: Path, whole: TrainingResult, out: Path) -> None:
    """Seed and branches read tokens through the same table, which no step has moved."""
    model = out.parent / "model"
    model.mkdir()
    coordizer = Coordizer.load(whole.out / "coordizer")
    coordizer.tokenizer().save(str(model / "tokenizer.json"))
    table = torch.randn(coordizer.vocab_size, 24, generator=torch.Generator().manual_seed(0))
    save_file({"wte.weight": table}, model / "model.safetensors")
    result = train(recipe(text, embedding={"folder": str(model)}), out, trainer=alone)
    expected = project_embedding(model, coordizer, width=16)
    for folder in (out / "seed", *(out / "kernels" / name for name in result.kernels)):
        frozen = load_kernel(folder).decoder.frozen_input
        assert frozen is not None
        rows, scaled = frozen[expected.known_V], expected.rows_VC[expected.known_V]
        torch.testing.assert_close(rows / rows.std(), scaled / scaled.std(), atol=1e-4, rtol=1e-3)


def test_an_adapter_needs_a_seed(text: Path) -> None:
    with pytest.raises(ValueError, match=r"\[adapter\] needs a seed_stage"):
        recipe(text, adapter={"kind": "lora"}, mode="per-actor", seed_stage=None)


def test_the_term_and_the_cross_entropy_share_the_loss() -> None:
    """(1 - w) CE + w T^2 KL, value and gradient."""
    inputs, targets = tiny.windows().batch(0, 3)
    teacher, config = tiny.decoder(1), DistilSection(teacher=Path(), weight=0.3, temperature=2.0)
    gradients = []
    for by_hand in (False, True):
        student = tiny.decoder(0)
        if by_hand:
            soft = soft_target_nats(
                student(inputs).flatten(0, 1), teacher(inputs).flatten(0, 1), 2.0
            )
            loss = 0.7 * student.loss(inputs, targets) + 0.3 * soft.mean()
        else:
            term = SoftTargets(teacher.eval().requires_grad_(False), config)
            evaluated = Objective(ObjectiveConfig(), student, soft_targets=term)(inputs, targets)
            loss = evaluated.loss
            assert evaluated.extra_E is not None
            plain = student.loss(inputs, targets).detach()
            torch.testing.assert_close(evaluated.nats, plain)
        loss.backward()
        gradients.append([loss.detach(), *(p.grad for p in student.parameters())])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)
