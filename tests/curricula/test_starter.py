"""The starter corpus on the Python that runs the tests."""

import importlib.metadata
import importlib.util
import re
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation.curricula import starter
from constellation.curricula.corpus import Corpus
from constellation.curricula.prepare import PrepareConfig, prepare
from constellation.curricula.split import SplitConfig
from constellation.errors import CorpusError
from training.recipe_file import RECIPES, load_recipe

DOMAINS = (
    "cpp",
    "licences",
    "mathematics",
    "protobuf",
    "python",
    "reference",
    "unicode",
    "yaml",
)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return starter.starter_corpus()


@pytest.mark.slow
def test_recipes_that_merge_its_domains_name_those_that_are_there(corpus: Corpus) -> None:
    sections = [load_recipe(path).corpus for path in RECIPES.glob("*.toml")]
    merges = [section.merge for section in sections if section.merge and not section.paths]
    assert merges
    for merge in merges:
        assert corpus.merged(merge).domains == tuple(sorted(merge))


def texts(corpus: Corpus, domain: str) -> list[str]:
    return [document.text for document in corpus.documents if document.domain == domain]


def test_it_has_eight_domains_of_real_size_on_this_machine(corpus: Corpus) -> None:
    assert corpus.domains == DOMAINS == tuple(starter.ORIGINS)
    for name in DOMAINS:
        assert len("".join(texts(corpus, name)).encode()) >= starter.DOMAIN_BYTES_MIN


def test_no_source_feeds_two_domains_or_is_read_twice(corpus: Corpus) -> None:
    sources = [document.source.removesuffix(":docs") for document in corpus.documents]
    assert len(set(sources)) == len(sources)


@pytest.mark.slow
def test_all_of_it_is_used_but_copies_and_every_domain_has_twenty_held_out_documents(
    corpus: Corpus,
) -> None:
    section = load_recipe("starter").corpus
    assert section.domain_bytes_max is None
    split = SplitConfig(dev_share=section.dev_share, test_share=section.test_share)
    prepared = prepare(corpus, PrepareConfig(split=split))
    assert prepared.manifest["num_over_cap"] == 0
    for name in ("train", "dev", "test"):
        assert {d.domain for d in prepared.of_split(name)} == set(DOMAINS)
    held_out = [document.domain for document in prepared.test]
    assert {name: held_out.count(name) for name in DOMAINS if held_out.count(name) < 20} == {}


def test_code_comes_without_comments_and_docstrings(corpus: Corpus) -> None:
    assert not re.search(r"^\s*//|STABLE_ONLY", "\n".join(texts(corpus, "cpp")), re.MULTILINE)
    assert not re.search(r"^\s*#", "\n".join(texts(corpus, "yaml")), re.MULTILINE)
    assert not re.search(r"Licensed under|Copyright \d", "\n".join(texts(corpus, "protobuf")))
    source = '"""Words."""\n\ndef f(x):\n    """More.\n\n    Words.\n    """\n    return x\n'
    assert starter._without_docstrings(source) == "\ndef f(x):\n    return x\n"


def test_a_docstring_that_is_a_whole_body_stays() -> None:
    source = 'class Error(Exception):\n    """Words."""\n'
    assert starter._without_docstrings(source) == source


def test_the_reference_comes_without_code_and_grammar() -> None:
    topic = (
        'Loops\n*****\n\n   while_stmt ::= "while" expression\n\nA loop repeats. For example:\n\n'
        "   while x:\n       x -= 1\n\n   print(x)\n\nThen it ends.\n\n   A quoted sentence.\n\n"
        ">>> 1 + 1. \n"
    )
    prose = "A loop repeats. For example:\n\nThen it ends.\n\n   A quoted sentence."
    assert starter._prose(topic) == prose


def requirements(names: Iterator[str] | list[str]) -> set[str]:
    """Return the distributions that these requirements bring, without any extra but their own."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        needed = todo.pop()
        name, extras = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]*)\])?.*", needed).groups()  # type: ignore[union-attr]
        if f"{name}[{extras}]".lower() in found:
            continue
        found |= {f"{name}[{extras}]".lower(), name.lower()}
        try:
            inner = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system or Python
        for text in inner:
            requirement, _, marker = text.partition(";")
            wanted = re.findall(r"extra\s*==\s*['\"]([\w-]+)", marker)
            if not wanted or set(wanted) & set((extras or "").split(",")):
                todo.append(requirement.strip())
    return found


def test_every_package_that_it_reads_is_needed_to_run() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = requirements(project["dependencies"])
    assert "pytest" not in brought
    assert set(starter.LICENCES) <= brought
    files = {"torch": "torch", "torchgen": "torch", "google": "googleapis-common-protos"}
    tables = (*starter.CPP, *starter.MATHEMATICS, *starter.PROTOBUF, *starter.YAML)
    assert {files.get(package, package).lower() for package, _ in tables} <= brought


@pytest.mark.slow
def test_a_python_without_its_library_gets_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(CorpusError, match=r"python 0, from.*standard library.*corpus\.paths"):
        starter.starter_corpus()


@pytest.mark.slow
def test_a_package_without_its_text_gets_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    with pytest.raises(CorpusError, match=r"cpp 0, from.*torch.*each needs 100000.*corpus\.paths"):
        starter.starter_corpus()


def test_a_file_that_cannot_be_read_is_named_and_bytes_that_are_no_utf_8_are_replaced(
    tmp_path: Path,
) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        starter._read(tmp_path)
    (tmp_path / "LICENSE").write_bytes(b"Copyright \xa9 us")
    assert starter._read(tmp_path / "LICENSE") == "Copyright \ufffd us"
