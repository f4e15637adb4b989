"""A deployment of small kernels in one process."""

from pathlib import Path

import pytest

from actors.spec import DeploymentSpec
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from tests.actors.groups import STACKED, one_process, save
from tests.coordizer.corpora import DOCUMENTS, LABELS


@pytest.fixture(scope="session")
def coordizer() -> Coordizer:
    return train_coordizer(DOCUMENTS, LABELS, vocab_size=300)


@pytest.fixture
def spec(tmp_path: Path, coordizer: Coordizer) -> DeploymentSpec:
    """Write three kernels that can be stacked and two that cannot."""
    spec = one_process(tmp_path, coordizer)
    for seed, name in enumerate(STACKED):
        save(spec, coordizer, name, seed=seed)
    save(spec, coordizer, "recurrent", seed=7, recurrent_layers=(0,), loops_max=3)
    save(
        spec, coordizer, "adaptive", seed=8, recurrent_layers=(1,), loops_max=6, depth_threshold=0.3
    )
    spec.run_dir.mkdir()
    return spec
