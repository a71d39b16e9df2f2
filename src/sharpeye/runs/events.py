"""Write event files for TensorBoard, without TensorFlow.

Scalars, images and histograms are stored in the older one of TensorBoard's two forms, text in the
newer one, its only form. TensorBoard converts the older form on loading
(`tensorboard/data_compat.py`, and likewise in its data server), while readers of event files such
as `EventAccumulator.Scalars` support only the older one.

TensorBoard's `EventFileWriter` loads TensorFlow, and tensorboardX 2.6.5 writes from its own thread:
a call returns before the file is written, and on a full disk later calls block for ever.
"""

import contextlib
import io
import os
import platform
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core import storage
from sharpeye.core.arrays import Pixels
from sharpeye.errors import MissingExtra
from sharpeye.runs.event_records import write_record

_HISTOGRAM_BINS = 30  # as many as in TensorBoard's own writer
_MAX_STEP = 2**63 - 1


class EventWriter:
    """Appends to one event file, which a running TensorBoard shows while it grows.

    Use it as a context manager, from one thread. When a method returns, the operating system has
    its event. Each curve of one chart (`train/`, `validation/`) needs its own writer, in sibling
    folders. TensorBoard groups tags by slashes.

    Args:
        folder: the folder, which is created for a new event file.
        suffix: the end of the file's name.

    Raises:
        ValueError: (by every method with a step) the step is negative or above 2**63 - 1.
        EnvironmentFault: (by every method) the disk is full; the file is closed then.
        MissingExtra: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, suffix: str = "") -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
        except ImportError:
            raise MissingExtra("tensorboard", "train", "TensorBoard event files") from None
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self.path = storage.make_folder(folder) / f"{_file_name()}{suffix}"
        with storage.os_errors_at(self.path):
            self._file = self.path.open("xb")
        self._write(file_version="brain.Event:2")

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to the curve `tag`; it is stored as float32."""
        self.scalars({tag: value}, step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each of several curves, by tag, as one event."""
        self._add(step, *({"tag": tag, "simple_value": float(v)} for tag, v in values.items()))

    def image(self, tag: str, pixels: Pixels, step: int, *, description: str = "") -> None:
        """Add an image: uint8[H,W,C], C = 1 (grey), 3 (RGB) or 4 (RGBA); else ValueError.

        `description` is Markdown that TensorBoard shows with the tag.
        """
        from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_BLOB_SEQUENCE
        from tensorboard.plugins.image.metadata import create_summary_metadata

        png = _encode_png(pixels)
        height, width, channels = pixels.shape
        size = {"height": height, "width": width, "colorspace": channels}
        image = self._summary.Image(**size, encoded_image_string=png)
        # The data server drops the description of a value in the older form without a data class.
        metadata = create_summary_metadata(display_name="", description=description)
        metadata.data_class = DATA_CLASS_BLOB_SEQUENCE
        self._add(step, {"tag": tag, "image": image, "metadata": metadata})

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Add a text, which TensorBoard renders as Markdown."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        summary = text_pb(tag, markdown.encode("utf-8", "backslashreplace"))
        self._write(step=_checked(step), summary=summary)

    def histogram(self, tag: str, values: npt.ArrayLike, step: int) -> None:
        """Add the distribution of the finite numbers among `values`, of any shape."""
        self.histograms({tag: values}, step)

    def histograms(self, values: Mapping[str, npt.ArrayLike], step: int) -> None:
        """Add a distribution to each of several tags, as one event."""
        self._add(step, *({"tag": tag, "histo": _histogram_fields(v)} for tag, v in values.items()))

    def graph(self, graph_def: bytes) -> None:
        """Add a network, as a serialized TensorFlow GraphDef."""
        self._write(graph_def=graph_def)

    def hparams(self, values: Mapping[str, bool | float | str], metrics: Sequence[str]) -> None:
        """Begin a session on TensorBoard's HParams page, which lists it with other runs.

        The page shows the hyperparameters and the scalars whose tags are `metrics`.
        """
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        kinds = {
            bool: (api_pb2.DATA_TYPE_BOOL, "bool_value"),
            str: (api_pb2.DATA_TYPE_STRING, "string_value"),
        }
        experiment = api_pb2.Experiment(time_created_secs=time.time())
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in values.items():
            kind, field = kinds.get(type(value), (api_pb2.DATA_TYPE_FLOAT64, "number_value"))
            experiment.hparam_infos.add(name=name, type=kind)
            setattr(start.hparams[name], field, value)
        for tag in metrics:
            experiment.metric_infos.add(name=api_pb2.MetricName(tag=tag))
        self._add_hparams(metadata.EXPERIMENT_TAG, experiment=experiment)
        self._add_hparams(metadata.SESSION_START_INFO_TAG, session_start_info=start)

    def hparams_end(self, *, success: bool) -> None:
        """End the session that `hparams` began."""
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        status = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._add_hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end)

    def close(self) -> None:
        with storage.os_errors_at(self.path):
            self._file.close()

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add_hparams(self, tag: str, **content: Any) -> None:
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        plugin_data = plugin_data_pb2.HParamsPluginData(**content)
        summary_metadata = metadata.create_summary_metadata(plugin_data)
        self._add(0, {"tag": tag, "metadata": summary_metadata, "tensor": metadata.NULL_TENSOR})

    def _add(self, step: int, *values: dict[str, Any]) -> None:
        summary = self._summary(value=[self._summary.Value(**value) for value in values])
        self._write(step=_checked(step), summary=summary)

    def _write(self, **content: Any) -> None:
        event = self._event(wall_time=time.time(), **content)
        with storage.os_errors_at(self.path):
            try:
                write_record(self._file, event.SerializeToString())
            except OSError:
                # The file may end in an incomplete record, after which nothing could be read.
                with contextlib.suppress(OSError):
                    self._file.close()
                raise


def _checked(step: int) -> int:
    if not 0 <= step <= _MAX_STEP:
        raise ValueError(f"`step` must be in 0..{_MAX_STEP}. Received: step={step}")
    return int(step)


def _file_name() -> str:
    """A unique name that sorts after those of earlier writers.

    TensorBoard reads files with `tfevents` in their names, in the order of the names: it would
    never show a file that sorts before the one that it is reading.
    """
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", platform.node())[:64] or "localhost"
    unique = f"{nanoseconds:09}-{os.getpid()}-{secrets.token_hex(4)}"
    return f"events.out.tfevents.{seconds:010}.{host}.{unique}.sharpeye"


def _encode_png(pixels: Pixels) -> bytes:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            "`pixels` must be uint8[H,W,C] with C = 1, 3 or 4. "
            f"Received: {pixels.dtype}{list(pixels.shape)}"
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _histogram_fields(values: npt.ArrayLike) -> dict[str, Any]:
    """The fields of TensorBoard's `HistogramProto` of all finite values."""
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return {"num": 0, "bucket_limit": [], "bucket": []}
    low, high = float(np.minimum.reduce(numbers)), float(np.maximum.reduce(numbers))
    width = high / _HISTOGRAM_BINS - low / _HISTOGRAM_BINS
    if width <= 1e-12 * max(abs(low), abs(high)):  # less than the rounding of `low + width`
        counts, limits = np.array([numbers.size]), [high]
    else:  # `numpy.histogram` takes twice as long, in thousands of steps.
        bins = (numbers / width - low / width).astype(np.intp)
        counts = np.bincount(np.minimum(bins, _HISTOGRAM_BINS - 1), minlength=_HISTOGRAM_BINS)
        limits = [low + width * n for n in range(1, _HISTOGRAM_BINS)] + [high]
    with np.errstate(over="ignore"):  # the square of a very large number
        squares = float(numbers @ numbers)
    return {
        "min": low,
        "max": high,
        "num": numbers.size,
        "sum": float(np.add.reduce(numbers)),
        "sum_squares": squares,
        "bucket_limit": limits,
        "bucket": counts.tolist(),
    }
