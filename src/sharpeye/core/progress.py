"""How long work reports how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

StageProgress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


def of_stage(progress: StageProgress | None, stage: str) -> Progress | None:
    """A `Progress` that reports to `progress` under the name of one stage; None without one."""
    if progress is None:
        return None
    report = progress
    return lambda done, total: report(stage, done, total)
