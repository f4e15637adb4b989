"""Errors <-> statuses: every class crosses the wire with its facts."""

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation import errors
from constellation.wire import error_status
from tests.error_examples import EXAMPLES, tree


class Failed(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """What a failed call looks like to its caller."""

    def __init__(self, code: grpc.StatusCode, text: str, metadata: object = None) -> None:
        super().__init__()
        self.code = lambda: code
        self.details = lambda: text
        self.trailing_metadata = lambda: metadata


def received(error: errors.ConstellationError) -> errors.ConstellationError:
    """Return what a caller makes of `error`."""
    return error_status.from_rpc_error(
        Failed(*error_status.terms(error)), endpoint="h:1", limit_bytes=9
    )


def test_every_request_error_has_a_status_and_no_other_has() -> None:
    assert set(error_status.STATUS_OF) == set(tree(errors.RequestError)) - {errors.RequestError}


@pytest.mark.parametrize("kind", error_status.STATUS_OF, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10)
def test_an_error_comes_back_as_it_was_sent(
    kind: type[errors.ConstellationError], data: st.DataObject
) -> None:
    error = data.draw(EXAMPLES[kind])
    back = received(error)
    assert type(back) is kind
    assert vars(back) == vars(error)
    if len(str(error).encode()) <= 500:
        assert str(back) == str(error)
    else:
        assert str(error).startswith(str(back).removesuffix("..."))


def test_an_error_about_many_kernels_fits_into_the_metadata_and_keeps_the_nearest() -> None:
    names = [f"{index:03d}-{'x' * 60}" for index in range(240)]
    distances = {name: 3.1 - index / 100 for index, name in enumerate(names)}
    out = errors.OutOfDomain(distances, distances)
    unknown = errors.UnknownKernel("x" * 10**6, names)
    for error in (out, unknown):
        _, message, ((_, details),) = error_status.terms(error)
        assert 3 * len(message.encode()) + len(details) * 4 / 3 < 8192
    back = received(out)
    assert isinstance(back, errors.OutOfDomain)
    assert list(back.distances) == names[: -len(back.distances) - 1 : -1]
    assert len(back.distances) >= 2
    assert list(back.radii) == list(back.distances)
    unknown_back = received(unknown)
    assert isinstance(unknown_back, errors.UnknownKernel)
    assert unknown_back.known == names[: len(unknown_back.known)]


def test_numbers_of_numpy_do_not_break_an_error() -> None:
    distance = {"a": np.float64(0.5)}
    back = received(errors.OutOfDomain(distance, distance))
    assert isinstance(back, errors.OutOfDomain)
    assert back.distances == {"a": 0.5}
    assert isinstance(
        received(errors.InvalidPrompt(length=np.int64(3), limit=2)),  # type: ignore[arg-type]
        errors.InvalidPrompt,
    )


def test_a_foreign_client_finds_when_to_retry() -> None:
    error = errors.Overloaded("kernel 'python'", depth=64, retry_after_s=0.75)
    _, _, ((_, details),) = error_status.terms(error)
    packed = status_pb2.Status.FromString(details)
    assert packed.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    retry = error_details_pb2.RetryInfo()
    assert packed.details[1].Unpack(retry)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 0.75


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", errors.DeadlineExceeded),
        (grpc.StatusCode.CANCELLED, "Locally cancelled by application!", errors.Cancelled),
        (grpc.StatusCode.CANCELLED, "Channel closed!", errors.Cancelled),
        (grpc.StatusCode.CANCELLED, "CANCELLED", errors.ServiceUnavailable),
        (grpc.StatusCode.UNAVAILABLE, "refused", errors.ServiceUnavailable),
        (grpc.StatusCode.UNAUTHENTICATED, "", errors.Unauthenticated),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "is larger than max", errors.MessageTooLarge),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "other", errors.InternalError),
        (grpc.StatusCode.UNIMPLEMENTED, "", errors.InternalError),
        (grpc.StatusCode.UNKNOWN, "", errors.InternalError),
    ],
)
def test_a_status_without_details_becomes_a_typed_error(
    code: grpc.StatusCode, text: str, kind: type[errors.ConstellationError]
) -> None:
    error = error_status.from_rpc_error(Failed(code, text), endpoint="h:1", limit_bytes=9)
    assert type(error) is kind
    assert vars(error).get("endpoint", "h:1") == "h:1"
    assert vars(error).get("limit_bytes", 9) == 9


def _info(reason: str, attributes: str | None, *, domain: str = error_status.DOMAIN) -> bytes:
    packed = status_pb2.Status(code=14, message="m")
    info = error_details_pb2.ErrorInfo(reason=reason, domain=domain)
    if attributes is not None:
        info.metadata["attributes"] = attributes
    packed.details.add().Pack(info)
    return bytes(packed.SerializeToString())


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff",
        b"",
        _info("KernelUnavailable", "{"),
        _info("KernelUnavailable", "3"),
        _info("KernelUnavailable", None),
        _info("NoSuchError", "{}"),
        _info("ConfigError", "{}"),
        _info("KernelUnavailable", "{}", domain="elsewhere"),
    ],
)
def test_details_that_are_not_ours_leave_the_status_to_speak(details: bytes) -> None:
    failed = Failed(grpc.StatusCode.UNAVAILABLE, "t", ((error_status.DETAILS_KEY, details),))
    error = error_status.from_rpc_error(failed, endpoint="h:1", limit_bytes=9)
    assert type(error) is errors.ServiceUnavailable


@given(st.binary(max_size=64))
def test_no_details_whatever_break_the_reader(details: bytes) -> None:
    failed = Failed(grpc.StatusCode.CANCELLED, "t", ((error_status.DETAILS_KEY, details),))
    assert isinstance(
        error_status.from_rpc_error(failed, endpoint="h:1", limit_bytes=9), errors.RequestError
    )
