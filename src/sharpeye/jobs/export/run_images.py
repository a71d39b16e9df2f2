"""The images of a finished run, found again where its configuration says that they lie."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from sharpeye.core.config import Config, load_toml
from sharpeye.core.types import Sample, Split
from sharpeye.data.sample_image import read_image
from sharpeye.data.scan import scan_folders
from sharpeye.errors import DataError, ImageReadError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run


class RunImages:
    """The images of a run by part, with the digests that were taken then.

    Args:
        run: finished.
        folder: where its images are now; by default where its configuration says.
    """

    def __init__(self, run: Run, folder: Path | None = None) -> None:
        self._run, self.config = run, _config(run)
        self.folder = folder or Path(self.config.data.folder)
        self._rows: dict[str, Sample] | None = None  # of array files, by path

    def of_part(self, part: Split) -> list[Sample]:
        """The samples of a part, in the order of `split.csv`; their files may be gone."""
        return [self._sample(row) for row in self._run.table(layout.SPLIT) if row["part"] == part]

    def images(self, parts: Sequence[Split], most: int) -> list[tuple[Sample, Image.Image]]:
        """Up to `most` images of some parts, of the first part first; RGB.

        Raises:
            DataError: none of them can be read any more.
        """
        found: list[tuple[Sample, Image.Image]] = []
        for sample, image in self._readable(parts):
            found.append((sample, image))
            if len(found) == most:
                break
        if not found:
            raise DataError(
                f"the held-out pictures of {self._run.path} are not in {self.folder} any more, and "
                "without them nothing can be proven; give their folder with --data, or leave the "
                "proof out with --no-parity"
            )
        return found

    def _readable(self, parts: Sequence[Split]) -> Iterator[tuple[Sample, Image.Image]]:
        if not self.folder.is_dir():
            return
        for part in parts:
            for sample in self.of_part(part):
                try:
                    yield sample, read_image(sample)
                except ImageReadError:
                    continue

    def _sample(self, row: dict[str, str]) -> Sample:
        path = row["path"]
        sample = Sample(path, self.folder / path, row["label"], sha256=row["sha256"])
        if not sample.file.is_file() and self.folder.is_dir():
            found = self._by_path().get(path)
            if found is not None:
                return replace(sample, file=found.file, row=found.row)
        return sample

    def _by_path(self) -> dict[str, Sample]:
        """What a scan finds now: rows of array files are no files of their own."""
        if self._rows is None:
            try:
                config = self.config.replace({"data.folder": str(self.folder)})
                scans = scan_folders(config).values()
                self._rows = {sample.path: sample for each in scans for sample in each}
            except DataError:
                self._rows = {}
        return self._rows


def _config(run: Run) -> Config:
    file = run.path / layout.CONFIG
    if not file.is_file():
        raise DataError(
            f"{run.path} is no whole run directory: it has no {layout.CONFIG}; give the folder "
            "that `sharpeye train` printed, or leave the proof out with --no-parity"
        )
    return load_toml(file)
