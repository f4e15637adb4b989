"""All error classes that the project raises on purpose: one tree under `ConstellationError`.

A message gives the thing, the value, the limit and the way out. Public attributes hold the same
facts for programs; attributes survive pickling (Ray) and the wire (gRPC error details). This file
depends on neither: `constellation.wire.error_status` maps each class to a gRPC status and back.
"""

from collections.abc import Mapping
from typing import ClassVar


class ConstellationError(Exception):
    """Base class of every error that the project raises on purpose."""

    retryable: ClassVar[bool] = False
    """True when the same call may succeed later without a change by the caller."""

    def __reduce__(self) -> tuple[object, ...]:
        # The default rebuilds from `args`, which fails for keyword-only constructors; Ray would
        # then deliver `UnserializableException` instead of the error.
        return (rebuild, (type(self), str(self), dict(self.__dict__)))


def rebuild(
    kind: type["ConstellationError"], message: str, facts: Mapping[str, object]
) -> "ConstellationError":
    """Rebuild an error of class `kind` from its message and public attributes."""
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(facts)
    return error


class ConfigError(ConstellationError):
    """A setting, flag, recipe or constructor argument is wrong."""


class _FileError(ConstellationError):
    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        """The file or folder."""


class ArtifactError(_FileError):
    """A file the project wrote is missing, damaged, or does not belong with the other files."""


class CorpusError(_FileError):
    """A corpus is missing, empty or too damaged to use."""


class TrainingError(ConstellationError):
    """A training run cannot continue; its last good checkpoint is intact."""


class DoesNotFit(TrainingError):
    """A kernel's training needs more memory than the run may ever use.

    Attributes:
        kernel: Name of the kernel.
        needed_bytes: Memory that the training needs.
        limit_bytes: Memory limit of all trainings of the run together.
    """

    def __init__(self, kernel: str, *, needed_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"training kernel {kernel!r} needs {needed_bytes / 1e9:.2f} GB, and the limit is "
            f"{limit_bytes / 1e9:.2f} GB; raise workers.memory_limit_gb, or make batch_size, "
            "context or the kernel smaller"
        )
        self.kernel = kernel
        self.needed_bytes = needed_bytes
        self.limit_bytes = limit_bytes


class BudgetUsedUp(TrainingError):
    """A training run has used up its budget and stopped; it resumes when the budget is raised.

    Attributes:
        budget: "tokens", "minutes" or "cost".
        used: Amount used, in the unit of the budget.
        limit: Amount allowed, in the unit of the budget.
    """

    def __init__(self, budget: str, *, used: float, limit: float) -> None:
        super().__init__(
            f"the budget is used up: {used:,.6g} of {limit:,.6g} {budget}; checkpoints are "
            f"written, raise budget.{budget} and run the same command to go on"
        )
        self.budget = budget
        self.used = used
        self.limit = limit


class HlxError(ConstellationError):
    """A value, text or byte string is no valid HLX data.

    Attributes:
        code: Kind of mistake, such as "E_OVERLONG"; docs/hlx.md lists all codes.
        position: Place in the input, in `unit`s ("byte" or "character") from 0; None without input.
        expected: Description of what is valid there.
    """

    def __init__(
        self, code: str, expected: str, *, position: int | None = None, unit: str = "character"
    ) -> None:
        place = "" if position is None else f" at {unit} {position}"
        super().__init__(f"{code}{place}: expected {expected}")
        self.code = code
        self.position = position
        self.unit = unit
        self.expected = expected


class DeploymentError(ConstellationError):
    """A constellation cannot be started, reached or stopped."""


class NotOnLoopback(DeploymentError):
    """A process of this project listens on a network address although only loopback was allowed.

    Attributes:
        process: Name and id of the process.
        address: host:port at which it listens.
    """

    def __init__(self, process: str, *, address: str, advice: str) -> None:
        super().__init__(
            f"{process} listens at {address}, which other machines can reach, so everything was "
            f"stopped again; {advice}"
        )
        self.process = process
        self.address = address


class NotEnoughMemory(DeploymentError):
    """A kernel fits on no node beside the kernels that are placed there.

    Attributes:
        kernel: Name of the kernel.
        needed_bytes: Memory that the kernel needs on one device.
        free_bytes: Memory that is free on the device with the most free memory.
        num_nodes: Nodes that kernels can be served on.
    """

    def __init__(self, kernel: str, *, needed_bytes: int, free_bytes: int, num_nodes: int) -> None:
        super().__init__(
            f"kernel {kernel!r} needs {needed_bytes / 1e9:.2f} GB on one device, and at most "
            f"{free_bytes / 1e9:.2f} GB are free on each device of {num_nodes} nodes; add a node, "
            "serve fewer kernels, or store weights in fewer bits (kernel.weights)"
        )
        self.kernel = kernel
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        self.num_nodes = num_nodes


class RequestError(ConstellationError):
    """Base class of errors of one request; the service itself keeps running."""


class InvalidRequest(RequestError):
    """A field of a request is out of its range.

    Attributes:
        field: Name of the field.
        value: `repr` of the value that was sent, shortened to 80 characters.
        allowed: Description of the accepted values.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        super().__init__(f"{field} is {shown}; allowed: {allowed}")
        self.field = field
        self.value = shown
        self.allowed = allowed


class InvalidPrompt(RequestError):
    """A prompt is empty or longer than the limit of the kernel or of the service.

    Attributes:
        length: Length of the prompt.
        limit: Largest accepted length.
        unit: Unit of both lengths: "tokens" or "bytes".
    """

    def __init__(self, *, length: int, limit: int, unit: str = "tokens") -> None:
        problem = "is empty" if length == 0 else f"has {length} {unit}"
        super().__init__(f"the prompt {problem}; send 1 to {limit} {unit}")
        self.length = length
        self.limit = limit
        self.unit = unit


class UnknownSymbol(RequestError):
    """A text has a character that the kernel's own vocabulary lacks.

    Attributes:
        symbol: The character.
        position: Its place in the text that was read, in characters from 0.
        vocabulary: Name of the vocabulary, such as "120 symbols".
    """

    def __init__(self, symbol: str, *, position: int, vocabulary: str) -> None:
        super().__init__(
            f"the text has {symbol!r} (U+{ord(symbol):04X}) at character {position}, which the "
            f"kernel's vocabulary of {vocabulary} lacks; leave it out, or ask another kernel"
        )
        self.symbol = symbol
        self.position = position
        self.vocabulary = vocabulary


class InvalidBasin(RequestError):
    """An array is not a point of the probability simplex."""


class UnknownKernel(RequestError):
    """No kernel has this name.

    Attributes:
        kernel: The requested name.
        known: Names of the kernels that exist.
    """

    def __init__(self, kernel: str, known: list[str]) -> None:
        super().__init__(f"no kernel is named {kernel!r}; there are: {', '.join(known) or 'none'}")
        self.kernel = kernel
        self.known = list(known)


class MessageTooLarge(RequestError):
    """A message is over the size limit.

    Attributes:
        limit_bytes: Largest message accepted.
    """

    def __init__(self, *, limit_bytes: int, what: str = "message") -> None:
        way_out = "ask for less at once" if what == "reply" else "send less text"
        super().__init__(f"the {what} is over the limit of {limit_bytes} bytes; {way_out}")
        self.limit_bytes = limit_bytes


class Overloaded(RequestError):
    """A queue is full or a limit on rate or concurrency is reached.

    Attributes:
        what: The queue or limit, such as "kernel 'python'".
        depth: Number of requests waiting or running, or of other counted items.
        retry_after_s: Seconds to wait before another try is worth making.
    """

    retryable = True

    def __init__(
        self, what: str, *, depth: int, retry_after_s: float, counted: str = "requests waiting"
    ) -> None:
        super().__init__(f"{what} has {depth} {counted}; retry in {retry_after_s:.2f} s")
        self.what = what
        self.depth = depth
        self.retry_after_s = retry_after_s


class Unauthenticated(RequestError):
    """The bearer token is missing or wrong (the message does not reveal which)."""

    def __init__(self) -> None:
        super().__init__("this constellation needs a valid token; pass `token=` or --token-file")


class DeadlineExceeded(RequestError):
    """The request's deadline passed; work on the request has stopped."""

    retryable = True


class Cancelled(RequestError):
    """The caller disconnected or cancelled; work on the request has stopped."""


class OutOfDomain(RequestError):
    """A query lies outside every kernel's domain, and its caller asked to refuse such queries.

    Attributes:
        distances: Kernel name -> distance in radians, nearest first.
        radii: Kernel name -> distance in radians beyond which a query of this length is out of the
            kernel's domain, in the same order.
    """

    def __init__(self, distances: Mapping[str, float], radii: Mapping[str, float]) -> None:
        order = sorted(distances, key=lambda name: distances[name])
        nearest = order[0]
        super().__init__(
            f"the query is outside every kernel's radius; nearest is {nearest!r} at "
            f"{distances[nearest]:.3f} rad, and its radius for this query is "
            f"{radii[nearest]:.3f} rad; ask without refuse and refuse_out_of_domain to be answered "
            "anyway"
        )
        # Nearest first: a gRPC status with room for some kernels only keeps the nearest ones.
        self.distances = {name: distances[name] for name in order}
        self.radii = {name: radii[name] for name in order}


class ReloadRefused(RequestError):
    """A switch to another release was refused; the current release is still served.

    Attributes:
        reason: Why the release cannot be served, and the way out.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"nothing was reloaded: {reason}")
        self.reason = reason


class GrowthRefused(RequestError):
    """A kernel cannot be added, removed or changed as requested; what is served stays unchanged.

    Attributes:
        kernel: The kernel that was to join, leave or change.
        reason: Why the change cannot be made, and the way out.
    """

    def __init__(self, kernel: str, reason: str) -> None:
        super().__init__(f"kernel {kernel!r}: {reason}")
        self.kernel = kernel
        self.reason = reason


class IncompatibleKernels(RequestError):
    """A kernel with another vocabulary than the other kernels cannot serve together with them.

    Attributes:
        kernel: The kernel with the other vocabulary.
    """

    def __init__(self, kernel: str) -> None:
        super().__init__(
            f"kernel {kernel!r} has another vocabulary than the kernels it would work "
            "with; train it from the same seed kernel, or ask it alone"
        )
        self.kernel = kernel


class KernelUnavailable(RequestError):
    """A kernel cannot be reached, and no other kernel can answer instead at the moment.

    Attributes:
        kernel: Name of the kernel.
    """

    retryable = True

    def __init__(self, kernel: str, reason: str) -> None:
        super().__init__(f"kernel {kernel!r} is unavailable ({reason}); retry shortly")
        self.kernel = kernel


class ServiceUnavailable(RequestError):
    """A router cannot be reached, or is starting or draining.

    Attributes:
        endpoint: Address that was tried.
    """

    retryable = True

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"the constellation at {endpoint} cannot be reached: {reason}")
        self.endpoint = endpoint


class InternalError(RequestError):
    """A bug of this project failed a request; the server's log explains it under `error_id`.

    Attributes:
        error_id: Id that the server's log shows beside the traceback.
    """

    def __init__(self, error_id: str) -> None:
        super().__init__(f"internal error {error_id}; the server's log explains it")
        self.error_id = error_id
