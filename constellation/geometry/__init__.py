"""Fisher-Rao geometry of the probability simplex, and the E8 root lattice; pure mathematics.

All distances, means and interpolations between basins (points of the simplex) are computed here;
`tests/geometry` scans the rest of the repository for basin arithmetic. Works on numpy arrays and
torch tensors alike; never imports torch, reads no clock, draws no random numbers.
"""

from constellation.geometry.bearings import BEARING_MIN, angle, bearing, has_bearing, mean_bearing
from constellation.geometry.maps import exp_map, log_map, parallel_transport
from constellation.geometry.means import (
    HellingerSum,
    KarcherReport,
    add_hellinger_sums,
    hellinger_mean,
    karcher_mean,
    sum_hellinger,
)
from constellation.geometry.simplex import (
    FISHER_RAO_RADIUS,
    check_simplex,
    distance,
    from_root,
    geodesic,
    nearest_site,
    pairwise_distances,
    project_tangent,
    root_difference,
    to_root,
)
from constellation.geometry.sites import BearingIndex, SiteIndex

__all__ = [
    "BEARING_MIN",
    "FISHER_RAO_RADIUS",
    "BearingIndex",
    "HellingerSum",
    "KarcherReport",
    "SiteIndex",
    "add_hellinger_sums",
    "angle",
    "bearing",
    "check_simplex",
    "distance",
    "exp_map",
    "from_root",
    "geodesic",
    "has_bearing",
    "hellinger_mean",
    "karcher_mean",
    "log_map",
    "mean_bearing",
    "nearest_site",
    "pairwise_distances",
    "parallel_transport",
    "project_tangent",
    "root_difference",
    "sum_hellinger",
    "to_root",
]
