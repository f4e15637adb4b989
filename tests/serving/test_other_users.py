"""No other user of the machine may enter, write, replace or connect to what a constellation has.

The files and sockets are found from its processes, not from a list: what Ray makes without a word
is among them.
"""

import pytest

from cluster.state_file import RunState
from constellation.settings import Settings
from tests.support.strangers import (
    IS_ROOT,
    open_to_others,
    places_to_guard,
    private_folders,
    try_as_stranger,
)

pytestmark = pytest.mark.ray


def test_what_lies_outside_the_run_folder_is_closed_to_other_users(
    constellation: RunState, settings: Settings
) -> None:
    places = places_to_guard(constellation.pid, apart=(settings.run_dir, settings.artifacts))
    names = {place.name for place in places}
    assert {"orders", "plasma_store", "raylet", "raylet.out", "session_latest"} <= names
    assert len(private_folders(places)) == 1
    assert open_to_others(places) == {}


@pytest.mark.skipif(not IS_ROOT, reason="only root can act as another user")
def test_another_user_who_tries_gets_nowhere(constellation: RunState, settings: Settings) -> None:
    places = places_to_guard(constellation.pid, apart=(settings.run_dir, settings.artifacts))
    assert try_as_stranger(places) == []
