"""The chaos benchmark in short: one death of every kind of member under load of every kind."""

import json
import sys
import time

import pytest

from benchmarks.chaos import unexpected_errors
from benchmarks.chaos_deaths import Deaths
from benchmarks.chaos_replay import Replay
from benchmarks.chaos_traffic import Traffic
from cluster.state_file import RunState
from constellation.settings import Settings
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray

ANSWERS_MIN = 60


def test_nothing_is_lost_or_wrong_while_members_are_killed(
    constellation: RunState, settings: Settings
) -> None:
    assert constellation.http is not None
    known = set(unexpected_errors(settings.run_dir))
    deaths = Deaths(constellation, seed=1)
    prompts = list(PROMPTS.values())
    with Traffic(constellation.endpoints, constellation.http, prompts, seed=1) as traffic:
        # Whoever is killed is back so soon that a single round sees few answers.
        while len(traffic.tally.answers) <= ANSWERS_MIN:
            for victim in ("kernel mail", "router", "registry"):
                _, members = deaths.wait_whole({}, started_s=time.monotonic())
                deaths.do("kill", {victim: members[victim]})
    deaths.close()
    tally = traffic.tally
    seconds = {death.members[0]: round(death.seconds, 2) for death in deaths.done}
    sys.stdout.write(json.dumps({**seconds, **tally.seen}) + "\n")
    assert (tally.lost, tally.untyped, list(tally.examples)) == (0, 0, [])
    assert set(unexpected_errors(settings.run_dir)) == known
    assert Replay(settings.artifacts).differences(tally.answers) == []


def test_a_member_that_hangs_together_with_the_registry_is_restarted(
    constellation: RunState,
) -> None:
    deaths = Deaths(constellation, seed=2)
    _, members = deaths.wait_whole({}, started_s=time.monotonic())
    # The registry's successor meets a router that neither answers nor refuses.
    death = deaths.do("hang", {name: members[name] for name in ("registry", "router-2")})
    sys.stdout.write(json.dumps({"hang_seconds": round(death.seconds, 2)}) + "\n")
    _, after = deaths.wait_whole({}, started_s=time.monotonic())
    deaths.close()
    assert after["kernel mail"] == members["kernel mail"]
