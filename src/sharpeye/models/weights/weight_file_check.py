"""Read a weights file once in a process of its own, which has limits.

    python -m sharpeye.models.weights.weight_file_check FILE

HDF5's library trusts its files: a changed byte can let it run without end, a chunk of 2 MB can
unpack to gigabytes before its size is compared, and damaged trees can crash it. None of this can
be caught in the process that reads.
"""

import contextlib
import importlib.util
import sys
import time
from pathlib import Path

from sharpeye.core.processes import run_child, run_module
from sharpeye.errors import EnvironmentFault, ModelError
from sharpeye.models.weights.weight_files import read_weight_file

# Above what modules and Python take; weights seldom shrink by more than half when they are packed.
_FREE_BYTES, _BYTES_PER_BYTE, _MAX_BYTES = 2**28, 32, 5 * 2**30
_FREE_SECONDS, _BYTES_PER_SECOND = 4, 2**25  # of CPU time


def check_weight_file(path: Path) -> None:
    """Raise ModelError for a file that `read_weight_file` refuses, or does not read to its end."""
    if importlib.util.find_spec("h5py") is None:
        return  # `read_weight_file` says what is missing.
    try:
        run_module("sharpeye.models.weights.weight_file_check", str(path))
    except EnvironmentFault as error:
        raise ModelError(
            f"{path} is damaged: reading it took too long or too much memory, or crashed ({error})"
        ) from None


def _limit(size: int) -> None:
    """Limit this process by the size of a file, where the system has such limits."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        seconds = round(time.process_time()) + _FREE_SECONDS + size // _BYTES_PER_SECOND
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        more = min(_MAX_BYTES, _FREE_BYTES + _BYTES_PER_BYTE * size)
        total = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (total, total))


def main() -> int:
    file = Path(sys.argv[1])

    def work() -> None:
        import h5py  # noqa: F401  Its libraries are no memory of the file.

        if file.is_file():
            _limit(file.stat().st_size)
        read_weight_file(file)

    return run_child(work, str(file))


if __name__ == "__main__":
    sys.exit(main())
