"""The options of an export, and their validation."""

from dataclasses import dataclass
from pathlib import Path

from sharpeye.artefact.archive import LABELS_FILE
from sharpeye.artefact.archive_samples import MAX_SAMPLES
from sharpeye.artefact.export.export_formats import FORMATS, ExportFormat
from sharpeye.artefact.manifest import read_json_file
from sharpeye.core.temporaries import remove_stale_temporaries
from sharpeye.errors import ModelError, UsageError

EXPORT_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ExportRequest:
    """The options of an export; `jobs.export.export.export` documents them."""

    format: ExportFormat
    output: Path
    fixed: bool = False
    quantize: str = ""
    max_drop: float = 0.01
    force: bool = False
    data: Path | None = None
    parity: bool = True
    samples: int = MAX_SAMPLES

    @property
    def is_file(self) -> bool:
        """Whether the output is a named file, not a folder."""
        return bool(self.format.suffix) and self.output.suffix == self.format.suffix

    @property
    def is_bundle(self) -> bool:
        return self.format.name == "bundle"

    @property
    def companions(self) -> tuple[str, ...]:
        """Files next to the model, by their plain names; a bundle contains its own."""
        return () if self.is_bundle else (LABELS_FILE, EXPORT_MANIFEST, *self.format.snippets)

    def companion_name(self, plain: str) -> str:
        """The file name of a companion: beside a named file, it begins with that name.

        With its suffix: `model.onnx` and `model.tflite` may lie side by side.
        """
        return f"{self.output.name}.{plain}" if self.is_file else plain

    @property
    def companion_names(self) -> dict[str, str]:
        """The file names of all companions, by their plain names."""
        return {plain: self.companion_name(plain) for plain in self.companions}

    @property
    def was_interrupted(self) -> bool:
        """Whether an export to this file was killed while its files got their names: the manifest
        is the first one, and the model the last.
        """
        manifest = self.output.with_name(self.companion_name(EXPORT_MANIFEST))
        if not (self.is_file and self.companions) or self.output.exists():
            return False
        try:
            record = read_json_file(manifest)
        except (OSError, ModelError):
            return False
        return isinstance(record, dict) and record.get("format") == self.format.name

    def check(self) -> None:
        """Reject an invalid request before any work.

        Raises:
            UsageError: options contradict each other, or the output exists already.
        """
        export_format, output = self.format, self.output
        other_suffixes = {other.suffix for other in FORMATS.values()} - {export_format.suffix, ""}
        if output.suffix in other_suffixes:
            suffix = export_format.suffix
            file = f"a name that ends with {suffix}, or " if suffix else ""
            raise UsageError(
                f"{export_format.name} is written to {file}a folder. Received: {output}"
            )
        if self.quantize not in ("", "int8"):
            raise UsageError(f"--quantize knows int8 only. Received: {self.quantize}")
        if self.quantize and not export_format.int8:
            able = ", ".join(other.name for other in FORMATS.values() if other.int8)
            raise UsageError(f"--quantize goes with {able}. Received: {export_format.name}")
        if not 0 <= self.max_drop <= 1:
            raise UsageError(f"--max-drop must be from 0 to 1. Received: {self.max_drop:g}")
        if not 0 <= self.samples <= MAX_SAMPLES:
            raise UsageError(f"--samples must be from 0 to {MAX_SAMPLES}. Received: {self.samples}")
        # An export that was killed at its very end is complete, but for the removal of its folder.
        remove_stale_temporaries(output.parent)
        paths = [output]
        if self.is_file and not self.was_interrupted:
            paths += [output.with_name(name) for name in self.companion_names.values()]
        for path in paths:
            if path.exists() or path.is_symlink():
                raise UsageError(
                    f"{path} is there already; choose another name, nothing was changed"
                )
