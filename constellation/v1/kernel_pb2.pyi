from constellation.v1 import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KernelGenerateRequest(_message.Message):
    __slots__ = ("tokens", "sampling")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    sampling: _common_pb2.Sampling
    def __init__(self, tokens: _Optional[_Iterable[int]] = ..., sampling: _Optional[_Union[_common_pb2.Sampling, _Mapping]] = ...) -> None: ...

class KernelGenerateReply(_message.Message):
    __slots__ = ("text", "num_tokens", "finish", "logprobs")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    text: str
    num_tokens: int
    finish: _common_pb2.Finish
    logprobs: _containers.RepeatedCompositeFieldContainer[_common_pb2.TokenLogprob]
    def __init__(self, text: _Optional[str] = ..., num_tokens: _Optional[int] = ..., finish: _Optional[_Union[_common_pb2.Finish, _Mapping]] = ..., logprobs: _Optional[_Iterable[_Union[_common_pb2.TokenLogprob, _Mapping]]] = ...) -> None: ...

class KernelScoreRequest(_message.Message):
    __slots__ = ("tokens", "num_context")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    num_context: int
    def __init__(self, tokens: _Optional[_Iterable[int]] = ..., num_context: _Optional[int] = ...) -> None: ...

class KernelScoreReply(_message.Message):
    __slots__ = ("nats", "num_tokens")
    NATS_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    nats: float
    num_tokens: int
    def __init__(self, nats: _Optional[float] = ..., num_tokens: _Optional[int] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeReply(_message.Message):
    __slots__ = ("name", "tokenizer_hash", "context", "num_parameters", "pid", "queue_depth", "num_running", "uptime", "num_unexpected_errors")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_HASH_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    NUM_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    NUM_RUNNING_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    NUM_UNEXPECTED_ERRORS_FIELD_NUMBER: _ClassVar[int]
    name: str
    tokenizer_hash: str
    context: int
    num_parameters: int
    pid: int
    queue_depth: int
    num_running: int
    uptime: _duration_pb2.Duration
    num_unexpected_errors: int
    def __init__(self, name: _Optional[str] = ..., tokenizer_hash: _Optional[str] = ..., context: _Optional[int] = ..., num_parameters: _Optional[int] = ..., pid: _Optional[int] = ..., queue_depth: _Optional[int] = ..., num_running: _Optional[int] = ..., uptime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., num_unexpected_errors: _Optional[int] = ...) -> None: ...
