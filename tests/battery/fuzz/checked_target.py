"""A fuzz target with limits on the time and the memory of each input."""

import importlib
import resource
import time
from collections.abc import Callable
from pathlib import Path

from sharpeye.errors import SharpEyeError

TARGETS = ("images", "annotations", "tables", "models", "archives", "http_requests")
CORPUS = Path(__file__).parent / "corpus"
MAX_INPUT_BYTES = 2**16  # also of each file in the corpus
# Above what any accepted input takes. CPU time, as other programs use the machine, too.
MAX_CPU_SECONDS, MAX_GROWTH_BYTES = 5.0, 512 * 2**20
_MAX_MESSAGE_CHARACTERS = 4000


class CheckedTarget:
    """Calls a target's `one_input`, and raises AssertionError if an input takes too much."""

    def __init__(self, name: str) -> None:
        module = importlib.import_module(f"battery.fuzz.{name}")
        self.name, self.tokens = name, tuple[bytes, ...](module.TOKENS)
        self._seeds: Callable[[], list[bytes]] = module.seeds
        self._one_input: Callable[[bytes], None] = module.one_input
        self._peak = -1

    def seeds(self) -> list[bytes]:
        """The inputs to start from: earlier findings, and those that the target makes."""
        findings = sorted((CORPUS / self.name).glob("*"))
        return [*(file.read_bytes() for file in findings), *self._seeds()]

    def __call__(self, data: bytes) -> None:
        self._peak = _peak_bytes() if self._peak < 0 else self._peak
        started = time.process_time()
        self._one_input(data)
        seconds = time.process_time() - started
        peak = _peak_bytes()
        grown, self._peak = peak - self._peak, peak
        assert seconds <= MAX_CPU_SECONDS, f"{seconds:.1f} s of CPU for {len(data)} bytes"
        assert grown <= MAX_GROWTH_BYTES, f"{grown / 2**20:.0f} MiB for {len(data)} bytes"


def check_message(error: SharpEyeError) -> None:
    """Fail unless a declared error is one line of bounded length."""
    message = str(error)
    assert message and "\n" not in message, f"not one line: {message[:500]!r}"
    assert len(message) < _MAX_MESSAGE_CHARACTERS, f"{len(message)} characters: {message[:500]!r}"
    assert error.exit_code != 1, f"an error without an exit code: {message[:500]!r}"


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
