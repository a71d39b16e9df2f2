"""The decoded pictures that all networks of a sweep are trained on."""

from sharpeye.core.config import Config
from sharpeye.core.types import SampleSet
from sharpeye.jobs.train import scratch
from sharpeye.jobs.train.extend import pictures_of
from sharpeye.jobs.train.modes import input_of
from sharpeye.jobs.train.prepare import Progress
from sharpeye.learn.nets.training_arrays import Material


def prepare(config: Config, progress: Progress | None = None) -> tuple[SampleSet, Material]:
    """Scan, decode and split the pictures that a resolved configuration asks for.

    Pictures that were decoded before come from the cache.

    Raises:
        DataError: no such folder, or too few pictures.
    """
    return scratch.prepare(pictures_of(config).samples, input_of(config), config, progress=progress)
