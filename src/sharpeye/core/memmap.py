"""Room for many rows: in memory, or, of very many, in a file that the system may page out."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.storage import make_folder
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

# More lies in a file: 55,000 feature vectors of the default model, 430,000 looks.
MAX_IN_MEMORY = 512 * 2**20


def allocate_array(
    shape: tuple[int, ...], kind: npt.DTypeLike, folder: Path, what: str
) -> npt.NDArray[Any]:
    """An array of zeros.

    Args:
        shape: the first number is that of the rows.
        folder: where a large one lies, in a file without a name, which is gone with the array.
        what: how a warning calls it, should there be no place for the file.
    """
    dtype = np.dtype(kind)
    if np.prod(shape, dtype=np.int64) * dtype.itemsize > MAX_IN_MEMORY:
        try:
            make_folder(folder)
            with tempfile.TemporaryFile(dir=folder) as file:
                return np.memmap(file, dtype, "w+", shape=shape).view(np.ndarray)
        except (OSError, EnvironmentFault) as error:
            log.warning("%s are held in memory: %s", what, error)
    return np.zeros(shape, dtype)
