"""What is asked of an export, and what of it cannot be."""

from dataclasses import dataclass
from pathlib import Path

from sharpeye.artefact.archive_samples import MAX_SAMPLES
from sharpeye.artefact.export.export_formats import FORMATS, Format
from sharpeye.errors import UsageError

LABELS, MANIFEST = "labels.txt", "manifest.json"


@dataclass(frozen=True)
class ExportRequest:
    """What is asked of an export.

    Attributes:
        form: the format.
        output: a file of the format's suffix, or a folder that does not exist yet.
        fixed: whether the model is to take its own size only.
        quantize: `int8`, or nothing.
        max_drop: how much accuracy, 0..1, int8 may cost.
        force: take int8 though it is no faster.
        data: where the run's images are now; by default where they were.
        parity: whether the answers are compared.
        samples: how many images a bundle carries.
    """

    form: Format
    output: Path
    fixed: bool = False
    quantize: str = ""
    max_drop: float = 0.01
    force: bool = False
    data: Path | None = None
    parity: bool = True
    samples: int = MAX_SAMPLES

    @property
    def alone(self) -> bool:
        """Whether the output is a file that is named, not a folder."""
        return bool(self.form.suffix) and self.output.suffix == self.form.suffix

    @property
    def any_size(self) -> bool:
        return self.form.any_size and not self.fixed

    @property
    def companions(self) -> tuple[str, ...]:
        """Files beside the model, by their plain names; a bundle holds its own."""
        if self.form.name == "bundle":
            return ()
        return (LABELS, MANIFEST, *self.form.snippets)

    def name(self, plain: str) -> str:
        """What a file beside the model is called: a file that is alone lends its name."""
        return f"{self.output.stem}.{plain}" if self.alone else plain

    def check(self) -> None:
        """Refuse what cannot be, before anything is done.

        Raises:
            UsageError: options that do not go together, or an output that is there already.
        """
        form, output = self.form, self.output
        others = {each.suffix for each in FORMATS.values()} - {form.suffix, ""}
        if output.suffix in others:
            wanted = f"a name that ends with {form.suffix}, or " if form.suffix else ""
            raise UsageError(f"{form.name} is written to {wanted}a folder. Received: {output}")
        if self.quantize not in ("", "int8"):
            raise UsageError(f"--quantize knows int8 only. Received: {self.quantize}")
        if self.quantize and not form.int8:
            able = ", ".join(each.name for each in FORMATS.values() if each.int8)
            raise UsageError(f"--quantize goes with {able}. Received: {form.name}")
        if not 0 <= self.max_drop <= 1:
            raise UsageError(f"--max-drop must be from 0 to 1. Received: {self.max_drop:g}")
        if not 0 <= self.samples <= MAX_SAMPLES:
            raise UsageError(f"--samples must be from 0 to {MAX_SAMPLES}. Received: {self.samples}")
        places = [output]
        if self.alone:
            places += [output.with_name(self.name(plain)) for plain in self.companions]
        for place in places:
            if place.exists() or place.is_symlink():
                raise UsageError(
                    f"{place} is there already; choose another name, nothing was changed"
                )
