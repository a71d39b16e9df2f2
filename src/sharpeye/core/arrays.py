"""Array types that annotations share, and the allocation of an array of many rows.

Docstrings give each array's shape, dtype and range.
"""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.storage import make_folder
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]

# Larger arrays lie in a file: from 55,000 feature vectors of the default model, 430,000 thumbnails.
MAX_IN_MEMORY = 512 * 2**20


def allocate_array(
    shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path, *, description: str
) -> Array:
    """An array of zeros, in memory or in a file that the system may page out.

    Args:
        folder: for the unnamed file of a large array, which is deleted with the array.
        description: names the array in the warning that there is no space for the file.
    """
    dtype = np.dtype(dtype)
    if np.prod(shape, dtype=np.int64) * dtype.itemsize > MAX_IN_MEMORY:
        try:
            make_folder(folder)
            with tempfile.TemporaryFile(dir=folder) as file:
                return np.memmap(file, dtype, "w+", shape=shape).view(np.ndarray)
        except (OSError, EnvironmentFault) as error:
            log.warning("%s are held in memory: %s", description, error)
    return np.zeros(shape, dtype)
