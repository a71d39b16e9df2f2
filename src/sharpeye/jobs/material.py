"""The decoded pictures that all networks of a sweep are trained on."""

from pathlib import Path

from sharpeye.config import Config
from sharpeye.data.scan import scan_for
from sharpeye.jobs.ways import input_of
from sharpeye.training import scratch
from sharpeye.training.material import Material
from sharpeye.training.prepare import Progress
from sharpeye.types import SampleSet


def prepare(config: Config, progress: Progress | None = None) -> tuple[SampleSet, Material]:
    """Scan, decode and split the pictures of `data.folder` for a resolved configuration.

    Pictures that were decoded before come from the cache.

    Raises:
        DataError: no such folder, or too few pictures.
    """
    samples = scan_for(config, Path(config.data.folder))
    return scratch.prepare(samples, input_of(config), config, progress=progress)
