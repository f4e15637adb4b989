"""Random HLX values, for laws that hold for all values."""

from typing import Any

from hypothesis import strategies as st

from constellation.curricula.hlx.values import INT_MAX, INT_MIN, Handle

keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,4}", fullmatch=True) | st.just("C")
handles = st.from_regex(r"&h_[A-Za-z0-9_]{1,5}", fullmatch=True).map(Handle)
indices = st.integers(0, 20) | st.integers(0, INT_MAX)
atoms: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-300, 300),
    st.integers(INT_MIN, INT_MAX),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.text("ab '\"\\🜂◆,;(){}[]", max_size=8),
    st.binary(max_size=8),
    handles,
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    field = indices.filter(lambda index: index != 8)
    record = st.dictionaries(field, inner, max_size=3)
    return st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        record,
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(field, record, min_size=1, max_size=1),
    )


values: st.SearchStrategy[Any] = st.recursive(atoms, _containers, max_leaves=12)
"""Values of all kinds up to some depth; texts are not yet in NFC."""
