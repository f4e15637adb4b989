"""Plain frozen records that all packages share: routes, answers, kernels, changes, statistics.

Records hold values and check their ranges; they have no behaviour beyond that.
"""

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
from constellation.records.nodes import (
    CPU,
    Device,
    KernelNeed,
    Location,
    Node,
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
    "COORDIZER_TOKENS",
    "CPU",
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
    "Device",
    "Finish",
    "FinishReason",
    "FloatArray",
    "KernelDescription",
    "KernelHealth",
    "KernelNeed",
    "KernelSite",
    "LengthRefusal",
    "LiveCollectivePhi",
    "Location",
    "Measurement",
    "Message",
    "Mode",
    "Node",
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
