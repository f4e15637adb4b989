"""Run the small programs of HLX over a store: HLXL programs with `ls.` calls, and HLX-LS calls.

    let age = 30;                                  // a name for a value
    let handle = ls.collapse({age: age});
    return [handle, ls.resolve(handle), contract 14 { value: age }];

A program runs as one transaction: after an error the store is what it was before. Programs have no
loops, and the values of all their names together have the size limit of one value, so that a
program ends soon.
"""

import re
from collections.abc import Callable
from typing import Any

from constellation.curricula.hlx.content_store import ContentStore
from constellation.curricula.hlx.contract_registry import field_index
from constellation.curricula.hlx.latent_space_text import read_old_argument
from constellation.curricula.hlx.lc_binary import decode, encode
from constellation.curricula.hlx.notation_text import NotationReader
from constellation.curricula.hlx.notations import HLX, HLXL
from constellation.curricula.hlx.values import KEY, Handle, Value

_SPACES_AND_COMMENTS = re.compile(r"(?:[ \t\n]++|//[^\n]*+)*+")
_WORD_END = r"(?![A-Za-z0-9_])"
_VARIABLE = re.compile(rf'(?!(?:null|true|false){_WORD_END}|x")[A-Za-z_][A-Za-z0-9_]*')
_CONTRACT = re.compile(rf"contract{_WORD_END}")
_LET = re.compile(rf"let{_WORD_END}")
_RETURN = re.compile(rf"return{_WORD_END}")
_CALL = re.compile(r"ls\.(collapse|resolve|snapshot|transaction)" + _WORD_END)
_RESERVED = {"null", "true", "false", "let", "return", "contract", "ls"}


class _Operations(NotationReader):
    """Reads a text and does the operations on the store as they are read."""

    store: ContentStore

    def resolved(self, handle: Any, start: int) -> Value:
        """Return the stored value of what should be a handle."""
        if not isinstance(handle, Handle):
            self.fail("a handle", position=start)
        value = self.store.resolve(handle)
        self.spend(len(encode(value)))
        return value

    def snapshot(self) -> str:
        """Return the root of the store's contents."""
        self.spend(len(self.store))
        return self.store.snapshot().root

    def transaction(self, run: Callable[[], Any]) -> Any:
        """Return the result of `run`, which is undone if it fails."""
        # The store is copied, so that its size counts: a program ends soon over a large store, too.
        self.spend(len(self.store))
        with self.levels(1):
            return self.store.transaction(run)

    def argument(self) -> Any:
        """Read a value and the parenthesis after it."""
        value = self.value()
        self.expect(")")
        return value


# --- HLXL ---------------------------------------------------------------------------------------


class _Program(_Operations):
    def __init__(self, text: str, store: ContentStore) -> None:
        super().__init__(text, HLXL)
        self.spaces = _SPACES_AND_COMMENTS
        self.store = store
        self._variables: dict[str, tuple[Value, int]] = {}

    def value(self) -> Any:
        """Read one expression and return its value."""
        self.skip_spaces()
        start = self.position
        if call := self.match(_CALL):
            self.spend(1)
            return self._call(call[1], start)
        if self.match(_CONTRACT):
            return self._contract_literal()
        if found := self.match(_VARIABLE):
            return self._variable(found[0], start)
        return super().value()

    def _variable(self, name: str, start: int) -> Value:
        if name not in self._variables:
            self.fail("a value, or a name that `let` has given", position=start)
        value, num_bytes = self._variables[name]
        self.spend(num_bytes)
        return value

    def _contract_literal(self) -> Any:
        self.skip_spaces()
        contract = self.index()
        if contract == 0:
            self.fail("the id of a contract, at least 1", "E_CONTRACT_STRUCTURE")
        self.expect("{")
        with self.levels(2):
            if self.take("}"):
                return {contract: {}}
            return {contract: self.pairs(lambda: self._field_of(contract), ",", "}")}

    def _field_of(self, contract: int) -> int:
        if self.sees("@"):
            return self.field()
        start = self.position
        name = self.need(KEY, "a field by name or as @index")
        index = field_index(contract, name)
        if index is None:
            self.fail(f"a field of contract {contract}", "E_CONTRACT_STRUCTURE", start)
        self.expect(":")
        self.spend(1)
        return index

    def _call(self, name: str, start: int) -> Any:
        if name == "transaction":
            self.expect("{")
            return self.transaction(lambda: self._block("}"))
        if name == "collapse" and not self.sees("("):
            self.skip_spaces()
            return self.store.collapse(read_old_argument(self))
        self.expect("(")
        if name == "snapshot":
            self.expect(")")
            return self.snapshot()
        value = self.argument()
        return self.store.collapse(value) if name == "collapse" else self.resolved(value, start)

    def _block(self, close: str) -> Any:
        """Run statements up to `close`, whose names end with them; return their result."""
        self.spend(len(self._variables))
        outside = dict(self._variables)
        result = self._statements(close)
        self._variables = outside
        return result

    def _statements(self, close: str) -> Any:
        result = None
        while not self._ends(close):
            self.spend(1)
            if self.match(_LET):
                self._let()
            elif self.match(_RETURN):
                result = self._checked(self.value())[0]
                self.take(";")
                if not self._ends(close):
                    self.fail("nothing after `return`")
                return result
            else:
                result = self._checked(self.value())[0]
                if not self.take(";") and not self._ends(close):
                    self.fail("';'")
        return result

    def _ends(self, close: str) -> bool:
        self.skip_spaces()
        return self.take(close) if close else self.position == len(self.text)

    def _let(self) -> None:
        self.skip_spaces()
        start = self.position
        name = self.need(KEY, "a name")
        if name in _RESERVED:
            self.fail("a name that is no word of the language", position=start)
        self.expect("=")
        self._variables[name] = self._checked(self.value())
        self.expect(";")

    def _checked(self, value: Any) -> tuple[Value, int]:
        """Return the canonical value and its number of bytes, within the limits of a value."""
        data = encode(value)
        return decode(data), len(data)

    def run(self) -> Any:
        """Run the whole text."""
        return self._block("")


def run_hlxl(text: str, store: ContentStore) -> Value:
    """Run a program in HLXL or HLXL-LS and return its result.

    The result is the value of `return`, or else of the last expression, or else NULL. A snapshot
    is shown as the TEXT of its root.

    Raises:
        HlxError: With the place of the mistake; the store is then what it was before.
    """
    result: Value = store.transaction(_Program(text, store).run)
    return result


# --- HLX-LS -------------------------------------------------------------------------------------


class _Calls(_Operations):
    def __init__(self, text: str, store: ContentStore) -> None:
        super().__init__(text, HLX)
        self.store = store

    def call(self) -> Any:
        """Read and do one call."""
        self.spend(1)
        if self.take("collapse("):
            return self.store.collapse(self.argument())
        if self.take("resolve("):
            start = self.position
            return self.resolved(self.argument(), start)
        if self.take("snapshot("):
            self.expect(")")
            return self.snapshot()
        if self.take("transaction("):
            return self.transaction(self._steps)
        return self.fail("collapse, resolve, snapshot or transaction")

    def _steps(self) -> Any:
        self.expect("[")
        results = self.parts(self.call, ",", "]")
        self.expect(")")
        return results[-1] if results else None

    def run(self) -> Any:
        """Do the one call of the text."""
        result = self.call()
        self.end()
        return result


def run_hlx(text: str, store: ContentStore) -> Value:
    """Do a call in HLX-LS and return its result: of a transaction, the last call's.

    Raises:
        HlxError: With the place of the mistake; the store is then what it was before.
    """
    result: Value = store.transaction(_Calls(text, store).run)
    return result
