"""A `.sharpeye` file: the model with everything that belongs to it; see `artefact.archive`."""

from pathlib import Path
from typing import Any

from sharpeye.artefact.archive import LABELS, MODEL, write_archive
from sharpeye.artefact.export.export_source import Answer, Source
from sharpeye.artefact.session import open_model


def write(source: Source, file: Path) -> dict[str, Any]:
    """Write the model, its labels, and what else the source brings along.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    own = {MODEL: source.network.read_bytes(), LABELS: source.labels_text().encode()}
    write_archive(file, {**own, **source.members}, source.record)
    return {"batch": "any"}


def open_written(file: Path) -> Answer:
    """Open it as SharpEye does."""
    graph = open_model(file).graph
    return graph.run
