"""The decoded images that all networks of a sweep are trained on."""

from sharpeye.core.config import Config
from sharpeye.core.types import SampleSet
from sharpeye.jobs.train import scratch
from sharpeye.jobs.train.extend import load_dataset
from sharpeye.jobs.train.modes import input_of
from sharpeye.jobs.train.prepare import Progress
from sharpeye.learn.nets.training_arrays import TrainingArrays


def prepare(config: Config, progress: Progress | None = None) -> tuple[SampleSet, TrainingArrays]:
    """Scan, decode and split the images that a resolved configuration asks for.

    Images that were decoded before come from the cache.

    Raises:
        DataError: no such folder, or too few images.
    """
    return scratch.prepare(
        load_dataset(config).samples, input_of(config), config, progress=progress
    )
