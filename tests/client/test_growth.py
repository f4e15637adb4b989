"""Changes of what is served through both clients: what is sent, read, and never sent twice."""

from typing import Any

import pytest

from constellation.errors import GrowthRefused, InvalidRequest, ServiceUnavailable, UnknownKernel
from constellation.records import (
    Add,
    Changed,
    Rebalance,
    Reload,
    Retire,
    RollBack,
    Spawn,
    Unlearn,
)
from tests.wire.fakes import Served

CHANGES = {
    "reload": (lambda stars: stars.reload(), Reload()),
    "add": (lambda stars: stars.add("poems"), Add(name="poems")),
    "retire": (lambda stars: stars.retire("law"), Retire(name="law")),
    "unlearn": (
        lambda stars: stars.unlearn("law", "a.txt"),
        Unlearn(kernel="law", source="a.txt"),
    ),
    "rebalance": (lambda stars: stars.rebalance(), Rebalance()),
    "roll back": (lambda stars: stars.roll_back(), RollBack()),
    "roll back to": (lambda stars: stars.roll_back(3), RollBack(release=3)),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_each_change_reaches_the_router_and_says_what_it_changed(
    served: Served, stars: Any, kind: str
) -> None:
    ask, expected = CHANGES[kind]
    assert ask(stars) == Changed(
        release=7, table_version=6, joined=("a",), left=("b", "c"), reloaded=("python", "law")
    )
    assert [asked for _, asked, _ in served.router.calls] == [expected]


def test_a_spawn_carries_no_queries_to_the_router(served: Served, stars: Any) -> None:
    stars.spawn("law", "law-2")
    ((_, asked, _),) = served.router.calls
    assert isinstance(asked, Spawn)
    assert (asked.parent, asked.name, asked.queries_NK) == ("law", "law-2", None)


@pytest.mark.parametrize("name", ["", "../law", "a/b", "A", ".law", "x" * 65, "a\n", "a b"])
def test_a_name_that_leads_elsewhere_never_leaves_the_client(
    served: Served, stars: Any, name: str
) -> None:
    with pytest.raises(InvalidRequest, match="a letter or digit"):
        stars.add(name)
    with pytest.raises(InvalidRequest, match="a letter or digit"):
        stars.spawn("law", name)
    assert served.router.calls == []


def test_a_release_before_the_first_is_refused(served: Served, stars: Any) -> None:
    with pytest.raises(InvalidRequest, match="release is 0"):
        stars.roll_back(0)
    assert served.router.calls == []


def test_refusals_come_back_as_they_were_raised(served: Served, stars: Any) -> None:
    refused = GrowthRefused("poems", "the name is taken")
    served.router.failures += [refused, UnknownKernel("nobody", ["law"])]
    with pytest.raises(GrowthRefused) as caught:
        stars.add("poems")
    assert (caught.value.kernel, caught.value.reason) == (refused.kernel, refused.reason)
    with pytest.raises(UnknownKernel, match="nobody"):
        stars.retire("nobody")


@pytest.mark.parametrize("kind", ["add", "retire", "unlearn", "roll back"])
def test_a_change_whose_reply_is_lost_is_not_asked_for_again(
    served: Served, stars: Any, kind: str
) -> None:
    """A second try of what was done would say that the name is taken, or go back twice."""
    served.router.failures.append(ServiceUnavailable("the registry", "it is restarting"))
    with pytest.raises(ServiceUnavailable):
        CHANGES[kind][0](stars)
    assert len(served.router.calls) == 1


def test_a_reload_whose_reply_is_lost_is_asked_for_again(served: Served, stars: Any) -> None:
    served.router.failures.append(ServiceUnavailable("the registry", "it is restarting"))
    assert stars.reload().release == 7
    assert len(served.router.calls) == 2
