"""Names of kernels: what may be one, and that servers refuse the rest whoever sends it."""

from contextlib import nullcontext
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidRequest
from constellation.v1 import constellation_pb2
from constellation.wire.kernel_names import check_kernel_name
from constellation.wire.services import Stub
from tests.wire.fakes import Served
from tests.wire.test_bad_input import refusal


@given(st.text("az09._-/\\\0\n A\u0661", min_size=0, max_size=70))
def test_a_name_passes_when_it_is_one_part_of_a_path_and_no_hidden_one(name: str) -> None:
    plain = set(name) <= set("az09._-") and 1 <= len(name) <= 64 and name[0] in "az09"
    with nullcontext() if plain else pytest.raises(InvalidRequest, match="name is"):
        assert check_kernel_name("name", name) == name


@pytest.mark.parametrize("name", ["a", "law-2", "3d", "v1.2_x", "x" * 64])
def test_plain_names_pass(name: str) -> None:
    assert check_kernel_name("name", name) == name


@pytest.mark.parametrize("name", ["", "..", "../seed", "/etc", "a/../b", "A", "x" * 65])
def test_a_server_refuses_names_that_lead_elsewhere(
    served: Served, router: Stub, name: str
) -> None:
    add = constellation_pb2.AddChange(name=name)
    spawn = constellation_pb2.SpawnChange(parent="law", name=name)
    for change in ({"add": add}, {"spawn": spawn}):
        request = constellation_pb2.ChangeRequest(**change)
        typed, _ = refusal(partial(router.Change, request, timeout=5))
        assert isinstance(typed, InvalidRequest)
        assert typed.field == "name"
    assert served.router.calls == []
