"""Traffic, releases, nodes and training survive the way from a router to a client."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from constellation.client import replies
from constellation.records import Overview, Traffic
from constellation.v1 import constellation_pb2
from constellation.wire import overview_messages
from constellation.wire.constellation_service import RouterState, status_message
from tests.wire.fakes import FakeRouter
from tests.wire.test_status_document import full


def received(state: RouterState) -> replies.ConstellationStatus:
    """Return what a client makes of the bytes of a router's reply."""
    sent = status_message(state).SerializeToString()
    return replies.status(constellation_pb2.StatusReply.FromString(sent))


def test_a_client_gets_what_the_router_knows() -> None:
    state = full()
    found = received(state)
    assert (found.router, found.release) == ("router-2", 2)
    assert found.traffic == state.traffic
    assert found.overview == state.overview
    assert [each.node for each in found.kernels] == ["n1", "", ""]


def test_what_is_not_known_stays_unknown() -> None:
    found = received(FakeRouter().state())
    assert (found.release, found.traffic, found.overview) == (0, Traffic(), Overview())


def test_a_router_of_an_earlier_version_sends_neither() -> None:
    reply = status_message(full())
    for name in ("traffic", "release", "release_since", "releases", "nodes", "training", "router"):
        reply.ClearField(name)
    found = replies.status(reply)
    assert (found.router, found.traffic, found.overview) == ("", Traffic(), Overview())


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_times_are_exact_to_the_microsecond(since_s: float, made_s: float) -> None:
    state = full()
    release = replace(state.overview.releases[0], made_s=made_s)
    overview = replace(state.overview, release_since_s=since_s, releases=(release,))
    fields = overview_messages.overview_to_fields(overview)
    found = overview_messages.overview_from_message(constellation_pb2.StatusReply(**fields))
    assert found.release_since_s is not None
    assert abs(found.release_since_s - since_s) < 1e-6
    assert abs(found.releases[0].made_s - made_s) < 1e-6
