"""Plain frozen records that all packages share: routes, answers, kernels, changes, statistics.

Records hold values and check their ranges; they have no behaviour beyond that.
"""

from constellation.records.answers import STOPS_MAX as STOPS_MAX
from constellation.records.answers import TOKENS_MAX as TOKENS_MAX
from constellation.records.answers import Alternative as Alternative
from constellation.records.answers import Finish as Finish
from constellation.records.answers import FinishReason as FinishReason
from constellation.records.answers import Piece as Piece
from constellation.records.answers import Sampling as Sampling
from constellation.records.answers import Score as Score
from constellation.records.answers import Segment as Segment
from constellation.records.answers import TokenLogprob as TokenLogprob
from constellation.records.answers import transcript as transcript
from constellation.records.array_types import FloatArray as FloatArray
from constellation.records.array_types import TokenArray as TokenArray
from constellation.records.capabilities import COORDIZER_TOKENS as COORDIZER_TOKENS
from constellation.records.capabilities import EVERYTHING as EVERYTHING
from constellation.records.capabilities import FOREIGN_NETWORK as FOREIGN_NETWORK
from constellation.records.capabilities import OWN_VOCABULARY as OWN_VOCABULARY
from constellation.records.capabilities import Capabilities as Capabilities
from constellation.records.changes import Add as Add
from constellation.records.changes import Change as Change
from constellation.records.changes import Changed as Changed
from constellation.records.changes import Reload as Reload
from constellation.records.changes import Retire as Retire
from constellation.records.changes import RollBack as RollBack
from constellation.records.changes import Spawn as Spawn
from constellation.records.changes import Unlearn as Unlearn
from constellation.records.kernels import KernelDescription as KernelDescription
from constellation.records.kernels import KernelHealth as KernelHealth
from constellation.records.kernels import KernelSite as KernelSite
from constellation.records.kernels import Share as Share
from constellation.records.kernels import Table as Table
from constellation.records.measurements import LiveCollectivePhi as LiveCollectivePhi
from constellation.records.measurements import Measurement as Measurement
from constellation.records.messages import Message as Message
from constellation.records.nodes import CPU as CPU
from constellation.records.nodes import Device as Device
from constellation.records.nodes import KernelNeed as KernelNeed
from constellation.records.nodes import Location as Location
from constellation.records.nodes import Node as Node
from constellation.records.refusal import SHARE_DEFAULT as SHARE_DEFAULT
from constellation.records.refusal import LengthRefusal as LengthRefusal
from constellation.records.refusal import Refusal as Refusal
from constellation.records.refusal import Thresholds as Thresholds
from constellation.records.routing import Choice as Choice
from constellation.records.routing import Mode as Mode
from constellation.records.routing import Route as Route
from constellation.records.routing import RoutingOptions as RoutingOptions
from constellation.records.routing import Rule as Rule
from constellation.records.routing import TokenInfluence as TokenInfluence
