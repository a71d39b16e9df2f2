"""The decoded pictures that all networks of a sweep are trained on."""

from sharpeye.config import Config
from sharpeye.jobs.grow import pictures_of
from sharpeye.jobs.ways import input_of
from sharpeye.training import scratch
from sharpeye.training.material import Material
from sharpeye.training.prepare import Progress
from sharpeye.types import SampleSet


def prepare(config: Config, progress: Progress | None = None) -> tuple[SampleSet, Material]:
    """Scan, decode and split the pictures that a resolved configuration asks for.

    Pictures that were decoded before come from the cache.

    Raises:
        DataError: no such folder, or too few pictures.
    """
    return scratch.prepare(pictures_of(config).samples, input_of(config), config, progress=progress)
