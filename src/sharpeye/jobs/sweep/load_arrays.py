"""Load the arrays that all networks of a sweep are trained on."""

from sharpeye.core.config import Config
from sharpeye.core.inference import available_cores
from sharpeye.core.progress import StageProgress, of_stage
from sharpeye.core.types import SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.pixels import load_pixels
from sharpeye.jobs.train.extend import load_dataset
from sharpeye.jobs.train.network_on_pixels import input_spec
from sharpeye.jobs.train.split_dataset import split_dataset
from sharpeye.learn.nets.training_arrays import TrainingArrays, build_arrays


def load_arrays(
    config: Config, progress: StageProgress | None = None
) -> tuple[SampleSet, TrainingArrays]:
    """Scan, decode and split the images that a resolved configuration names.

    Images that were decoded before come from the cache.

    Raises:
        DataError: no such folder, or too few images.
    """
    spec = input_spec(config)
    samples = add_digests(load_dataset(config).samples, available_cores())
    decoded = load_pixels(samples.samples, spec, progress=of_stage(progress, "pictures"))
    samples = split_dataset(samples, decoded.rejected, config)
    localizes = config.task == "localize"
    return samples, build_arrays(
        samples, decoded.pixels, decoded.indices, spec=spec, boxes=localizes
    )
