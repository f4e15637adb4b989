"""What every server of ours does: order, deadlines, cancellation, health, unexpected errors."""

import json
import logging
import threading
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from constellation import errors
from constellation.telemetry.logs import JsonFormatter
from constellation.v1 import common_pb2, constellation_pb2, kernel_pb2
from constellation.wire import error_status
from constellation.wire.descriptions import description_from_message
from constellation.wire.services import CONSTELLATION, KERNEL, Stub, path, request_class
from tests.wire.fakes import Served


def generate(router: Stub, prompt: str, **options: Any) -> Any:
    return router.Generate(constellation_pb2.GenerateRequest(prompt=prompt), **options)


def test_an_answer_streams_in_order_with_the_route_first_and_the_finish_last(
    router: Stub,
) -> None:
    words = [f"w{index}" for index in range(300)]
    replies = list(generate(router, " ".join(words)))
    assert "".join(reply.text for reply in replies) == " ".join(words)
    assert [reply.HasField("route") for reply in replies] == [True] + [False] * 300
    assert [reply.HasField("finish") for reply in replies] == [False] * 300 + [True]


def test_the_first_piece_arrives_while_the_rest_is_still_being_written(
    served: Served, router: Stub
) -> None:
    served.soon(served.router.hold.clear)
    answer = generate(router, "first second", timeout=10)
    assert next(answer).text == "first"
    served.soon(served.router.hold.set)
    assert next(answer).text == " second"


def test_a_kernel_streams_scores_and_describes_itself(kernel: Stub) -> None:
    sampling = common_pb2.Sampling(tokens_max=7)
    request = kernel_pb2.KernelGenerateRequest(tokens=[5, 4, 3], sampling=sampling)
    replies = list(kernel.Generate(request))
    assert [reply.text for reply in replies] == ["5;", "4;", "3;", ""]
    assert replies[-1].finish.num_tokens == 7
    score = kernel.Score(kernel_pb2.KernelScoreRequest(tokens=[5, 4, 3], num_context=1))
    assert (score.nats, score.num_tokens) == (7, 2)
    description = description_from_message(kernel.Describe(kernel_pb2.DescribeRequest()))
    assert (description.name, description.context, description.uptime_s) == ("python", 128, 2.5)


def test_the_status_shows_every_kernel_and_which_is_down(router: Stub) -> None:
    reply = router.Status(constellation_pb2.StatusRequest())
    assert [kernel.name for kernel in reply.kernels] == ["python", "poetry", "law"]
    assert [kernel.up for kernel in reply.kernels] == [True, True, False]
    assert [kernel.HasField("seat") for kernel in reply.kernels] == [True, False, True]
    assert (reply.kernels[0].pid, reply.kernels[0].num_restarts) == (11, 2)
    assert (reply.kernels[0].queue_depth, reply.kernels[0].num_running) == (3, 4)
    assert (reply.router_pid, reply.registry_pid, reply.table_version) == (12, 13, 5)


def test_the_callers_deadline_reaches_the_host(served: Served, router: Stub) -> None:
    list(generate(router, "a", timeout=7))
    list(generate(router, "a"))
    router.Score(constellation_pb2.ScoreRequest(text="a"), timeout=7)
    first, second, third = served.router.timeouts
    assert first is not None
    assert third is not None
    assert 5 < first < 7.5  # gRPC rounds deadlines up
    assert second is None
    assert 5 < third < 7.5


def test_a_passed_deadline_stops_the_work(served: Served, router: Stub) -> None:
    served.soon(served.router.hold.clear)
    # Long enough for the connection to open and the first piece to come on a machine in use.
    answer = generate(router, "first second", timeout=0.5)
    next(answer)
    with pytest.raises(grpc.RpcError) as caught:
        next(answer)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    served.router.stopped.result(timeout=5)
    assert served.guard.num_unexpected == 0


def test_a_cancelled_answer_stops_the_work(served: Served, router: Stub) -> None:
    served.soon(served.router.hold.clear)
    answer = generate(router, "first second", timeout=10)
    next(answer)
    answer.cancel()
    served.router.stopped.result(timeout=5)
    assert served.guard.num_unexpected == 0


def test_a_client_that_goes_away_stops_the_work(served: Served) -> None:
    served.soon(served.router.hold.clear)
    with grpc.insecure_channel(served.endpoint) as channel:
        next(generate(Stub(channel, CONSTELLATION), "first second", timeout=10))
    served.router.stopped.result(timeout=5)


def test_a_reader_that_stands_still_loses_its_slot_and_is_told_when_it_reads_on() -> None:
    with Served(stall_s=0.05) as served, grpc.insecure_channel(served.endpoint) as channel:
        idle = served.num_tasks()
        served.router.num_repeats = 1000  # 500 MB: more than all buffers on the way hold
        answer = generate(Stub(channel, CONSTELLATION), "x" * 500_000, timeout=10)
        assert next(answer).num_tokens == 1
        assert served.num_tasks() > idle
        served.router.stopped.result(timeout=5)  # nobody reads the second piece
        with pytest.raises(grpc.RpcError) as caught:
            list(answer)
        error = error_status.from_rpc_error(caught.value, endpoint="?", limit_bytes=1)
        assert type(error) is errors.Cancelled
        assert str(error) == "the client read nothing for 0.05 s"
        assert served.num_tasks(at_most=idle) == idle


def test_a_reader_that_stands_still_and_goes_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Served(stall_s=0.05) as served:
        idle = served.num_tasks()
        served.router.num_repeats = 1000
        with grpc.insecure_channel(served.endpoint) as channel:
            answer = generate(Stub(channel, CONSTELLATION), "x" * 500_000, timeout=10)
            next(answer)
            served.router.stopped.result(timeout=5)
        assert served.num_tasks(at_most=idle) == idle
        assert served.router.rejected == {"Cancelled": 1}
        assert served.guard.num_unexpected == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_readers_that_leave_at_any_moment_cause_no_unexpected_error(
    served: Served, router: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    idle = served.num_tasks()
    served.router.num_repeats = 1000
    for num_pieces in range(40):
        answer = generate(router, "x" * 1000, timeout=10)
        for _ in range(num_pieces % 7):
            next(answer)
        answer.cancel()
    assert served.num_tasks(at_most=idle) == idle
    assert served.guard.num_unexpected == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_an_unexpected_error_is_counted_and_explained_in_the_log_only(
    served: Served, router: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    served.router.failures.append(ZeroDivisionError("the secret of line 7"))
    with (
        caplog.at_level(logging.ERROR, logger="constellation"),
        pytest.raises(grpc.RpcError) as caught,
    ):
        list(generate(router, "a"))
    error = error_status.from_rpc_error(caught.value, endpoint="?", limit_bytes=1)
    assert isinstance(error, errors.InternalError)
    sent = repr((caught.value.details(), caught.value.trailing_metadata()))
    for leak in ("secret", "ZeroDivision", "Traceback", "fakes.py"):
        assert leak not in sent
    assert served.guard.num_unexpected == 1
    assert served.router.rejected == {"InternalError": 1}
    (record,) = [
        record for record in caplog.records if record.name == "constellation.wire.services"
    ]
    logged = json.loads(JsonFormatter().format(record))
    assert logged["error_id"] == error.error_id
    assert "the secret of line 7" in logged["traceback"]


@pytest.mark.parametrize("kind", [errors.ConfigError, errors.RequestError, errors.TrainingError])
def test_an_error_that_is_not_for_callers_is_unexpected(
    served: Served, router: Stub, kind: type[errors.ConstellationError]
) -> None:
    served.router.failures.append(kind("a detail of the server"))
    with pytest.raises(grpc.RpcError) as caught:
        router.Route(constellation_pb2.RouteRequest(text="a"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "detail" not in caught.value.details()
    assert served.guard.num_unexpected == 1


@pytest.mark.parametrize("service", ["", CONSTELLATION.full_name, KERNEL.full_name])
def test_health_says_serving(channel: Any, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    reply = stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_and_describes_our_services(channel: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest
    symbol = CONSTELLATION.full_name
    listed, found = stub.ServerReflectionInfo(
        iter([request(list_services="*"), request(file_containing_symbol=symbol)])
    )
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {CONSTELLATION.full_name, KERNEL.full_name, "grpc.health.v1.Health"}
    files = found.file_descriptor_response.file_descriptor_proto
    described = [FileDescriptorProto.FromString(data) for data in files]
    assert CONSTELLATION.file.name in [file.name for file in described]


def test_paths_and_request_classes_follow_the_descriptors() -> None:
    method = CONSTELLATION.methods_by_name["Generate"]
    assert path(method) == "/constellation.v1.ConstellationService/Generate"
    assert request_class(KERNEL, "Score") is kernel_pb2.KernelScoreRequest


def test_a_stub_has_the_methods_of_its_service_only(channel: Any) -> None:
    stub = Stub(channel, KERNEL)
    assert callable(stub.Describe)
    with pytest.raises(AttributeError, match="Route"):
        stub.Route  # noqa: B018


def test_raw_replies_are_bytes(channel: Any) -> None:
    stub = Stub(channel, KERNEL, raw_replies=True)
    data = stub.Describe(kernel_pb2.DescribeRequest())
    assert kernel_pb2.DescribeReply.FromString(data).name == "python"


def test_eight_callers_at_once_get_their_own_answers(served: Served, router: Stub) -> None:
    answers: dict[int, str] = {}

    def ask(index: int) -> None:
        prompt = " ".join(f"{index}-{word}" for word in range(20))
        answers[index] = "".join(reply.text for reply in generate(router, prompt, timeout=10))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {
        index: " ".join(f"{index}-{word}" for word in range(20)) for index in range(8)
    }
