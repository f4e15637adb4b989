"""The content-addressed store with the published handles, the contract registry, and programs."""

from types import MappingProxyType
from typing import Any

import pytest

from constellation.curricula.hlx.content_store import ContentStore, content_hash, handle_of
from constellation.curricula.hlx.contract_registry import (
    CONTRACTS,
    check_contracts,
    field_index,
    read_legacy,
)
from constellation.curricula.hlx.lc_binary import canonical
from constellation.curricula.hlx.programs import run_hlx, run_hlxl
from constellation.curricula.hlx.values import Handle
from constellation.errors import HlxError
from tests.curricula.hlx.worked_examples import EXAMPLES, Example


def handle(name: str) -> Handle:
    return Handle(f"&h_{name}")


# --- store --------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", EXAMPLES, ids=lambda each: each.english)
def test_the_worked_examples_have_the_published_handles(each: Example) -> None:
    store = ContentStore()
    assert store.collapse(each.value) == Handle(each.handle)
    assert store.collapse(each.value) == handle_of(each.value)
    assert store.resolve(Handle(each.handle)) == each.value
    assert len(store) == 1
    assert run_hlxl(f"ls.collapse({each.hlxl})", ContentStore()) == Handle(each.handle)
    assert run_hlx(f"collapse({each.hlx})", ContentStore()) == Handle(each.handle)


def test_the_empty_object_has_the_published_hash() -> None:
    digest = "d7cf7ee7f04fa08d74b42288a9dbb3978d18cc4878d88413245d41f7ba2dd683"
    assert content_hash(bytes.fromhex("0708")) == digest
    assert ContentStore().collapse({}).text == f"&h_object_{digest}"


def test_a_handle_collapses_to_itself_and_is_not_stored() -> None:
    store = ContentStore()
    assert store.collapse(handle("ast")) == handle("ast")
    assert len(store) == 0


def test_what_is_not_stored_is_not_found() -> None:
    store = ContentStore()
    for missing in (handle("documents"), handle_of(1)):
        with pytest.raises(HlxError, match="E_HANDLE_NOT_FOUND"):
            store.resolve(missing)


def test_a_symbolic_handle_resolves_through_the_table_of_aliases() -> None:
    store = ContentStore({"&h_documents": handle_of((1, 2))})
    store.collapse((1, 2))
    assert store.resolve(handle("documents")) == (1, 2)


def test_changed_bytes_are_found_when_they_are_read() -> None:
    store = ContentStore()
    stored = store.collapse(42)
    store._contents[stored] = b"\x01\x2b"
    with pytest.raises(HlxError, match="E_LC_DECODE"):
        store.resolve(stored)


def test_a_snapshot_never_changes() -> None:
    store = ContentStore()
    store.collapse(1)
    before = store.snapshot()
    assert store.snapshot() == before
    store.collapse(2)
    assert len(before.contents) == 1
    assert isinstance(before.contents, MappingProxyType)
    assert store.snapshot().root != before.root


def test_the_root_is_independent_of_the_order_of_storing() -> None:
    one, other = ContentStore(), ContentStore()
    for value in (1, "a", ()):
        one.collapse(value)
    for value in ((), 1, "a"):
        other.collapse(value)
    assert one.snapshot().root == other.snapshot().root


def test_a_transaction_that_fails_leaves_nothing() -> None:
    store = ContentStore()
    store.collapse(1)
    before = store.snapshot()

    def fail() -> None:
        store.collapse(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.transaction(fail)
    assert store.snapshot() == before
    assert store.transaction(lambda: store.collapse(3)) == handle_of(3)
    assert len(store) == 2


def test_a_full_store_refuses() -> None:
    store = ContentStore(values_max=2, bytes_max=6)
    store.collapse(1)
    with pytest.raises(HlxError, match="at most 6 bytes in the store"):
        store.collapse("long")
    store.collapse(2)
    with pytest.raises(HlxError, match="at most 2 values in the store"):
        store.collapse(3)
    assert store.collapse(1) == handle_of(1)


# --- contract registry --------------------------------------------------------------------------


@pytest.mark.parametrize("each", EXAMPLES, ids=lambda each: each.english)
def test_the_worked_examples_keep_their_contracts(each: Example) -> None:
    assert check_contracts(each.value) == ("contract" in each.handle)


@pytest.mark.parametrize(
    "value",
    [
        {4711: {0: 1}},
        {21: {}},
        {1: {0: 0}},
        {1: {0: 2, 2: 42}},
        {900: {0: "s", 1: handle("spv"), 2: "main", 3: "vertex"}},
        {901: {0: "k", 1: handle("s"), 2: (1, 1, 1), 3: 0, 4: ""}},
        {1000: {0: "filter", 1: 1, 2: 2}},
        {100: {0: 1}},
    ],
)
def test_contracts_with_the_published_fields_are_accepted(value: Any) -> None:
    check_contracts((value,))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({14: {}}, "E_CONTRACT_FIELD_MISSING"),
        ({14: {0: 1.0}}, "E_CONTRACT_FIELD_TYPE"),
        ({14: {0: True}}, "E_CONTRACT_FIELD_TYPE"),
        ({14: {0: 1, 1: 2}}, "E_CONTRACT_STRUCTURE"),
        ({21: {0: None}}, "E_CONTRACT_STRUCTURE"),
        ({1: {0: 9}}, "E_CONTRACT_FIELD_TYPE"),
        ({1: {0: 2, 3: 1.0}}, "E_CONTRACT_STRUCTURE"),
        ({1: {0: 2, 2: "x"}}, "E_CONTRACT_FIELD_TYPE"),
        ({802: {0: handle("s"), 1: 3, 2: handle("o")}}, "E_CONTRACT_FIELD_TYPE"),
        ({900: {0: "s", 1: b"", 2: "main", 3: "mesh"}}, "E_CONTRACT_FIELD_TYPE"),
        ({902: {0: "s", 1: ("vert",), 2: (), 3: handle("o")}}, "E_CONTRACT_FIELD_TYPE"),
    ],
)
def test_contracts_with_other_fields_are_refused_wherever_they_stand(value: Any, code: str) -> None:
    for whole in (value, (1, value), {"a": value}):
        with pytest.raises(HlxError, match=code):
            check_contracts(canonical(whole))


def test_fields_are_found_by_their_names() -> None:
    assert field_index(14, "value") == 0
    assert field_index(902, "output_image") == 3
    assert field_index(14, "other") is None
    assert field_index(4711, "value") is None
    assert set(range(14, 23)) | {800, 803, 1000} <= set(CONTRACTS)


def test_an_older_file_is_read_only_with_the_id_that_the_caller_names() -> None:
    body = {0: "cube", 1: (), 2: (), 3: handle("fb")}
    assert read_legacy({14: body}, 902) == {902: body}
    assert read_legacy({14: {0: 42}}, 902) == {14: {0: 42}}
    assert read_legacy({15: body}, 902) == {15: body}
    with pytest.raises(HlxError, match="E_CONTRACT_STRUCTURE"):
        read_legacy({14: body}, 14)


# --- programs -----------------------------------------------------------------------------------


def test_a_program_names_values_and_returns_one() -> None:
    program = """
        // a comment
        let age = 30;
        let who = {age: age, name: "Alice // Bob"};
        let stored = ls.collapse(who);  // the handle
        return [stored, ls.resolve(stored), contract 14 { value: age }, contract 21 {}];
    """
    who = {"age": 30, "name": "Alice // Bob"}
    expected = (handle_of(who), who, {14: {0: 30}}, {21: {}})
    assert run_hlxl(program, ContentStore()) == expected


def test_fields_of_a_contract_go_by_name_or_index() -> None:
    program = 'return contract 902 { pipeline_id: "cube", stages: [&h_vert], @2: [], @3: &h_fb };'
    value = run_hlxl(program, ContentStore())
    assert value == {902: {0: "cube", 1: (handle("vert"),), 2: (), 3: handle("fb")}}


def test_a_program_without_return_has_the_value_of_its_last_expression() -> None:
    assert run_hlxl("ls.collapse int 42", ContentStore()) == handle_of(42)
    assert run_hlxl("let a = 1;", ContentStore()) is None
    assert run_hlxl("", ContentStore()) is None
    assert run_hlxl('x"00"', ContentStore()) == b"\0"


def test_a_snapshot_is_shown_as_its_root() -> None:
    store = ContentStore()
    assert run_hlxl("ls.snapshot()", store) == store.snapshot().root
    assert run_hlx("snapshot()", store) == store.snapshot().root


def test_a_transaction_returns_its_result_and_hides_its_names() -> None:
    store = ContentStore()
    program = (
        "let a = 1; let b = ls.transaction { let a = 2; return ls.collapse(a); }; return [a, b]"
    )
    assert run_hlxl(program, store) == (1, handle_of(2))
    text = f'transaction([collapse(1), resolve("{handle_of(1).text}")])'
    assert run_hlx(text, store) == 1
    assert run_hlx("transaction([])", store) is None


@pytest.mark.parametrize(
    ("program", "code", "position"),
    [
        ("ls.collapse(1); return b;", "E_SYNTAX_ERROR", 23),
        ("ls.collapse(1); let null = 1;", "E_SYNTAX_ERROR", 20),
        ("ls.collapse(1); let a 1;", "E_SYNTAX_ERROR", 22),
        ("ls.collapse(1); return 1; 2", "E_SYNTAX_ERROR", 26),
        ("ls.collapse(1) 2", "E_SYNTAX_ERROR", 15),
        ("ls.collapse(1); contract 14 { worth: 1 };", "E_CONTRACT_STRUCTURE", 30),
        ("ls.collapse(1); ls.resolve(1);", "E_SYNTAX_ERROR", 16),
        ("ls.collapse(1); ls.transaction { 1", "E_SYNTAX_ERROR", 34),
        ("ls.collapse(1); contract 8 {};", "E_FIELD_RESERVED", 25),
    ],
)
def test_a_program_that_fails_says_where_and_stores_nothing(
    program: str, code: str, position: int
) -> None:
    store = ContentStore()
    with pytest.raises(HlxError) as caught:
        run_hlxl(program, store)
    assert (caught.value.code, caught.value.position) == (code, position), str(caught.value)
    assert len(store) == 0


def test_a_call_that_fails_stores_nothing() -> None:
    store = ContentStore()
    for text in (
        'transaction([collapse(1), resolve("&h_none")])',
        "transaction([collapse(1)) ",
        "collapse(1) 2",
        "let a = 1;",
    ):
        with pytest.raises(HlxError):
            run_hlx(text, store)
        assert len(store) == 0


def test_programs_are_limited_before_cost() -> None:
    doubling = "let a = [1, 1];" + "let a = [a, a];" * 40 + "return a;"
    with pytest.raises(HlxError, match=r"E_(SIZE|DEPTH)_EXCEEDED"):
        run_hlxl(doubling, ContentStore())
    wide = 'let a = "' + "x" * 1_000 + '";' + "let b = [a, a, a, a];" * 10_000
    with pytest.raises(HlxError, match="E_SIZE_EXCEEDED"):
        run_hlxl(wide, ContentStore())
    for nested in ("let a = [a];" * 100, "ls.transaction {" * 100, "contract 14 { value: " * 100):
        with pytest.raises(HlxError, match="E_DEPTH_EXCEEDED"):
            run_hlxl("let a = 1;" + nested, ContentStore())
    with pytest.raises(HlxError, match="E_DEPTH_EXCEEDED"):
        run_hlx("transaction([" * 100, ContentStore())
