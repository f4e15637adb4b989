"""Recipes: what is refused and what is documented."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from constellation.curricula.corpus import ReadLimits
from constellation.errors import ConfigError
from training.recipe import Recipe
from training.recipe_file import RECIPES, load_recipe

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
        ("name = 'x'\ncolour = 3\n" + STAGES, r"colour is unknown; known here: .*seed_stage"),
        (
            "name = 'x'\n[corpus]\npath = 'a'\n" + STAGES,
            r"corpus\.path is unknown; did you mean paths\?",
        ),
        ("name = 'x'\n" + STAGES.replace("steps = 3", "steps = 0"), r"seed_stage\.steps"),
        ("name = 'x'\n" + STAGES.replace("1e-3", "nan"), r"seed_stage\.learning_rate"),
        ("name = 'x'\n[kernel]\npreset = 'huge'\n" + STAGES, r"kernel.*'huge'.*spark"),
        ("name = 'x'\n[coordizer]\nvocab_size = 9\n" + STAGES, r"coordizer\.vocab_size"),
        ("name = '../x'\n" + STAGES, r"name"),
        (STAGES, r"name is missing"),
        ("name = 'x'", r"mode branch-train needs \[branch_stage\] and \[seed_stage\]"),
        ("name = ", r"is not TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_recipe_extends_another_section_by_section(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("name = 'base'\nseed = 4\n" + STAGES)
    (tmp_path / "child.toml").write_text(
        "extends = 'base'\nname = 'child'\n[seed_stage]\nsteps = 9\n"
    )
    child = load_recipe(tmp_path / "child.toml")
    base = load_recipe(tmp_path / "base.toml")
    assert (child.name, child.seed, child.seed_stage.steps) == ("child", 4, 9)
    assert child.seed_stage.batch_size == base.seed_stage.batch_size
    assert child.branch_stage == base.branch_stage


def test_a_recipe_may_extend_a_shipped_one_but_not_itself(tmp_path: Path) -> None:
    assert load(tmp_path, "extends = 'starter'\nname = 'mine'").coordizer.vocab_size == 4096
    (tmp_path / "a.toml").write_text("extends = 'b'")
    (tmp_path / "b.toml").write_text("extends = 'a'")
    with pytest.raises(ConfigError, match="extends itself"):
        load_recipe(tmp_path / "a.toml")


def test_changes_come_last_and_are_checked_like_the_rest() -> None:
    changed = load_recipe("starter", ["seed_stage.steps=7", "name=mine", "corpus.paths=['a','b']"])
    assert (changed.seed_stage.steps, changed.name) == (7, "mine")
    assert changed.corpus.paths == (Path("a"), Path("b"))
    with pytest.raises(ConfigError, match=r"seed_stage\.steps"):
        load_recipe("starter", ["seed_stage.steps=0"])
    for wrong in ("steps", "=3", "a b=1"):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            load_recipe("starter", [wrong])


def test_slips_of_the_pen_are_answered_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "name = 'x'\nmod = 'y'\n" + STAGES.replace("steps = 3", "stepps = 3"))
    said = str(caught.value)
    assert "mod is unknown; did you mean mode?" in said
    assert "seed_stage.stepps is unknown; did you mean steps?" in said
    assert "seed_stage.steps is missing" in said
    with pytest.raises(ConfigError, match=r"did you mean starter\?"):
        load_recipe("startr")


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


SEED_STAGE, BRANCH_STAGE = STAGES.split("[branch_stage]")
BRANCH_STAGE = "[branch_stage]" + BRANCH_STAGE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode = 'synchronized'\n" + STAGES, r"does not use \[branch_stage\]; remove"),
        ("mode = 'synchronized'\n" + BRANCH_STAGE, r"mode synchronized needs \[seed_stage\]"),
        ("mode = 'per-actor'\n" + SEED_STAGE, r"mode per-actor needs \[branch_stage\]"),
        (BRANCH_STAGE, r"mode branch-train needs \[seed_stage\]"),
        ("mode = 'other'\n" + STAGES, r"mode is 'other'; allowed: .*'per-actor'"),
        ("[workers]\nworkers_per_kernel = 2\n" + STAGES, r"is for mode per-actor"),
        ("[workers]\nelastic_min_workers = 1\n" + STAGES, r"is for mode synchronized"),
        (
            "mode = 'synchronized'\n[workers]\nelastic_min_workers = 3\n" + SEED_STAGE,
            r"is 3, above num_workers 2",
        ),
        ("[budget]\ncost = 2.0\n" + STAGES, r"budget.*cost needs price_per_hour"),
        ("[budget]\ntokens = 0\n" + STAGES, r"budget\.tokens"),
        ("[workers]\nmemory_limit_gb = 0\n" + STAGES, r"workers\.memory_limit_gb"),
    ],
)
def test_a_mode_needs_its_stages_and_refuses_what_it_does_not_use(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, "name = 'x'\n" + text)


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("branch-train", STAGES),
        ("synchronized", SEED_STAGE),
        ("per-actor", STAGES),
        ("per-actor", BRANCH_STAGE),
    ],
)
def test_every_mode_takes_its_stages(tmp_path: Path, mode: str, text: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text("name = 'x'\n" + text)
    assert load_recipe(path, [f"mode={mode}"]).mode == mode


def test_a_byte_order_mark_at_the_start_of_a_recipe_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbf" + b'extends = "starter"\nname = "marked"\n')
    assert load_recipe(tmp_path / "r.toml").name == "marked"


def test_a_path_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    changed = load_recipe("starter", ['corpus.paths=["~/texts", "here"]'])
    assert changed.corpus.paths == (tmp_path / "texts", Path("here"))
    with pytest.raises(ConfigError, match=r"corpus\.paths: .*nobody-of-this-name"):
        load_recipe("starter", ['corpus.paths=["~nobody-of-this-name/texts"]'])


def test_a_recipe_says_what_reading_tolerates() -> None:
    changes = [
        "corpus.skips_max=3",
        "corpus.file_bytes_max=1000",
        "corpus.unread_share_max=0.5",
        'corpus.text_column="body"',
    ]
    limits = load_recipe("starter", changes).corpus.limits
    assert limits == ReadLimits(
        skips_max=3, file_bytes_max=1000, unread_share_max=0.5, text_column="body"
    )
    assert load_recipe("starter").corpus.limits.unread_share_max == 0.01
