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
from constellation.records.array_types import (
    FloatArray,
    TokenArray,
)
from constellation.records.capabilities import (
    COORDIZER_TOKENS,
    EVERYTHING,
    FOREIGN_NETWORK,
    OWN_VOCABULARY,
    Capabilities,
)
from constellation.records.changes import (
    Add,
    Change,
    Changed,
    Reload,
    Retire,
    RollBack,
    Spawn,
    Unlearn,
)
from constellation.records.kernels import (
    KernelDescription,
    KernelHealth,
    KernelSite,
    Share,
    Table,
)
from constellation.records.measurements import (
    LiveCollectivePhi,
    Measurement,
)
from constellation.records.messages import Message
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
    "COORDIZER_TOKENS",
    "EVERYTHING",
    "FOREIGN_NETWORK",
    "OWN_VOCABULARY",
    "SHARE_DEFAULT",
    "STOPS_MAX",
    "TOKENS_MAX",
    "Add",
    "Alternative",
    "Capabilities",
    "Change",
    "Changed",
    "Choice",
    "Finish",
    "FinishReason",
    "FloatArray",
    "KernelDescription",
    "KernelHealth",
    "KernelSite",
    "LengthRefusal",
    "LiveCollectivePhi",
    "Measurement",
    "Message",
    "Mode",
    "Piece",
    "Refusal",
    "Reload",
    "Retire",
    "RollBack",
    "Route",
    "RoutingOptions",
    "Rule",
    "Sampling",
    "Score",
    "Segment",
    "Share",
    "Spawn",
    "Table",
    "Thresholds",
    "TokenArray",
    "TokenInfluence",
    "TokenLogprob",
    "Unlearn",
    "transcript",
]
