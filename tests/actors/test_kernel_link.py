"""How replies are read from a stream, and what becomes of a read whose reader has gone."""

import asyncio

import grpc
import pytest

from actors.kernel_connections import Replies, read, typed_loss
from constellation.errors import InternalError, KernelUnavailable


class Call:
    """A stream whose replies come when the test says so; the last read ends with the call."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.num_ended = 0

    async def read(self) -> object:
        try:
            return await self.reply
        finally:
            self.num_ended += 1

    def cancel(self) -> None:
        if not self.reply.done():
            self.reply.set_result(grpc.aio.EOF)


def test_when_the_reader_goes_the_call_ends_and_its_read_is_not_torn_out() -> None:
    async def story() -> None:
        call = Call()
        reader = asyncio.create_task(read(call, "k"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        # grpc frees what a read holds when it ends by itself, and not when it is cancelled.
        assert not call.reply.cancelled()
        assert call.reply.result() is grpc.aio.EOF
        await asyncio.sleep(0)
        assert call.num_ended == 1

    asyncio.run(story())


def test_replies_come_in_order_until_the_end() -> None:
    async def story() -> None:
        heard = []
        call = Call()
        call.reply.set_result(b"one")
        async for reply in Replies(call, "k"):
            heard.append(reply)
            call.reply = asyncio.get_running_loop().create_future()
            call.reply.set_result(b"two" if len(heard) == 1 else grpc.aio.EOF)
        assert heard == [b"one", b"two"]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection reset", KernelUnavailable),
        (grpc.StatusCode.CANCELLED, "channel closed", KernelUnavailable),
        (grpc.StatusCode.INTERNAL, "Internal error from Core", KernelUnavailable),
        (grpc.StatusCode.INTERNAL, "another", InternalError),
    ],
)
def test_a_connection_that_broke_is_a_lost_kernel_and_nothing_else_is(
    code: grpc.StatusCode, details: str, kind: type[Exception]
) -> None:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    assert type(typed_loss(error, "law")) is kind
