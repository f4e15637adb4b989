"""Generated corpora: no leakage up to renaming, forms, mixtures, files that training reads."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.curricula.logic.family_catalog import FAMILIES
from constellation.curricula.logic.formula_printer import print_compact
from constellation.curricula.logic.formula_tree import Formula, Puzzle
from constellation.curricula.logic.legacy_puzzles import LEGACY, legacy_items, overlaps
from constellation.curricula.logic.logic_corpus import CorpusPlan, write_corpus
from constellation.curricula.logic.prover import prove
from constellation.curricula.logic.puzzle_generator import Item, generate_items
from constellation.curricula.logic.puzzle_pairs import (
    Form,
    Rendering,
    Surface,
    make_pair,
    mix_pairs,
)
from constellation.curricula.logic.puzzle_parser import parse_compact, parse_puzzle
from constellation.curricula.logic.puzzle_splits import generate_splits, is_held_out, split_key
from constellation.curricula.logic.renaming import identity, rename
from constellation.curricula.logic.scaffolded_english import formula_words, scaffolded_english
from constellation.errors import ConfigError
from constellation.kernel.files.symbol_vocabulary import read_symbols
from tests.curricula.logic.puzzle_strategies import formulas, puzzles
from training.pair_files import encode_pairs, read_pairs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Item]]:
    return generate_splits(FAMILIES.values(), 750, held_out_share=0.32, seed=5)


def test_no_puzzle_of_one_split_is_in_another_up_to_renaming(splits: dict[str, list[Item]]) -> None:
    identities = [{identity(item.puzzle) for item in items} for items in splits.values()]
    keys = [{split_key(item.puzzle) for item in items} for items in splits.values()]
    for sets in (identities, keys):
        assert sum(map(len, sets)) == len(set().union(*sets))
    assert sum(map(len, splits.values())) == sum(map(len, identities))


def test_the_held_out_puzzles_are_many_and_balanced(splits: dict[str, list[Item]]) -> None:
    counts = Counter((item.family, item.answer) for item in splits["held_out"])
    for name, family in FAMILIES.items():
        of_family = [counts[name, answer] for answer in family.answers]
        if family.split is None and family.enumerate is None:
            assert sum(of_family) >= 200
            assert max(of_family) < 1.7 * min(of_family)
    assert {item.family for item in splits["longer_chains"]} == {"longer_chain"}
    assert {item.family for item in splits["new_connective"]} == {"exclusive_or"}
    assert len(splits["longer_chains"]) == len(splits["new_connective"]) == 750


def test_only_the_split_of_the_new_connective_has_this_connective(
    splits: dict[str, list[Item]],
) -> None:
    for name, items in splits.items():
        assert {"⊕" in repr(item.puzzle) for item in items} == {name == "new_connective"}


def test_no_glyph_pair_and_no_square_is_on_both_sides(splits: dict[str, list[Item]]) -> None:
    def constants(split: str, family: str) -> set[str]:
        return {
            "".join(sorted(set(repr(item.puzzle.query)) & set("★☆▲△▼▽■□◆◇♠♣♥♦♪♫☀☁☂☎✓✗✦✧")))
            or repr(item.puzzle.query)
            for item in splits[split]
            if item.family == family
        }

    for family in ("symbol_identity", "chess_square"):
        train, held_out = constants("train", family), constants("held_out", family)
        assert train
        assert held_out
        assert not train & held_out


def test_a_renamed_or_reordered_puzzle_is_on_the_same_side_which_its_text_does_not_decide() -> None:
    items = generate_items(FAMILIES["disjunction"], 60, seed=9)
    by_text = 0
    for item in items:
        letters = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
        names = dict(zip(letters, letters[::-1], strict=True))
        other = rename(Puzzle(item.puzzle.premises[::-1], item.puzzle.query), names)
        texts = (print_compact(item.puzzle), print_compact(other))
        one, two = (is_held_out(split_key(each), share=0.5) for each in (item.puzzle, other))
        assert one == two
        by_text += is_held_out(texts[0], share=0.5) != is_held_out(texts[1], share=0.5)
    assert by_text > 10  # a split by text would leak


@pytest.mark.parametrize(
    ("count", "share"), [(0, 0.2), (100_001, 0.2), (10, 0.0), (10, 1.0), (10, float("nan"))]
)
def test_numbers_out_of_range_are_refused(count: int, share: float) -> None:
    with pytest.raises(ConfigError):
        generate_splits([FAMILIES["chain"]], count, held_out_share=share, seed=0)


def item_of(text: str) -> Item:
    puzzle = parse_compact(text)
    return Item(
        family="modus_ponens",
        puzzle=puzzle,
        answer=prove(puzzle).answer,
        identity=identity(puzzle),
    )


def test_a_puzzle_is_written_in_three_forms() -> None:
    item = item_of("P→Q,P:●?Q")
    pure = make_pair(item, Rendering())
    assert (pure.prompt, pure.answer) == ("P→Q,P:●?Q", "●")
    lines = make_pair(item, Rendering(surface=Surface.LINES))
    assert lines.prompt == "P → Q\nP: ●\n?Q"
    chat = make_pair(item, Rendering(form=Form.CHAT))
    assert chat.prompt == "<|im_start|>user\nP→Q,P:●?Q<|im_end|>\n<|im_start|>assistant\n"
    english = make_pair(item, Rendering(form=Form.SCAFFOLDED, with_reason=True))
    assert english.prompt == (
        "Symbols: → if then; ● true; ◑ undetermined; ⊥ false.\n"
        "1. P→Q: if P then Q.\n"
        "2. P:●: P is true.\n"
        "Question Q: is it true that Q?\n"
        "Answer:\n"
    )
    assert english.answer == "● by modus ponens"


@given(st.lists(formulas, min_size=2, max_size=2))
def test_different_formulas_have_different_words(two: list[Formula]) -> None:
    one, other = two
    assert (formula_words(one) == formula_words(other)) == (one == other)


@given(puzzles)
def test_every_puzzle_has_an_english_rendering_with_all_its_premises(puzzle: Puzzle) -> None:
    lines = scaffolded_english(puzzle).split("\n")
    assert len(lines) == len(puzzle.premises) + 4
    assert lines[-2:] == ["Answer:", ""]


def test_every_mixture_has_the_same_puzzles_and_nested_pure_ones() -> None:
    items = generate_splits([FAMILIES["chain"]], 300, held_out_share=0.2, seed=1)["train"]
    before: set[str] = set()
    for share in (0, 0.25, 0.5, 0.6, 0.658, 0.75, 1):
        pairs = mix_pairs(items, pure_share=share, rendering=Rendering())
        assert [pair.identity for pair in pairs] == [item.identity for item in items]
        pure = {pair.identity for pair in pairs if pair.form is Form.PURE}
        assert len(pure) == round(share * len(items))
        assert before <= pure
        before = pure
    with pytest.raises(ConfigError, match="pure_share is 2"):
        mix_pairs(items, pure_share=2, rendering=Rendering())


def test_the_legacy_set_has_twenty_seven_puzzles_and_flags_of_overlap() -> None:
    assert {group: len(texts) for group, texts in LEGACY.items()} == {
        "basic": 3, "negation": 3, "and": 3, "or": 3, "chain": 3, "set": 2, "chess": 2,
        "contradiction": 2, "biconditional": 2, "quantifier": 4,
    }  # fmt: skip
    items = legacy_items()
    assert len({item.identity for item in items}) == 27
    learned = {identity(parse_puzzle("X→Y,X?Y"))}
    assert overlaps(items, learned) == [True] + [False] * 26


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logic")
    write_corpus(
        folder, CorpusPlan(count=90, pure_share=0.5, rendering=Rendering(with_reason=True))
    )
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_corpus_is_read_by_training_on_pairs(folder: Path) -> None:
    vocabulary = read_symbols(folder / "symbols.json")
    for name in ("train", "held_out", "longer_chains", "new_connective", "legacy"):
        pairs = read_pairs(folder / f"{name}.jsonl")
        assert len(encode_pairs(folder, pairs, vocabulary)) == len(
            lines_of(folder / f"{name}.jsonl")
        )


def test_the_lines_of_a_corpus_hold_puzzles_with_their_proved_answers(folder: Path) -> None:
    for name in ("train", "held_out", "longer_chains", "new_connective", "legacy"):
        for line in lines_of(folder / f"{name}.jsonl"):
            assert prove(parse_puzzle(line["puzzle"])).answer == line["answer"][0]
            assert line["puzzle"] == line["prompt"] or line["form"] == "scaffolded"


def test_the_manifest_counts_pairs_and_answers(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, count in manifest["num_pairs"].items():
        assert count == len(lines_of(folder / f"{name}.jsonl"))
    train = Counter(line["family"] for line in lines_of(folder / "train.jsonl"))
    assert {name: sum(c.values()) for name, c in manifest["answers"]["train"].items()} == train
    flags = sum(line["overlap"] for line in lines_of(folder / "legacy.jsonl"))
    assert manifest["num_legacy_overlaps"] == flags


def test_the_same_plan_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_corpus(
        tmp_path, CorpusPlan(count=90, pure_share=0.5, rendering=Rendering(with_reason=True))
    )
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="no family 'modus'"):
        CorpusPlan(families=("modus",))
