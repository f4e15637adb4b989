"""Type names of the numpy arrays in records: `FloatArray` (float64) and `TokenArray` (int32)."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
TokenArray = NDArray[np.int32]
