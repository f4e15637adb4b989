"""The kernel section of a recipe composes with every preset, and refuses what no kernel can be."""

import pytest
from pydantic import ValidationError

from constellation.kernel.network.config import PRESETS, KernelConfig
from training.plan import kernel_config
from training.recipe import KernelSection


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_alone_changes_its_vocabulary_only(preset: str) -> None:
    """Also where the preset's own vocabulary is far smaller than a coordizer's."""
    config = kernel_config(KernelSection(preset=preset), 4096)
    expected = PRESETS[preset].to_dict() | {"vocab_size": 4096}
    assert config.to_dict() == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_every_key_of_the_section_reaches_the_kernel(preset: str) -> None:
    changes = {
        "context": 32,
        "attention": "qfi",
        "width": 32,
        "num_layers": 3,
        "num_heads": 2,
        "mlp_width": 40,
        "running_coupling": True,
        "beta_frozen": 0.1,
        "recurrent_layers": (0, 2),
        "loops_min": 4,
        "loops_max": 6,
        "depth_threshold": 0.05,
        "basin_outcomes": 64,
    }
    assert set(KernelSection.model_fields) == {"preset", *changes}
    config = kernel_config(KernelSection(preset=preset, **changes), 300)  # type: ignore[arg-type]
    assert (
        KernelConfig.from_dict(PRESETS[preset].to_dict() | changes | {"vocab_size": 300}) == config
    )


def test_recursion_can_be_switched_off() -> None:
    section = KernelSection(preset="qig-recursive-100m", recurrent_layers=())
    assert kernel_config(section, 50_257).num_parameters() == 123_551_520


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "huge"}, "huge"),
        ({"width": 30}, "multiple of twice num_heads"),
        ({"recurrent_layers": (4,)}, "recurrent_layers"),
        ({"preset": "qig-recursive-100m", "num_layers": 4}, "recurrent_layers"),
        ({"recurrent_layers": (0,), "loops_min": 5}, "loops_max"),
        ({"depth_threshold": 0.1}, "needs recurrent_layers"),
        ({"running_coupling": False, "beta_frozen": 0.1}, "beta_frozen needs"),
        ({"basin_outcomes": 1}, "basin_outcomes"),
        ({"loops_min": 2}, "loops_min"),
    ],
)
def test_what_no_kernel_can_be_is_refused_when_the_recipe_is_read(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        KernelSection.model_validate(changes)
