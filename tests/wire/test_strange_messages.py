"""Whatever is sent, errors are typed and nobody hangs; and what is sent reaches every RPC."""

from collections import Counter

import pytest

from benchmarks.fuzz_grpc import senders_to
from benchmarks.fuzzing import attack
from benchmarks.strange_messages import strange_calls
from constellation.v1 import constellation_pb2
from constellation.wire import services
from tests.wire.fakes import Served

BOTH = (services.CONSTELLATION, services.KERNEL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_answer_is_a_typed_one(served: Served, seed: int) -> None:
    senders = senders_to({served.endpoint: services.CONSTELLATION})
    report = attack(senders, seed=seed, count=400)
    assert (report["untyped"], report["hung"]) == (0, 0)
    assert {"OK", "INVALID_ARGUMENT"} <= set(report["statuses"])
    assert sum(report["statuses"].values()) == report["inputs"] == 400


@pytest.mark.slow
def test_every_rpc_is_called_and_a_seed_repeats_the_calls() -> None:
    calls = list(strange_calls(BOTH, 7, 12_000))
    assert calls == list(strange_calls(BOTH, 7, 12_000))
    assert {m.full_name for m, _ in calls} == {m.full_name for s in BOTH for m in s.methods}


def test_some_are_messages_and_some_are_not() -> None:
    """They are no use if nothing, or everything, can be read."""
    seen: Counter[bool] = Counter()
    for method, data in strange_calls((services.CONSTELLATION,), 0, 1000):
        if method.name == "Generate":
            answer = constellation_pb2.GenerateRequest()
            try:
                answer.ParseFromString(data)
            except Exception:  # noqa: BLE001 - protobuf's DecodeError is not one class
                seen[False] += 1
            else:
                seen[True] += 1
    assert min(seen[True], seen[False]) > 20
