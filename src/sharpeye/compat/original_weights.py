"""The networks that retrain.py downloaded, in its `--model_dir`, and its text files of features.

Names: `create_model_info` of scripts/retrain.py, and the page of MobileNets in tensorflow/models.
"""

import logging
from pathlib import Path

from sharpeye.models.registry import get_spec

log = logging.getLogger(__name__)

_INCEPTION = ("classify_image_graph_def.pb", "inception-2015-12-05.tgz")
_MOBILENET = (
    "mobilenet_v1_{0}/frozen_graph.pb",
    "mobilenet_v1_{0}_frozen.tgz",
    "mobilenet_v1_{0}.tgz",
    "mobilenet_v1_{0}_frozen.pb",
)


def find_original_weights(model: str, model_dir: Path) -> Path | None:
    """The original's file of a network; None if Keras' file is also in the folder, or none is."""
    keras = get_spec(model).imagenet
    if keras is None:
        return None
    file = keras.find(model_dir)
    if file is not None and file.parent == model_dir:
        return None
    size = model.removeprefix("mobilenet_")
    names = _INCEPTION if model == "inception_v3" else [name.format(size) for name in _MOBILENET]
    files = (model_dir / name for name in names)
    return next((file for file in files if file.is_file()), None)


def mention_text_bottlenecks(folder: Path) -> None:
    """Say that retrain.py's files are not read: they have no digest, so a stale one looks valid."""
    if next(folder.glob("*/*_*.txt"), None) is not None:
        log.info(
            "the text files of retrain.py in %s are not read: they do not tell from which image "
            "and network they are; features are computed once, and then come from the store there",
            folder,
        )
