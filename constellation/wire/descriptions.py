"""Convert what a kernel declares (size, load, capabilities, vocabulary) to and from messages.

A kernel that can do everything, in the coordizer's tokens, sets neither of the two declared fields:
the messages of such kernels are those of versions that had no capabilities.
"""

from typing import Any

from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    Capabilities,
    KernelDescription,
    Progress,
)
from constellation.v1 import common_pb2, constellation_pb2, kernel_pb2
from constellation.wire.record_messages import from_message, to_message


def description_to_message(description: KernelDescription) -> kernel_pb2.DescribeReply:
    """Return a kernel's description as a message."""
    reply = to_message(
        kernel_pb2.DescribeReply,
        description,
        **declarations(description.capabilities, description.vocabulary),
    )
    reply.uptime.FromNanoseconds(round(description.uptime_s * 1e9))
    return reply


def description_from_message(message: kernel_pb2.DescribeReply) -> KernelDescription:
    """Return a kernel's description as a record."""
    uptime_s = message.uptime.ToNanoseconds() / 1e9
    return from_message(message, KernelDescription, uptime_s=uptime_s, **declared(message))


def progress_to_message(progress: Progress) -> kernel_pb2.Progress:
    """Return the progress of a process as a message."""
    message = to_message(kernel_pb2.Progress, progress)
    message.stalled.FromNanoseconds(round(progress.stalled_s * 1e9))
    return message


def progress_from_message(message: kernel_pb2.Progress) -> Progress:
    """Return the progress of a process as a record."""
    return from_message(message, Progress, stalled_s=message.stalled.ToNanoseconds() / 1e9)


def declarations(capabilities: Capabilities, vocabulary: str) -> dict[str, Any]:
    """Return the declared fields of a message; None leaves a field unset."""
    unset = capabilities == EVERYTHING
    return {
        "capabilities": None if unset else to_message(common_pb2.Capabilities, capabilities),
        "vocabulary": None if vocabulary == COORDIZER_TOKENS else vocabulary,
    }


def declared(message: kernel_pb2.DescribeReply | constellation_pb2.KernelStatus) -> dict[str, Any]:
    """Return the declared fields of a message as a record has them."""
    capabilities = EVERYTHING
    if message.HasField("capabilities"):
        capabilities = from_message(message.capabilities, Capabilities)
    return {"capabilities": capabilities, "vocabulary": message.vocabulary or COORDIZER_TOKENS}
