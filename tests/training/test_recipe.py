"""Recipes: what is refused and what is documented."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from constellation.errors import ConfigError
from training.recipe import RECIPES, Recipe, load_recipe

STAGES = """
[seed_stage]
steps = 3
batch_size = 2
learning_rate = 1e-3
[branch_stage]
steps = 2
batch_size = 2
learning_rate = 1e-3
"""


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "r.toml"
    path.write_text(text)
    return load_recipe(path)


def test_every_shipped_recipe_loads_by_its_name() -> None:
    names = [path.stem for path in RECIPES.glob("*.toml")]
    assert "starter" in names
    for name in names:
        assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'x'\ncolour = 3\n" + STAGES, r"colour: Extra inputs"),
        ("name = 'x'\n[corpus]\npath = 'a'\n" + STAGES, r"corpus\.path: Extra inputs"),
        ("name = 'x'\n" + STAGES.replace("steps = 3", "steps = 0"), r"seed_stage\.steps"),
        ("name = 'x'\n" + STAGES.replace("1e-3", "nan"), r"seed_stage\.learning_rate"),
        ("name = 'x'\n[kernel]\npreset = 'huge'\n" + STAGES, r"kernel.*'huge'.*spark"),
        ("name = 'x'\n[coordizer]\nvocab_size = 9\n" + STAGES, r"coordizer\.vocab_size"),
        ("name = '../x'\n" + STAGES, r"name"),
        (STAGES, r"name: Field required"),
        ("name = 'x'", r"seed_stage: Field required; branch_stage: Field required"),
        ("name = ", r"is not TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_missing_recipe_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no recipe.*starter"):
        load_recipe(tmp_path / "none.toml")


def test_every_key_is_documented() -> None:
    def undocumented(model: type[BaseModel]) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            inner = field.annotation
            if not field.description:
                found.append(f"{model.__name__}.{name}")
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += undocumented(inner)
        return found

    assert undocumented(Recipe) == []


def test_the_key_of_a_recipe_changes_only_with_its_sections(tmp_path: Path) -> None:
    one = load(tmp_path, "name = 'x'\n" + STAGES)
    two = load(tmp_path, "name = 'x'\n[workers]\nnum_workers = 5\n" + STAGES)
    assert one.key("seed_stage") == two.key("seed_stage")
    assert one.key() != two.key()
