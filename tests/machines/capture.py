"""The bytes that cross the network of the hosts, as a tap on the bridge would see them.

    with Capture(hosts) as wire:
        ...
    assert wire.flows_with(b"secret") == []

Every TCP flow (one direction of a connection) is put together by sequence numbers, so that a text
that is split over packets is found. IPv4 only, which is all that the hosts speak.
"""

import errno
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.machines.hosts import Hosts
from tests.machines.namespaces import BRIDGE

_IPV4 = 0x0800
_ALL_PROTOCOLS = 0x0003
_TCP = 6
_FRAME_BYTES_MAX = 1 << 17
_BUFFER_BYTES = 64 << 20
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_WAIT_S = 0.1
_HALF = 1 << 31


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Flow:
    """One direction of a TCP connection."""

    source: str
    source_port: int
    target: str
    target_port: int

    def touches(self, ports: Collection[int]) -> bool:
        """Return whether the connection uses one of these ports, at either end."""
        return self.source_port in ports or self.target_port in ports


class Capture:
    """Records what hosts and this machine send each other while the context is open."""

    def __init__(self, hosts: Hosts) -> None:
        # What a host sends enters by the host's link; what this machine sends leaves by the bridge.
        links = [(host.link, False) for host in hosts] + [(BRIDGE, True)]
        self._taps = [(_tap(link), outgoing) for link, outgoing in links]
        self._stop = threading.Event()
        self._segments: dict[Flow, dict[int, bytes]] = defaultdict(dict)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._read, args=tap) for tap in self._taps]
        self.dropped = 0
        """Frames that the system dropped, since they were read too slowly."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for tap, _ in self._taps:
            counts = tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.dropped += struct.unpack("II", counts)[1]
            tap.close()

    def flows(self) -> dict[Flow, bytes]:
        """Return every flow's bytes, in order; bytes that were not seen are left out."""
        with self._lock:
            return {flow: _joined(segments) for flow, segments in self._segments.items()}

    def flows_with(self, secret: bytes, ports: Collection[int] | None = None) -> list[Flow]:
        """Return the flows that hold `secret` in clear.

        Args:
            secret: Bytes to search for.
            ports: Only flows that use one of these ports; None means all flows.
        """
        return sorted(
            flow
            for flow, data in self.flows().items()
            if secret in data and (ports is None or flow.touches(ports))
        )

    def _read(self, tap: socket.socket, outgoing: bool) -> None:
        while not self._stop.is_set():
            try:
                frame, origin = tap.recvfrom(_FRAME_BYTES_MAX)
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # the host's power is cut; it may return
                    raise
                continue
            if (origin[2] == socket.PACKET_OUTGOING) == outgoing:
                self._keep(frame)

    def _keep(self, frame: bytes) -> None:
        parsed = _parse(frame)
        if parsed is not None:
            flow, sequence, payload = parsed
            with self._lock:
                before = self._segments[flow].get(sequence, b"")
                self._segments[flow][sequence] = max(before, payload, key=len)


def _tap(link: str) -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    tap.bind((link, _ALL_PROTOCOLS))
    tap.settimeout(_WAIT_S)
    return tap


def _parse(frame: bytes) -> tuple[Flow, int, bytes] | None:
    """Return flow, sequence number and payload of a frame; None without TCP payload (RFC 9293)."""
    if len(frame) < 34 or struct.unpack_from("!H", frame, 12)[0] != _IPV4 or frame[23] != _TCP:
        return None
    packet = frame[14:]
    header = 4 * (packet[0] & 0xF)
    total = struct.unpack_from("!H", packet, 2)[0] or len(packet)  # 0 for large offloaded packets
    source_port, target_port, sequence = struct.unpack_from("!HHI", packet, header)
    payload = packet[header + 4 * (packet[header + 12] >> 4) : total]
    source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
    flow = Flow(source=source, source_port=source_port, target=target, target_port=target_port)
    return (flow, sequence, payload) if payload else None


def _joined(segments: dict[int, bytes]) -> bytes:
    """Put segments in order, each byte once; numbers wrap at 2^32."""
    first = next(iter(segments))
    half = 1 << 31
    ordered = sorted(
        ((number - first + half) % (1 << 32), data) for number, data in segments.items()
    )
    joined, end = bytearray(), None
    for at, data in ordered:
        known = 0 if end is None else max(end - at, 0)
        joined += data[known:]
        end = at + len(data) if end is None else max(end, at + len(data))
    return bytes(joined)
