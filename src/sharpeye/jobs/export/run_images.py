"""Find the images of a finished run in the folder that its configuration names."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from PIL import Image

from sharpeye.artefact.manifest import MANIFEST_FILE, parse_manifest, read_json_file
from sharpeye.core.config_paths import locate, with_typed_paths
from sharpeye.core.types import Sample, Split
from sharpeye.data.sample_image import read_image
from sharpeye.data.scan import scan_folders
from sharpeye.errors import DataError, ImageReadError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run


class RunImages:
    """The images of a finished run by split, with the digests that `split.csv` gives.

    Args:
        folder: the folder of the images; by default that of the run's configuration.
    """

    def __init__(self, run: Run, folder: Path | None = None) -> None:
        self._run, self._given_folder = run, folder

    @cached_property
    def folder(self) -> Path:
        config = self._run.config
        return self._given_folder or locate(config, config.data.folder)

    def in_split(self, split: Split) -> list[Sample]:
        """The samples of a split, in the order of `split.csv`; their files may be missing."""
        return [self._sample(row) for row in self._run.table(layout.SPLIT) if row["part"] == split]

    def images(self, splits: Sequence[Split], limit: int) -> list[tuple[Sample, Image.Image]]:
        """Up to `limit` readable images, RGB, those of the first split first.

        Raises:
            DataError: none of them can be read.
        """
        images = list(islice(self._readable(splits), limit))
        if not images:
            raise DataError(
                f"the held-out images of {self._run.path} are not in {self.folder} any more, and "
                "without them nothing can be proven; give their folder with --data, or leave the "
                "proof out with --no-parity"
            )
        return images

    def _readable(self, splits: Sequence[Split]) -> Iterator[tuple[Sample, Image.Image]]:
        if not self.folder.is_dir():
            return
        for split in splits:
            for sample in self.in_split(split):
                with suppress(ImageReadError):
                    yield sample, read_image(sample)

    def _sample(self, row: dict[str, str]) -> Sample:
        path = row["path"]
        sample = Sample(
            path,
            self.folder / path,
            row["label"],
            sha256=row["sha256"],
            bit_depth=self._bit_depth,
        )
        if sample.file.is_file() or not self.folder.is_dir() or path not in self._scanned:
            return sample
        return replace(sample, file=self._scanned[path].file, row=self._scanned[path].row)

    @cached_property
    def _bit_depth(self) -> int:
        """How the run's model reads images of more than 8 bits a sample."""
        file = self._run.path / MANIFEST_FILE
        return parse_manifest(read_json_file(file), str(file)).input.bit_depth

    @cached_property
    def _scanned(self) -> dict[str, Sample]:
        """The samples of a scan by path, since images in array files are not files."""
        try:
            config = with_typed_paths(self._run.config, {"data.folder": str(self.folder)})
            scans = scan_folders(config).values()
            return {sample.path: sample for samples in scans for sample in samples}
        except DataError:
            return {}
