"""One request to kernels, and how far its answer is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from actors.kernel_connections import KernelLink
from actors.router.query_reader import Query
from constellation.records import Message, Mode, Route, RoutingOptions, Sampling
from constellation.routing.handoff import HandoffWatch
from constellation.runtime.continuation import Relay
from constellation.v1 import common_pb2, kernel_pb2
from constellation.wire import convert
from constellation.wire.ensembles import Ensemble, ensemble_to_message
from constellation.wire.request_tracing import Span


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRequest:
    """A request to kernels: a query that was read, with sampling, options and deadline."""

    query: Query
    options: RoutingOptions
    deadline_s: float
    """When the answer must be complete, on the clock of `time.monotonic`."""
    sampling: Sampling = field(default_factory=Sampling)
    client: str = ""
    """Who sent the request: kernels serve waiting clients in turns."""
    span: Span | None = None
    """Span of the request; None without tracing."""
    messages: Sequence[Message] = ()
    """The conversation that the prompt was made of; empty for other prompts."""

    @property
    def is_pinned(self) -> bool:
        """Whether the request names the one kernel that may answer."""
        return self.options.kernel is not None

    @property
    def may_move(self) -> bool:
        """Whether the answer may be handed over while its kernel is well."""
        options = self.options
        return options.handoff and options.mode is Mode.NEAREST and not self.is_pinned

    def message(
        self,
        kernel: str,
        produced: Collection[int],
        ensemble: Ensemble | None,
        num_produced: int | None = None,
    ) -> kernel_pb2.KernelGenerateRequest:
        """Return the message by which a kernel is asked to write the rest of the answer.

        Args:
            kernel: Name of the kernel.
            produced: What is written already, in the coordizer's tokens.
            ensemble: The kernels that write together; None when one kernel writes.
            num_produced: Tokens of the answer so far, as the kernels that wrote them counted them;
                None means the length of `produced`.
        """
        return kernel_pb2.KernelGenerateRequest(
            kernel=kernel,
            tokens=self.query.tokens.tolist(),
            sampling=convert.sampling_to_message(self.sampling),
            produced=produced,
            num_produced=num_produced,
            client=self.client,
            ensemble=None if ensemble is None else ensemble_to_message(ensemble),
            messages=[
                common_pb2.RoleMessage(role=each.role, content=each.content)
                for each in self.messages
            ],
        )


@dataclass(slots=True)
class Progress:
    """State of one answer under way."""

    request: AnswerRequest
    watch: HandoffWatch | None = None
    route: Route | None = None
    """The latest decision; None before the first."""
    relay: Relay = field(default_factory=Relay)
    lost: dict[str, set[KernelLink | None]] = field(default_factory=dict)
    """Kernel -> links to its processes that cannot go on; None stands for a call without a link."""
    partners: dict[str, KernelLink] = field(default_factory=dict)
    """Kernel of the ensemble -> link to the process that the leader was told to ask."""
    again: str | None = None
    """The kernel that goes on by itself: by another process, or with another partner's process."""
    target: str | None = None
    """The kernel that the answer is being handed to."""
    is_over: bool = False
