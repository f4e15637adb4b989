"""Adding, spawning and retiring through both clients: what is sent, read, and never sent twice."""

from typing import Any

import pytest

from constellation.errors import GrowthRefused, InvalidRequest, ServiceUnavailable, UnknownKernel
from constellation.records import Grown
from tests.wire.fakes import Served


def test_each_change_reaches_the_router_and_says_what_it_changed(
    served: Served, stars: Any
) -> None:
    assert stars.add("poems") == Grown(kernel="poems", seat=17, table_version=6)
    assert stars.spawn("law", "law-2") == Grown(kernel="law-2", seat=None, table_version=6)
    assert stars.retire("law") == Grown(kernel="law", seat=0, table_version=6)
    assert stars.unlearn("law", "a.txt") == Grown(kernel="law", seat=0, table_version=6)
    calls = [(name, detail) for name, detail, _ in served.router.calls]
    changes = [("poems", "add"), ("law-2", ("spawn", "law")), ("law", "retire")]
    assert calls == [*changes, ("law", ("unlearn", "a.txt"))]


@pytest.mark.parametrize("name", ["", "../law", "a/b", "A", ".law", "x" * 65, "a\n", "a b"])
def test_a_name_that_leads_elsewhere_never_leaves_the_client(
    served: Served, stars: Any, name: str
) -> None:
    with pytest.raises(InvalidRequest, match="a letter or digit"):
        stars.add(name)
    with pytest.raises(InvalidRequest, match="a letter or digit"):
        stars.spawn("law", name)
    assert served.router.calls == []


def test_refusals_come_back_as_they_were_raised(served: Served, stars: Any) -> None:
    refused = GrowthRefused("poems", "the name is taken")
    served.router.failures += [refused, UnknownKernel("nobody", ["law"])]
    with pytest.raises(GrowthRefused) as caught:
        stars.add("poems")
    assert (caught.value.kernel, caught.value.reason) == (refused.kernel, refused.reason)
    with pytest.raises(UnknownKernel, match="nobody"):
        stars.retire("nobody")


def test_a_change_whose_reply_is_lost_is_not_asked_for_again(served: Served, stars: Any) -> None:
    """A second try of what was done would say that the name is taken."""
    for change in (
        lambda: stars.add("poems"),
        lambda: stars.spawn("law", "law-2"),
        lambda: stars.retire("law"),
        lambda: stars.unlearn("law", "a.txt"),
    ):
        served.router.failures.append(ServiceUnavailable("the registry", "it is restarting"))
        before = len(served.router.calls)
        with pytest.raises(ServiceUnavailable):
            change()
        assert len(served.router.calls) == before + 1
