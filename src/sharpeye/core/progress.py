"""Types of the functions through which long work reports its progress."""

import functools
from collections.abc import Callable

Progress = Callable[[int, int], None]  # called with (done, total)
StageProgress = Callable[[str, int, int], None]  # called with (stage, done, total)


def of_stage(progress: StageProgress | None, stage: str) -> Progress | None:
    """A `Progress` that reports to `progress` under one stage's name; None if that is None."""
    return functools.partial(progress, stage) if progress else None
