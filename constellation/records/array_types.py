"""Names of the arrays that records hold."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
TokenArray = NDArray[np.int32]
