from constellation.v1 import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Routing(_message.Message):
    __slots__ = ("rule", "mode", "top_k", "kernel", "refuse_out_of_domain", "explain", "basin", "handoff", "refuse", "without")
    RULE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    REFUSE_OUT_OF_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    BASIN_FIELD_NUMBER: _ClassVar[int]
    HANDOFF_FIELD_NUMBER: _ClassVar[int]
    REFUSE_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_FIELD_NUMBER: _ClassVar[int]
    rule: _common_pb2.Rule
    mode: _common_pb2.Mode
    top_k: int
    kernel: str
    refuse_out_of_domain: bool
    explain: bool
    basin: _common_pb2.Point
    handoff: bool
    refuse: float
    without: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rule: _Optional[_Union[_common_pb2.Rule, str]] = ..., mode: _Optional[_Union[_common_pb2.Mode, str]] = ..., top_k: _Optional[int] = ..., kernel: _Optional[str] = ..., refuse_out_of_domain: bool = ..., explain: bool = ..., basin: _Optional[_Union[_common_pb2.Point, _Mapping]] = ..., handoff: bool = ..., refuse: _Optional[float] = ..., without: _Optional[_Iterable[str]] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("prompt", "sampling", "routing", "request_id")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    sampling: _common_pb2.Sampling
    routing: Routing
    request_id: str
    def __init__(self, prompt: _Optional[str] = ..., sampling: _Optional[_Union[_common_pb2.Sampling, _Mapping]] = ..., routing: _Optional[_Union[Routing, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class GenerateReply(_message.Message):
    __slots__ = ("route", "text", "num_tokens", "finish", "logprobs", "tokens", "trace_id")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    route: RouteDecision
    text: str
    num_tokens: int
    finish: _common_pb2.Finish
    logprobs: _containers.RepeatedCompositeFieldContainer[_common_pb2.TokenLogprob]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    trace_id: str
    def __init__(self, route: _Optional[_Union[RouteDecision, _Mapping]] = ..., text: _Optional[str] = ..., num_tokens: _Optional[int] = ..., finish: _Optional[_Union[_common_pb2.Finish, _Mapping]] = ..., logprobs: _Optional[_Iterable[_Union[_common_pb2.TokenLogprob, _Mapping]]] = ..., tokens: _Optional[_Iterable[int]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("context", "text", "routing")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    context: str
    text: str
    routing: Routing
    def __init__(self, context: _Optional[str] = ..., text: _Optional[str] = ..., routing: _Optional[_Union[Routing, _Mapping]] = ...) -> None: ...

class ScoreReply(_message.Message):
    __slots__ = ("route", "nats", "num_tokens", "num_bytes", "trace_id")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    NATS_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    route: RouteDecision
    nats: float
    num_tokens: int
    num_bytes: int
    trace_id: str
    def __init__(self, route: _Optional[_Union[RouteDecision, _Mapping]] = ..., nats: _Optional[float] = ..., num_tokens: _Optional[int] = ..., num_bytes: _Optional[int] = ..., trace_id: _Optional[str] = ...) -> None: ...

class RouteRequest(_message.Message):
    __slots__ = ("text", "routing")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    text: str
    routing: Routing
    def __init__(self, text: _Optional[str] = ..., routing: _Optional[_Union[Routing, _Mapping]] = ...) -> None: ...

class RouteReply(_message.Message):
    __slots__ = ("route", "basin")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    BASIN_FIELD_NUMBER: _ClassVar[int]
    route: RouteDecision
    basin: _common_pb2.Point
    def __init__(self, route: _Optional[_Union[RouteDecision, _Mapping]] = ..., basin: _Optional[_Union[_common_pb2.Point, _Mapping]] = ...) -> None: ...

class RouteDecision(_message.Message):
    __slots__ = ("choices", "kernel", "reason", "rule", "mode", "margin", "out_of_domain", "no_evidence", "num_tokens", "table_version", "influences", "beyond_own", "beyond_foreign")
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NO_EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    INFLUENCES_FIELD_NUMBER: _ClassVar[int]
    BEYOND_OWN_FIELD_NUMBER: _ClassVar[int]
    BEYOND_FOREIGN_FIELD_NUMBER: _ClassVar[int]
    choices: _containers.RepeatedCompositeFieldContainer[RouteChoice]
    kernel: str
    reason: str
    rule: _common_pb2.Rule
    mode: _common_pb2.Mode
    margin: float
    out_of_domain: bool
    no_evidence: bool
    num_tokens: int
    table_version: int
    influences: _containers.RepeatedCompositeFieldContainer[TokenInfluence]
    beyond_own: float
    beyond_foreign: float
    def __init__(self, choices: _Optional[_Iterable[_Union[RouteChoice, _Mapping]]] = ..., kernel: _Optional[str] = ..., reason: _Optional[str] = ..., rule: _Optional[_Union[_common_pb2.Rule, str]] = ..., mode: _Optional[_Union[_common_pb2.Mode, str]] = ..., margin: _Optional[float] = ..., out_of_domain: bool = ..., no_evidence: bool = ..., num_tokens: _Optional[int] = ..., table_version: _Optional[int] = ..., influences: _Optional[_Iterable[_Union[TokenInfluence, _Mapping]]] = ..., beyond_own: _Optional[float] = ..., beyond_foreign: _Optional[float] = ...) -> None: ...

class RouteChoice(_message.Message):
    __slots__ = ("kernel", "seat", "distance", "weight", "radius", "basin")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    SEAT_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    BASIN_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    seat: int
    distance: float
    weight: float
    radius: float
    basin: int
    def __init__(self, kernel: _Optional[str] = ..., seat: _Optional[int] = ..., distance: _Optional[float] = ..., weight: _Optional[float] = ..., radius: _Optional[float] = ..., basin: _Optional[int] = ...) -> None: ...

class TokenInfluence(_message.Message):
    __slots__ = ("text", "position", "shift")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    text: str
    position: int
    shift: float
    def __init__(self, text: _Optional[str] = ..., position: _Optional[int] = ..., shift: _Optional[float] = ...) -> None: ...

class BasinRequest(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class BasinReply(_message.Message):
    __slots__ = ("basin", "tokens", "coordizer_hash")
    BASIN_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    COORDIZER_HASH_FIELD_NUMBER: _ClassVar[int]
    basin: _common_pb2.Point
    tokens: _containers.RepeatedScalarFieldContainer[int]
    coordizer_hash: str
    def __init__(self, basin: _Optional[_Union[_common_pb2.Point, _Mapping]] = ..., tokens: _Optional[_Iterable[int]] = ..., coordizer_hash: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("table_version", "coordizer_hash", "kernels", "router_pid", "uptime", "load_entropy_ratio", "num_unexpected_errors", "registry_pid", "routers", "collective_phi", "start_problem", "refusal", "router", "traffic", "release", "release_since", "releases", "nodes", "training")
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    COORDIZER_HASH_FIELD_NUMBER: _ClassVar[int]
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    ROUTER_PID_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    LOAD_ENTROPY_RATIO_FIELD_NUMBER: _ClassVar[int]
    NUM_UNEXPECTED_ERRORS_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_PID_FIELD_NUMBER: _ClassVar[int]
    ROUTERS_FIELD_NUMBER: _ClassVar[int]
    COLLECTIVE_PHI_FIELD_NUMBER: _ClassVar[int]
    START_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_SINCE_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    table_version: int
    coordizer_hash: str
    kernels: _containers.RepeatedCompositeFieldContainer[KernelStatus]
    router_pid: int
    uptime: _duration_pb2.Duration
    load_entropy_ratio: float
    num_unexpected_errors: int
    registry_pid: int
    routers: _containers.RepeatedCompositeFieldContainer[RouterStatus]
    collective_phi: CollectivePhi
    start_problem: str
    refusal: _containers.RepeatedCompositeFieldContainer[LengthRefusal]
    router: str
    traffic: Traffic
    release: int
    release_since: _timestamp_pb2.Timestamp
    releases: _containers.RepeatedCompositeFieldContainer[ReleaseSummary]
    nodes: _containers.RepeatedCompositeFieldContainer[NodeState]
    training: TrainingStatus
    def __init__(self, table_version: _Optional[int] = ..., coordizer_hash: _Optional[str] = ..., kernels: _Optional[_Iterable[_Union[KernelStatus, _Mapping]]] = ..., router_pid: _Optional[int] = ..., uptime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., load_entropy_ratio: _Optional[float] = ..., num_unexpected_errors: _Optional[int] = ..., registry_pid: _Optional[int] = ..., routers: _Optional[_Iterable[_Union[RouterStatus, _Mapping]]] = ..., collective_phi: _Optional[_Union[CollectivePhi, _Mapping]] = ..., start_problem: _Optional[str] = ..., refusal: _Optional[_Iterable[_Union[LengthRefusal, _Mapping]]] = ..., router: _Optional[str] = ..., traffic: _Optional[_Union[Traffic, _Mapping]] = ..., release: _Optional[int] = ..., release_since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., releases: _Optional[_Iterable[_Union[ReleaseSummary, _Mapping]]] = ..., nodes: _Optional[_Iterable[_Union[NodeState, _Mapping]]] = ..., training: _Optional[_Union[TrainingStatus, _Mapping]] = ...) -> None: ...

class Traffic(_message.Message):
    __slots__ = ("requests", "failed", "refused", "tokens", "latency", "first_token", "requests_of_second", "tokens_of_second")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_OF_SECOND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_OF_SECOND_FIELD_NUMBER: _ClassVar[int]
    requests: int
    failed: int
    refused: int
    tokens: int
    latency: Durations
    first_token: Durations
    requests_of_second: _containers.RepeatedScalarFieldContainer[int]
    tokens_of_second: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, requests: _Optional[int] = ..., failed: _Optional[int] = ..., refused: _Optional[int] = ..., tokens: _Optional[int] = ..., latency: _Optional[_Union[Durations, _Mapping]] = ..., first_token: _Optional[_Union[Durations, _Mapping]] = ..., requests_of_second: _Optional[_Iterable[int]] = ..., tokens_of_second: _Optional[_Iterable[int]] = ...) -> None: ...

class Durations(_message.Message):
    __slots__ = ("counts",)
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.ScalarMap[int, int]
    def __init__(self, counts: _Optional[_Mapping[int, int]] = ...) -> None: ...

class ReleaseSummary(_message.Message):
    __slots__ = ("number", "made", "change", "parent")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MADE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    made: _timestamp_pb2.Timestamp
    change: str
    parent: int
    def __init__(self, number: _Optional[int] = ..., made: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., change: _Optional[str] = ..., parent: _Optional[int] = ...) -> None: ...

class NodeState(_message.Message):
    __slots__ = ("id", "address", "num_processes", "memory_bytes", "memory_free_bytes", "load_ratio", "disk_free_bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NUM_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOAD_RATIO_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    num_processes: int
    memory_bytes: int
    memory_free_bytes: int
    load_ratio: float
    disk_free_bytes: int
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., num_processes: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., memory_free_bytes: _Optional[int] = ..., load_ratio: _Optional[float] = ..., disk_free_bytes: _Optional[int] = ...) -> None: ...

class TrainingStatus(_message.Message):
    __slots__ = ("state", "updated", "kernels")
    STATE_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    state: str
    updated: _timestamp_pb2.Timestamp
    kernels: _containers.RepeatedCompositeFieldContainer[KernelTraining]
    def __init__(self, state: _Optional[str] = ..., updated: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., kernels: _Optional[_Iterable[_Union[KernelTraining, _Mapping]]] = ...) -> None: ...

class KernelTraining(_message.Message):
    __slots__ = ("kernel", "state", "step", "num_steps", "bits_per_byte", "dev_bits_per_byte", "tokens_per_second", "eta_s", "phase", "guard")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    BITS_PER_BYTE_FIELD_NUMBER: _ClassVar[int]
    DEV_BITS_PER_BYTE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ETA_S_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    state: str
    step: int
    num_steps: int
    bits_per_byte: float
    dev_bits_per_byte: float
    tokens_per_second: float
    eta_s: float
    phase: str
    guard: str
    def __init__(self, kernel: _Optional[str] = ..., state: _Optional[str] = ..., step: _Optional[int] = ..., num_steps: _Optional[int] = ..., bits_per_byte: _Optional[float] = ..., dev_bits_per_byte: _Optional[float] = ..., tokens_per_second: _Optional[float] = ..., eta_s: _Optional[float] = ..., phase: _Optional[str] = ..., guard: _Optional[str] = ...) -> None: ...

class LengthRefusal(_message.Message):
    __slots__ = ("num_tokens", "share", "refused", "caught", "num_texts", "num_documents")
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_FIELD_NUMBER: _ClassVar[int]
    NUM_TEXTS_FIELD_NUMBER: _ClassVar[int]
    NUM_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    num_tokens: int
    share: float
    refused: float
    caught: float
    num_texts: int
    num_documents: int
    def __init__(self, num_tokens: _Optional[int] = ..., share: _Optional[float] = ..., refused: _Optional[float] = ..., caught: _Optional[float] = ..., num_texts: _Optional[int] = ..., num_documents: _Optional[int] = ...) -> None: ...

class CollectivePhi(_message.Message):
    __slots__ = ("num_prompts", "num_needed", "phi_bits", "low", "high", "random_routing_bits", "uniform_ensemble_bits", "best_kernel")
    NUM_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    NUM_NEEDED_FIELD_NUMBER: _ClassVar[int]
    PHI_BITS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    RANDOM_ROUTING_BITS_FIELD_NUMBER: _ClassVar[int]
    UNIFORM_ENSEMBLE_BITS_FIELD_NUMBER: _ClassVar[int]
    BEST_KERNEL_FIELD_NUMBER: _ClassVar[int]
    num_prompts: int
    num_needed: int
    phi_bits: float
    low: float
    high: float
    random_routing_bits: float
    uniform_ensemble_bits: float
    best_kernel: str
    def __init__(self, num_prompts: _Optional[int] = ..., num_needed: _Optional[int] = ..., phi_bits: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., random_routing_bits: _Optional[float] = ..., uniform_ensemble_bits: _Optional[float] = ..., best_kernel: _Optional[str] = ...) -> None: ...

class RouterStatus(_message.Message):
    __slots__ = ("name", "endpoint", "up", "pid", "num_restarts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    NUM_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    endpoint: str
    up: bool
    pid: int
    num_restarts: int
    def __init__(self, name: _Optional[str] = ..., endpoint: _Optional[str] = ..., up: bool = ..., pid: _Optional[int] = ..., num_restarts: _Optional[int] = ...) -> None: ...

class ReplicaStatus(_message.Message):
    __slots__ = ("member", "endpoint", "pid", "num_restarts", "queue_depth", "num_running", "node")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    NUM_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    NUM_RUNNING_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    member: str
    endpoint: str
    pid: int
    num_restarts: int
    queue_depth: int
    num_running: int
    node: str
    def __init__(self, member: _Optional[str] = ..., endpoint: _Optional[str] = ..., pid: _Optional[int] = ..., num_restarts: _Optional[int] = ..., queue_depth: _Optional[int] = ..., num_running: _Optional[int] = ..., node: _Optional[str] = ...) -> None: ...

class KernelStatus(_message.Message):
    __slots__ = ("name", "seat", "endpoint", "up", "pid", "num_restarts", "num_routed", "phi_gauge", "basin", "queue_depth", "num_running", "basins", "arrived", "num_held_out", "family", "capabilities", "vocabulary", "node", "replicas", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEAT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    NUM_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    NUM_ROUTED_FIELD_NUMBER: _ClassVar[int]
    PHI_GAUGE_FIELD_NUMBER: _ClassVar[int]
    BASIN_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    NUM_RUNNING_FIELD_NUMBER: _ClassVar[int]
    BASINS_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_FIELD_NUMBER: _ClassVar[int]
    NUM_HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    seat: int
    endpoint: str
    up: bool
    pid: int
    num_restarts: int
    num_routed: int
    phi_gauge: float
    basin: _common_pb2.Point
    queue_depth: int
    num_running: int
    basins: _containers.RepeatedCompositeFieldContainer[_common_pb2.Point]
    arrived: float
    num_held_out: int
    family: str
    capabilities: _common_pb2.Capabilities
    vocabulary: str
    node: str
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaStatus]
    problem: str
    def __init__(self, name: _Optional[str] = ..., seat: _Optional[int] = ..., endpoint: _Optional[str] = ..., up: bool = ..., pid: _Optional[int] = ..., num_restarts: _Optional[int] = ..., num_routed: _Optional[int] = ..., phi_gauge: _Optional[float] = ..., basin: _Optional[_Union[_common_pb2.Point, _Mapping]] = ..., queue_depth: _Optional[int] = ..., num_running: _Optional[int] = ..., basins: _Optional[_Iterable[_Union[_common_pb2.Point, _Mapping]]] = ..., arrived: _Optional[float] = ..., num_held_out: _Optional[int] = ..., family: _Optional[str] = ..., capabilities: _Optional[_Union[_common_pb2.Capabilities, _Mapping]] = ..., vocabulary: _Optional[str] = ..., node: _Optional[str] = ..., replicas: _Optional[_Iterable[_Union[ReplicaStatus, _Mapping]]] = ..., problem: _Optional[str] = ...) -> None: ...

class TableRequest(_message.Message):
    __slots__ = ("known_version",)
    KNOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    known_version: int
    def __init__(self, known_version: _Optional[int] = ...) -> None: ...

class TableReply(_message.Message):
    __slots__ = ("version", "snapshot", "rule", "top_k", "phi_weighting")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    PHI_WEIGHTING_FIELD_NUMBER: _ClassVar[int]
    version: int
    snapshot: bytes
    rule: _common_pb2.Rule
    top_k: int
    phi_weighting: bool
    def __init__(self, version: _Optional[int] = ..., snapshot: _Optional[bytes] = ..., rule: _Optional[_Union[_common_pb2.Rule, str]] = ..., top_k: _Optional[int] = ..., phi_weighting: bool = ...) -> None: ...

class ChangeRequest(_message.Message):
    __slots__ = ("reload", "add", "spawn", "retire", "unlearn", "roll_back", "rebalance")
    RELOAD_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    SPAWN_FIELD_NUMBER: _ClassVar[int]
    RETIRE_FIELD_NUMBER: _ClassVar[int]
    UNLEARN_FIELD_NUMBER: _ClassVar[int]
    ROLL_BACK_FIELD_NUMBER: _ClassVar[int]
    REBALANCE_FIELD_NUMBER: _ClassVar[int]
    reload: ReloadChange
    add: AddChange
    spawn: SpawnChange
    retire: RetireChange
    unlearn: UnlearnChange
    roll_back: RollBackChange
    rebalance: RebalanceChange
    def __init__(self, reload: _Optional[_Union[ReloadChange, _Mapping]] = ..., add: _Optional[_Union[AddChange, _Mapping]] = ..., spawn: _Optional[_Union[SpawnChange, _Mapping]] = ..., retire: _Optional[_Union[RetireChange, _Mapping]] = ..., unlearn: _Optional[_Union[UnlearnChange, _Mapping]] = ..., roll_back: _Optional[_Union[RollBackChange, _Mapping]] = ..., rebalance: _Optional[_Union[RebalanceChange, _Mapping]] = ...) -> None: ...

class RebalanceChange(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadChange(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddChange(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class SpawnChange(_message.Message):
    __slots__ = ("parent", "name")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    parent: str
    name: str
    def __init__(self, parent: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class RetireChange(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UnlearnChange(_message.Message):
    __slots__ = ("kernel", "source")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    source: str
    def __init__(self, kernel: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class RollBackChange(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: int
    def __init__(self, release: _Optional[int] = ...) -> None: ...

class ChangeReply(_message.Message):
    __slots__ = ("release", "table_version", "joined", "left", "reloaded", "moved")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RELOADED_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    release: int
    table_version: int
    joined: _containers.RepeatedScalarFieldContainer[str]
    left: _containers.RepeatedScalarFieldContainer[str]
    reloaded: _containers.RepeatedScalarFieldContainer[str]
    moved: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, release: _Optional[int] = ..., table_version: _Optional[int] = ..., joined: _Optional[_Iterable[str]] = ..., left: _Optional[_Iterable[str]] = ..., reloaded: _Optional[_Iterable[str]] = ..., moved: _Optional[_Iterable[str]] = ...) -> None: ...
