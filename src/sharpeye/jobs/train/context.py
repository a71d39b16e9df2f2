"""What the steps of one training share."""

import time
from dataclasses import dataclass, field

from sharpeye.core.config import Config
from sharpeye.core.progress import StageProgress
from sharpeye.runs.run_directory import RunWriter


class StageClock:
    """Seconds by stage.

    Attributes:
        seconds: of each stage that ended, in the order in which they ended.
        started: `time.perf_counter()` when the clock was made.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.started = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage: it began where the one before it ended."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self.started


@dataclass(frozen=True)
class TrainContext:
    """What the steps of one training share.

    Attributes:
        config: resolved.
        run_dir: where the run is written.
        progress: called with (stage, done, total).
        clock: measures the stages for `metrics.json`.
    """

    config: Config
    run_dir: RunWriter
    progress: StageProgress | None = None
    clock: StageClock = field(default_factory=StageClock)
