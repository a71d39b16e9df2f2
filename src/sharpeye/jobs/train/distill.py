"""Distil a finished run, the teacher, into a network that is trained from scratch.

The teacher answers for some views of each training image, and the network learns its answers on the
very same views (Hinton et al. 2015, arXiv:1503.02531; Beyer et al. 2021, arXiv:2106.05237: a
patient and consistent teacher).
"""

import logging
from dataclasses import replace

import numpy as np

from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.arrays import Floats, Ints, Pixels
from sharpeye.core.config import Config
from sharpeye.core.config_paths import locate
from sharpeye.core.parallel import parallel_map
from sharpeye.core.progress import Progress
from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.sample_image import read_image_and_size
from sharpeye.errors import UsageError
from sharpeye.images.resize import fit_image
from sharpeye.images.views import draw_view
from sharpeye.learn.nets.training_arrays import TrainingArrays

log = logging.getLogger(__name__)

# All views lie in memory.
_MAX_VIEW_BYTES = 2**30


def open_teacher(config: Config) -> OpenModel:
    """The model of `distill.teacher`.

    Raises:
        UsageError: the task is not classification.
        ModelError: there is no model, or it is rejected.
    """
    if config.task != "classify":
        raise UsageError(f"--teacher goes with --task classify alone. Received: {config.task}")
    return open_model(locate(config, config.distill.teacher))


def with_teacher(
    arrays: TrainingArrays, samples: SampleSet, config: Config, *, progress: Progress | None = None
) -> TrainingArrays:
    """The arrays with `distill.views` views of each training image, and the teacher's answers; as
    they are if the configuration has no teacher.

    Raises:
        UsageError: the teacher has other classes.
        ImageReadError: an image is no longer readable.
    """
    if not config.distill.teacher:
        return arrays
    teacher = open_teacher(config)
    columns = _columns(teacher, samples.class_names)
    train = [sample for sample in samples if sample.split == "train"]
    views = _number_of_views(config.distill.views, len(train), arrays)
    log.info("the teacher answers for %d views of %d training images", views, len(train))

    def predict_views(sample: Sample) -> tuple[Pixels, Floats]:
        bit_depth = arrays.input.bit_depth
        image, _ = read_image_and_size(sample, bit_depth=bit_depth, keep_grey=True)
        drawn = [draw_view(index, sample.sha256) for index in range(views)]
        pixels = np.stack([fit_image(image, arrays.input, view) for view in drawn])
        inputs = np.stack([fit_image(image, teacher.manifest.input, view) for view in drawn])
        probs = [teacher.run(one[None], ("probs",))["probs"][0] for one in inputs]
        return pixels, np.stack(probs)[:, columns]

    pixels, probs = [], []
    for number, (_, (of_image, view_probs)) in enumerate(parallel_map(predict_views, train), 1):
        pixels.append(of_image)
        probs.append(view_probs)
        if progress:
            progress(number, len(train))
    return _joined(arrays, np.concatenate(pixels), np.concatenate(probs), views=views)


def _columns(teacher: OpenModel, class_names: tuple[str, ...]) -> list[int]:
    """The teacher's outputs in the order of the classes."""
    labels = teacher.manifest.labels
    if set(labels) != set(class_names):
        other = sorted(set(labels) ^ set(class_names))
        raise UsageError(
            f"--teacher needs a run with the same classes. Received: {teacher.path}, and "
            f"{len(other)} classes differ, such as {other[0]}"
        )
    return [labels.index(name) for name in class_names]


def _number_of_views(requested: int, images: int, arrays: TrainingArrays) -> int:
    bytes_of_view = images * int(np.prod(arrays.pixels.shape[1:]))
    possible = max(1, min(requested, _MAX_VIEW_BYTES // max(1, bytes_of_view)))
    if possible < requested:
        log.warning("%d views would not fit into memory: %d are used", requested, possible)
    return possible


def _joined(arrays: TrainingArrays, pixels: Pixels, probs: Floats, *, views: int) -> TrainingArrays:
    """The views of the training images, followed by the held-out images."""
    parts = [pixels]
    indices: dict[Split, Ints] = {"train": np.arange(len(pixels))}
    first = len(pixels)
    held_out: tuple[Split, ...] = ("validation", "test")
    for split in held_out:
        members = arrays.pixels[arrays.indices[split]]
        parts.append(members)
        indices[split] = np.arange(first, first + len(members))
        first += len(members)
    targets: dict[Split, Ints] = dict(arrays.targets)
    targets["train"] = np.repeat(arrays.targets["train"], views)
    return replace(
        arrays,
        pixels=np.concatenate(parts),
        indices=indices,
        targets=targets,
        teacher_probs=probs.astype(np.float32),
    )
