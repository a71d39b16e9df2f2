"""The images of a configuration as arrays, before a training begins."""

from sharpeye.core.config import Config
from sharpeye.core.inference import available_cores
from sharpeye.core.progress import StageProgress, of_stage
from sharpeye.core.types import SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.pixels import load_pixels
from sharpeye.images.decode_limits import configured_limits, use_limits
from sharpeye.jobs.train.distill import with_teacher
from sharpeye.jobs.train.extend import load_dataset
from sharpeye.jobs.train.network_on_pixels import input_spec
from sharpeye.jobs.train.split_dataset import split_dataset
from sharpeye.learn.nets.training_arrays import TrainingArrays, build_arrays


def load_arrays(
    config: Config, progress: StageProgress | None = None
) -> tuple[SampleSet, TrainingArrays]:
    """Scan, decode (or read from the cache) and split the images of a resolved configuration.

    Raises:
        DataError: no such folder, or too few images.
    """
    with use_limits(configured_limits(config.images)):
        samples = add_digests(load_dataset(config).samples, available_cores())
        spec = input_spec(config, samples.bit_depth)
        decoded = load_pixels(samples.samples, spec, progress=of_stage(progress, "pictures"))
    samples = split_dataset(samples, decoded.rejected, config)
    boxes = config.task == "localize"
    arrays = build_arrays(samples, decoded.pixels, decoded.indices, spec=spec, boxes=boxes)
    if config.distill.teacher:
        arrays = with_teacher(arrays, samples, config, progress=of_stage(progress, "teacher"))
    return samples, arrays
