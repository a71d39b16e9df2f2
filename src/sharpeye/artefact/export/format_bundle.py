"""Export a `.sharpeye` file: the model with all that belongs to it; see `artefact.archive`."""

from pathlib import Path
from typing import Any

from sharpeye.artefact.archive import LABELS_FILE, write_archive
from sharpeye.artefact.compare_outputs import PredictFunction
from sharpeye.artefact.export.export_source import ExportSource
from sharpeye.artefact.manifest import MODEL_FILE, labels_text
from sharpeye.artefact.session import open_model


def write(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write the model, its labels, and the further members of the source.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    labels = labels_text(source.manifest.labels).encode()
    members = {MODEL_FILE: source.network.read_bytes(), LABELS_FILE: labels, **source.members}
    write_archive(file, members, source.record)
    return {"batch": "any"}


def open_exported(file: Path) -> PredictFunction:
    """Open it as SharpEye does."""
    return open_model(file).graph.run
