"""What a kernel says of itself <-> messages: its size, its load, what it can do, its vocabulary.

A kernel that can do everything, in the coordizer's tokens, sets neither field: the messages of such
kernels are the ones of versions that knew no capabilities.
"""

from typing import TypedDict

from constellation.records import COORDIZER_TOKENS, EVERYTHING, Capabilities, KernelDescription
from constellation.v1 import common_pb2, constellation_pb2, kernel_pb2

_Described = kernel_pb2.DescribeReply | constellation_pb2.KernelStatus


class Declared(TypedDict):
    """The two fields of a record that a kernel declares."""

    capabilities: Capabilities
    vocabulary: str


def description_to_message(description: KernelDescription) -> kernel_pb2.DescribeReply:
    """Return what a kernel says of itself as a message."""
    reply = kernel_pb2.DescribeReply(
        name=description.name,
        tokenizer_hash=description.tokenizer_hash,
        context=description.context,
        num_parameters=description.num_parameters,
        pid=description.pid,
        queue_depth=description.queue_depth,
        num_running=description.num_running,
        num_unexpected_errors=description.num_unexpected_errors,
    )
    reply.uptime.FromNanoseconds(round(description.uptime_s * 1e9))
    declare(reply, description.capabilities, description.vocabulary)
    return reply


def description_from_message(message: kernel_pb2.DescribeReply) -> KernelDescription:
    """Return what a kernel says of itself."""
    return KernelDescription(
        name=message.name,
        tokenizer_hash=message.tokenizer_hash,
        context=message.context,
        num_parameters=message.num_parameters,
        pid=message.pid,
        queue_depth=message.queue_depth,
        num_running=message.num_running,
        uptime_s=message.uptime.ToNanoseconds() / 1e9,
        num_unexpected_errors=message.num_unexpected_errors,
        **declared(message),
    )


def declare(message: _Described, capabilities: Capabilities, vocabulary: str) -> None:
    """Set the fields of a message that differ from a kernel that can do everything."""
    if capabilities != EVERYTHING:
        message.capabilities.CopyFrom(
            common_pb2.Capabilities(
                continues_ids=capabilities.continues_ids,
                mixes=capabilities.mixes,
                scores=capabilities.scores,
                looks_inside=capabilities.looks_inside,
                reads_roles=capabilities.reads_roles,
            )
        )
    if vocabulary != COORDIZER_TOKENS:
        message.vocabulary = vocabulary


def declared(message: _Described) -> Declared:
    """Return what a message declares."""
    sent = message.capabilities
    capabilities = EVERYTHING
    if message.HasField("capabilities"):
        capabilities = Capabilities(
            continues_ids=sent.continues_ids,
            mixes=sent.mixes,
            scores=sent.scores,
            looks_inside=sent.looks_inside,
            reads_roles=sent.reads_roles,
        )
    return Declared(capabilities=capabilities, vocabulary=message.vocabulary or COORDIZER_TOKENS)
