"""The starter as a new user meets it: where held-out text and every documented example go.

Nothing is trained but the coordizer: routes need no kernel. What it learns from is the real text.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from cluster.cli.main import app
from cluster.quickstart import QUESTIONS
from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.prepare import PreparedCorpus
from constellation.domains.fit import FitOptions, fit_table
from constellation.routing.policy import RoutingPolicy
from training.domain_records import domain_records
from training.evaluation.held_out_figures import PREFIX_TOKENS
from training.recipe_file import load_recipe
from training.text_preparation import make_coordizer, make_corpus

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

GOES_TO = {
    "#include <vector>": "cpp",
    "Permission is hereby granted": "licences",
    "the Riemann zeta function": "mathematics",
    'syntax = "proto3";': "protobuf",
    "import asyncio": "python",
    "def read_header(self):": "python",
    "The with statement is used to wrap the execution of a block with": "reference",
    "GREEK SMALL LETTER ALPHA": "unicode",
}
"""Text of an example -> the domain where an outsider expects it."""

ELSEWHERE = {"What is a comet?", "abc>"}
"""Examples for kernels that the starter does not have."""

EXAMPLE = re.compile(
    r"""constellation\ (?:ask|route|chat|coordize\ encode)\ (?:--?[\w-]+\ [\w.]+\ )*'([^']+)'
    |constellation\ (?:ask|route)\ (?:--?[\w-]+\ [\w.]+\ )*"([^"]+)"
    |\.(?:ask|stream|score|route)\(\s*["']((?:[^"'\\]|\\.)+)["']
    |"(?:content|prompt|input)":\s*"((?:[^"\\]|\\.)+)\"""",
    re.VERBOSE,
)
SAID = re.compile(r"#\s*(?:goes )?to (\w+)")


@dataclass(frozen=True)
class Trained:
    corpus: PreparedCorpus
    coordizer: Coordizer
    policy: RoutingPolicy

    def route(self, text: str, tokens_max: int | None = None) -> str:
        ids = self.coordizer.encode(text)[:tokens_max]
        return self.policy.decide(self.coordizer.basin(ids), num_tokens=len(ids)).kernel


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder, recipe = tmp_path_factory.mktemp("starter"), load_recipe("starter")
    corpus = make_corpus(recipe.corpus, folder / "corpus", seed=recipe.seed)
    coordizer, _ = make_coordizer(
        recipe.coordizer, corpus, folder / "coordizer", folder / "tokens", seed=recipe.seed
    )
    options = FitOptions(seed=recipe.seed, basins_max=recipe.routing.basins_max)
    fitted = fit_table(domain_records(corpus, coordizer, {}), coordizer, options)
    return Trained(corpus, coordizer, RoutingPolicy(fitted.table))


def examples(text: str) -> list[tuple[str, str | None]]:
    """Return the examples in a text, each with the domain that its line names, if it names one."""
    found = []
    for match in EXAMPLE.finditer(text):
        example = next(group for group in match.groups() if group)
        rest = text[match.end() :].partition("\n")[0]
        said = SAID.search(rest)
        found.append((example.replace("\\n", "\n").replace('\\"', '"'), said and said[1]))
    return found


def strings_of_the_commands() -> Iterator[str]:
    """Yield all that commands and `make run` may print, and their help."""
    for path in sorted((ROOT / "cluster").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    yield typer.main.get_command(app).epilog or ""


def documented() -> dict[str, list[tuple[str, str | None]]]:
    found = {
        path.relative_to(ROOT).as_posix(): examples(path.read_text(encoding="utf-8"))
        for path in DOCUMENTS
    }
    found["commands"] = [each for text in strings_of_the_commands() for each in examples(text)]
    return found


def test_examples_are_found_with_what_their_line_says() -> None:
    assert examples("constellation ask --kernel x 'a b' --explain  # goes to python\n") == [
        ("a b", "python")
    ]
    assert examples('c.stream("a\\nb", n=1)\n{"content": "x \\"y\\""}') == [
        ("a\nb", None),
        ('x "y"', None),
    ]
    found = documented()
    assert len(found["README.md"]) >= 5
    assert len(found["docs/http.md"]) >= 1
    assert len(found["commands"]) >= 5


@pytest.mark.slow
def test_every_documented_example_goes_where_an_outsider_expects_it(trained: Trained) -> None:
    shown = {each for found in documented().values() for each in found}
    for text, said in shown:
        if text not in ELSEWHERE:
            assert text in GOES_TO, "say in this file where it belongs"
            assert trained.route(text) == GOES_TO[text], text
            assert said in (None, GOES_TO[text]), text


def test_the_questions_of_make_run_go_to_their_domains(trained: Trained) -> None:
    assert len(QUESTIONS) == 3
    for domain, text in QUESTIONS:
        assert trained.route(text) == domain


def test_held_out_documents_arrive_at_their_own_kernel(trained: Trained) -> None:
    """As `make run` counts them: by their first tokens, those too short to score left out."""
    total, right = Counter[str](), Counter[str]()
    for document in trained.corpus.test:
        if len(trained.coordizer.encode(document.text)) >= 2 * PREFIX_TOKENS:
            total[document.domain] += 1
            right[document.domain] += trained.route(document.text, PREFIX_TOKENS) == document.domain
    assert right.total() / total.total() >= 0.95
    assert {name for name in total if right[name] / total[name] < 0.85} == set()
