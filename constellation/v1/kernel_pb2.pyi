from constellation.v1 import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KernelGenerateRequest(_message.Message):
    __slots__ = ("tokens", "sampling", "kernel", "produced", "client", "ensemble", "num_produced", "messages")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    NUM_PRODUCED_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    sampling: _common_pb2.Sampling
    kernel: str
    produced: _containers.RepeatedScalarFieldContainer[int]
    client: str
    ensemble: Ensemble
    num_produced: int
    messages: _containers.RepeatedCompositeFieldContainer[_common_pb2.RoleMessage]
    def __init__(self, tokens: _Optional[_Iterable[int]] = ..., sampling: _Optional[_Union[_common_pb2.Sampling, _Mapping]] = ..., kernel: _Optional[str] = ..., produced: _Optional[_Iterable[int]] = ..., client: _Optional[str] = ..., ensemble: _Optional[_Union[Ensemble, _Mapping]] = ..., num_produced: _Optional[int] = ..., messages: _Optional[_Iterable[_Union[_common_pb2.RoleMessage, _Mapping]]] = ...) -> None: ...

class Ensemble(_message.Message):
    __slots__ = ("mode", "members", "renewal")
    MODE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FIELD_NUMBER: _ClassVar[int]
    mode: _common_pb2.Mode
    members: _containers.RepeatedCompositeFieldContainer[Member]
    renewal: Renewal
    def __init__(self, mode: _Optional[_Union[_common_pb2.Mode, str]] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., renewal: _Optional[_Union[Renewal, _Mapping]] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("kernel", "endpoint", "weight")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    endpoint: str
    weight: float
    def __init__(self, kernel: _Optional[str] = ..., endpoint: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Renewal(_message.Message):
    __slots__ = ("table", "rule", "phi_weighting")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    PHI_WEIGHTING_FIELD_NUMBER: _ClassVar[int]
    table: bytes
    rule: _common_pb2.Rule
    phi_weighting: bool
    def __init__(self, table: _Optional[bytes] = ..., rule: _Optional[_Union[_common_pb2.Rule, str]] = ..., phi_weighting: bool = ...) -> None: ...

class KernelGenerateReply(_message.Message):
    __slots__ = ("text", "num_tokens", "finish", "logprobs", "tokens")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    text: str
    num_tokens: int
    finish: _common_pb2.Finish
    logprobs: _containers.RepeatedCompositeFieldContainer[_common_pb2.TokenLogprob]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, text: _Optional[str] = ..., num_tokens: _Optional[int] = ..., finish: _Optional[_Union[_common_pb2.Finish, _Mapping]] = ..., logprobs: _Optional[_Iterable[_Union[_common_pb2.TokenLogprob, _Mapping]]] = ..., tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class KernelScoreRequest(_message.Message):
    __slots__ = ("tokens", "num_context", "kernel", "client", "ensemble", "per_token")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    num_context: int
    kernel: str
    client: str
    ensemble: Ensemble
    per_token: bool
    def __init__(self, tokens: _Optional[_Iterable[int]] = ..., num_context: _Optional[int] = ..., kernel: _Optional[str] = ..., client: _Optional[str] = ..., ensemble: _Optional[_Union[Ensemble, _Mapping]] = ..., per_token: bool = ...) -> None: ...

class KernelScoreReply(_message.Message):
    __slots__ = ("nats", "num_tokens", "token_nats")
    NATS_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_NATS_FIELD_NUMBER: _ClassVar[int]
    nats: float
    num_tokens: int
    token_nats: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, nats: _Optional[float] = ..., num_tokens: _Optional[int] = ..., token_nats: _Optional[_Iterable[float]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("start", "token")
    START_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    start: PredictStart
    token: int
    def __init__(self, start: _Optional[_Union[PredictStart, _Mapping]] = ..., token: _Optional[int] = ...) -> None: ...

class PredictStart(_message.Message):
    __slots__ = ("kernel", "tokens", "tokenizer_hash", "is_scored", "client")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_HASH_FIELD_NUMBER: _ClassVar[int]
    IS_SCORED_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    tokens: _containers.RepeatedScalarFieldContainer[int]
    tokenizer_hash: str
    is_scored: bool
    client: str
    def __init__(self, kernel: _Optional[str] = ..., tokens: _Optional[_Iterable[int]] = ..., tokenizer_hash: _Optional[str] = ..., is_scored: bool = ..., client: _Optional[str] = ...) -> None: ...

class PredictReply(_message.Message):
    __slots__ = ("context", "logits", "prompt_token_nats")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKEN_NATS_FIELD_NUMBER: _ClassVar[int]
    context: int
    logits: bytes
    prompt_token_nats: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, context: _Optional[int] = ..., logits: _Optional[bytes] = ..., prompt_token_nats: _Optional[_Iterable[float]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("kernel",)
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    def __init__(self, kernel: _Optional[str] = ...) -> None: ...

class DescribeReply(_message.Message):
    __slots__ = ("name", "tokenizer_hash", "context", "num_parameters", "pid", "queue_depth", "num_running", "uptime", "num_unexpected_errors", "capabilities", "vocabulary")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_HASH_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    NUM_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    NUM_RUNNING_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    NUM_UNEXPECTED_ERRORS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    name: str
    tokenizer_hash: str
    context: int
    num_parameters: int
    pid: int
    queue_depth: int
    num_running: int
    uptime: _duration_pb2.Duration
    num_unexpected_errors: int
    capabilities: _common_pb2.Capabilities
    vocabulary: str
    def __init__(self, name: _Optional[str] = ..., tokenizer_hash: _Optional[str] = ..., context: _Optional[int] = ..., num_parameters: _Optional[int] = ..., pid: _Optional[int] = ..., queue_depth: _Optional[int] = ..., num_running: _Optional[int] = ..., uptime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., num_unexpected_errors: _Optional[int] = ..., capabilities: _Optional[_Union[_common_pb2.Capabilities, _Mapping]] = ..., vocabulary: _Optional[str] = ...) -> None: ...

class DescribeAllRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeAllReply(_message.Message):
    __slots__ = ("kernels", "progress")
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    kernels: _containers.RepeatedCompositeFieldContainer[DescribeReply]
    progress: Progress
    def __init__(self, kernels: _Optional[_Iterable[_Union[DescribeReply, _Mapping]]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("kernel", "stalled", "num_failed_probes", "reason")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    STALLED_FIELD_NUMBER: _ClassVar[int]
    NUM_FAILED_PROBES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    stalled: _duration_pb2.Duration
    num_failed_probes: int
    reason: str
    def __init__(self, kernel: _Optional[str] = ..., stalled: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., num_failed_probes: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...
