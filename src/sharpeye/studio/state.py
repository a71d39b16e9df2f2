"""What all pages of one studio share. The state of the work itself is the disk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sharpeye.studio.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

    from sharpeye.studio.jobs import Jobs
    from sharpeye.studio.models import Models


@dataclass(frozen=True)
class StudioState:
    """Handed to the `register(studio)` of each page.

    Attributes:
        workspace: the folder of images and the folder of runs.
        api: takes routes under `/api/`; pages are NiceGUI's (`ui.page`).
        jobs: the trainings of this studio.
        models: the opened models of finished runs.
        suggest: a model that proposes boxes on the label page.
    """

    workspace: Workspace
    api: "FastAPI"
    jobs: "Jobs"
    models: "Models"
    suggest: Path | None = None
    _ends: list[Callable[[], None]] = field(default_factory=list)

    def at_end(self, close: Callable[[], None]) -> None:
        """Have something called when the studio ends."""
        self._ends.append(close)

    def close(self) -> None:
        """End what runs on behalf of the pages, the last first."""
        while self._ends:
            self._ends.pop()()
        self.jobs.close()
