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
from constellation.records.durations import (
    Durations,
    Quantiles,
    bin_of,
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
from constellation.records.overview import (
    RELEASES_LISTED,
    KernelTraining,
    NodeState,
    Overview,
    ReleaseSummary,
    TrainingStatus,
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
from constellation.records.traffic import (
    WINDOW_S,
    RecentRoute,
    SecondCount,
    Traffic,
)

__all__ = [
    "COORDIZER_TOKENS",
    "CPU",
    "EVERYTHING",
    "FOREIGN_NETWORK",
    "OWN_VOCABULARY",
    "RELEASES_LISTED",
    "SHARE_DEFAULT",
    "STOPS_MAX",
    "TOKENS_MAX",
    "WINDOW_S",
    "Add",
    "Alternative",
    "Capabilities",
    "Change",
    "Changed",
    "Choice",
    "Device",
    "Durations",
    "Finish",
    "FinishReason",
    "FloatArray",
    "KernelDescription",
    "KernelHealth",
    "KernelNeed",
    "KernelSite",
    "KernelTraining",
    "LengthRefusal",
    "LiveCollectivePhi",
    "Location",
    "Measurement",
    "Message",
    "Mode",
    "Node",
    "NodeState",
    "Overview",
    "Piece",
    "Quantiles",
    "RecentRoute",
    "Refusal",
    "ReleaseSummary",
    "Reload",
    "Retire",
    "RollBack",
    "Route",
    "RoutingOptions",
    "Rule",
    "Sampling",
    "Score",
    "SecondCount",
    "Segment",
    "Share",
    "Spawn",
    "Table",
    "Thresholds",
    "TokenArray",
    "TokenInfluence",
    "TokenLogprob",
    "Traffic",
    "TrainingStatus",
    "Unlearn",
    "bin_of",
    "transcript",
]
