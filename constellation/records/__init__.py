"""Plain frozen records shared by all floors. They hold facts and check them, nothing else."""

from constellation.records.answers import (
    STOPS_MAX,
    TOKENS_MAX,
    Alternative,
    Finish,
    FinishReason,
    Piece,
    Sampling,
    Score,
    Segment,
    TokenLogprob,
    transcript,
)
from constellation.records.arrays import (
    FloatArray,
    TokenArray,
)
from constellation.records.kernels import (
    Grown,
    KernelDescription,
    KernelHealth,
    KernelSite,
    Reloaded,
    Share,
    Split,
    Table,
)
from constellation.records.measurements import (
    LiveCollectivePhi,
    Measurement,
)
from constellation.records.refusal import (
    SHARE_DEFAULT,
    LengthRefusal,
    Refusal,
    Thresholds,
)
from constellation.records.routing import (
    Choice,
    Mode,
    Route,
    RoutingOptions,
    Rule,
    TokenInfluence,
)

__all__ = [
    "SHARE_DEFAULT",
    "STOPS_MAX",
    "TOKENS_MAX",
    "Alternative",
    "Choice",
    "Finish",
    "FinishReason",
    "FloatArray",
    "Grown",
    "KernelDescription",
    "KernelHealth",
    "KernelSite",
    "LengthRefusal",
    "LiveCollectivePhi",
    "Measurement",
    "Mode",
    "Piece",
    "Refusal",
    "Reloaded",
    "Route",
    "RoutingOptions",
    "Rule",
    "Sampling",
    "Score",
    "Segment",
    "Share",
    "Split",
    "Table",
    "Thresholds",
    "TokenArray",
    "TokenInfluence",
    "TokenLogprob",
    "transcript",
]
