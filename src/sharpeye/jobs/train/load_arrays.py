"""The images of a configuration as arrays, for a training or before one begins."""

from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.inference import available_cores
from sharpeye.core.progress import StageProgress, of_stage
from sharpeye.core.types import SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.pixels import load_pixels
from sharpeye.errors import UsageError
from sharpeye.images.decode_limits import configured_limits, use_limits
from sharpeye.jobs.train.context import StageClock
from sharpeye.jobs.train.distill import with_teacher
from sharpeye.jobs.train.extend import load_dataset
from sharpeye.jobs.train.network_on_pixels import input_spec
from sharpeye.jobs.train.resolve import resolve
from sharpeye.jobs.train.split_dataset import split_dataset
from sharpeye.learn.nets.backend import load_backend
from sharpeye.learn.nets.training_arrays import TrainingArrays, build_arrays
from sharpeye.runs.run_directory import RunWriter


def resolve_from_scratch(config: Config, file: Path, *, option: str, does: str) -> Config:
    """The resolved configuration of an option that trains nothing and writes a file, with the
    backend loaded.

    Args:
        option: such as `--find-lr FILE.svg`, with the file's ending.
        does: what it does to a network that is trained from scratch, for messages.

    Raises:
        UsageError: the file has another ending, or no network is trained from scratch.
    """
    name, _, example = option.partition(" ")
    if file.suffix != Path(example).suffix:
        raise UsageError(f"{name} writes a file named {Path(example).suffix}. Received: {file}")
    config = resolve(config)
    if not config.from_scratch:
        raise UsageError(
            f"{name} {does} a network that is trained from scratch, and {config.model.name} keeps "
            "its weights; add --weights none, or choose another --model"
        )
    load_backend()
    return config


def load_arrays(
    config: Config, progress: StageProgress | None = None
) -> tuple[SampleSet, TrainingArrays]:
    """List the images of a resolved configuration, and do as `arrays_of`; with a teacher, add its
    answers.

    Raises:
        DataError: no such folder, or too few images.
    """
    with use_limits(configured_limits(config.images)):
        samples, arrays = arrays_of(load_dataset(config).samples, config, progress)
        return samples, with_teacher(
            arrays, samples, config, progress=of_stage(progress, "teacher")
        )


def arrays_of(
    samples: SampleSet,
    config: Config,
    progress: StageProgress | None = None,
    *,
    clock: StageClock | None = None,
    run_dir: RunWriter | None = None,
) -> tuple[SampleSet, TrainingArrays]:
    """Decode the images, or read them from the cache, and split them.

    Args:
        run_dir: see `split_dataset`.

    Returns:
        the samples with their splits, and their arrays.

    Raises:
        DataError: too few images.
    """
    clock = clock or StageClock()
    samples = add_digests(samples, available_cores())
    clock.lap("digests")
    spec = input_spec(config, samples.bit_depth)
    decoded = load_pixels(samples.samples, spec, progress=of_stage(progress, "pictures"))
    clock.lap("pictures")
    samples = split_dataset(samples, decoded.rejected, config, run_dir=run_dir)
    boxes = config.task == "localize"
    arrays = build_arrays(samples, decoded.pixels, decoded.indices, spec=spec, boxes=boxes)
    clock.lap("split")
    return samples, arrays
