"""Event files for TensorBoard, written without TensorFlow.

Scalars, images and histograms are stored in the older of TensorBoard's two forms, text in the
newer one, which is the only one that it has. TensorBoard turns the older form into the newer one
as it loads it (`tensorboard/data_compat.py`, and likewise in its data server), while readers of
event files such as `EventAccumulator.Scalars` know the older one only.
"""

import contextlib
import io
import math
import os
import platform
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core import storage
from sharpeye.errors import MissingExtra

_HISTOGRAM_BINS = 30  # as many as TensorBoard's own writer makes
_HIGHEST_STEP = 2**63 - 1


class EventWriter:
    """Appends to one event file, which a running TensorBoard shows as it grows.

    Use as a context manager, from one thread. Every event is handed to the operating system
    when its method returns; a write that fails closes the file. Curves that belong into one
    chart (`train/`, `validation/`) are written by a writer each, into sibling folders.

    Attributes:
        path: the event file.
    """

    def __init__(self, folder: Path) -> None:
        """Create `folder` and start an event file of its own in it.

        Raises:
            MissingExtra: TensorBoard is not installed.
            EnvironmentFault: the file cannot be created or written.
        """
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            raise MissingExtra("tensorboard", "train", "TensorBoard event files") from None
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self.path = storage.make_folder(folder) / _file_name()
        with storage.os_errors_at(self.path):
            self._records = RecordWriter(self.path.open("xb"))
        self._write(self._event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to the curve `tag`; it is stored as float32.

        Raises:
            ValueError: `step` is negative.
            EnvironmentFault: the disk is full.
        """
        self._add(step, {"tag": tag, "simple_value": float(value)})

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each of several curves, by tag, as one event.

        Raises:
            ValueError: `step` is negative.
            EnvironmentFault: the disk is full.
        """
        self._add(step, *({"tag": tag, "simple_value": v} for tag, v in values.items()))

    def image(
        self, tag: str, pixels: npt.NDArray[np.uint8], step: int, description: str = ""
    ) -> None:
        """Add an image.

        Args:
            tag: name of the image, with slashes to group.
            pixels: uint8[H,W,C], C = 1 (grey), 3 (RGB) or 4 (RGBA).
            step: 0 or more.
            description: Markdown that TensorBoard shows with the tag.

        Raises:
            ValueError: another shape or dtype, or a negative step.
            EnvironmentFault: the disk is full.
        """
        from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_BLOB_SEQUENCE
        from tensorboard.plugins.image.metadata import create_summary_metadata

        png = _png(pixels)
        height, width, channels = pixels.shape
        image = self._summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=png
        )
        # The data server drops the description of an older-form value without a data class.
        metadata = create_summary_metadata(display_name="", description=description)
        metadata.data_class = DATA_CLASS_BLOB_SEQUENCE
        self._add(step, {"tag": tag, "image": image, "metadata": metadata})

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Add a text, which TensorBoard renders as Markdown.

        Raises:
            ValueError: `step` is negative.
            EnvironmentFault: the disk is full.
        """
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        metadata = create_summary_metadata(display_name="", description="")
        tensor = make_tensor_proto(markdown.encode("utf-8", "backslashreplace"))
        self._add(step, {"tag": tag, "metadata": metadata, "tensor": tensor})

    def histogram(self, tag: str, values: npt.ArrayLike, step: int) -> None:
        """Add the distribution of `values`.

        Args:
            tag: name of the distribution, with slashes to group.
            values: numbers, any shape; those that are infinite or NaN are left out.
            step: 0 or more.

        Raises:
            ValueError: `step` is negative.
            EnvironmentFault: the disk is full.
        """
        from tensorboard.compat.proto.histogram_pb2 import HistogramProto

        self._add(step, {"tag": tag, "histo": HistogramProto(**_histogram(values))})

    def graph(self, graph_def: bytes) -> None:
        """Add a network, as a serialized TensorFlow GraphDef.

        Raises:
            EnvironmentFault: the disk is full.
        """
        self._write(self._event(wall_time=time.time(), graph_def=graph_def))

    def hparams(
        self, values: Mapping[str, bool | int | float | str], metrics: Sequence[str]
    ) -> None:
        """Say what this run tries, so that TensorBoard's HParams page lists it with others.

        Args:
            values: hyperparameters by name.
            metrics: tags of the scalars that the page shows beside them.

        Raises:
            EnvironmentFault: the disk is full.
        """
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        kinds = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
        experiment = api_pb2.Experiment(
            hparam_infos=[
                api_pb2.HParamInfo(name=name, type=kinds.get(type(v), api_pb2.DATA_TYPE_FLOAT64))
                for name, v in values.items()
            ],
            metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics],
            time_created_secs=time.time(),
        )
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in values.items():
            kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
            setattr(start.hparams[name], kind, value)
        self._hparams(metadata.EXPERIMENT_TAG, experiment=experiment)
        self._hparams(metadata.SESSION_START_INFO_TAG, session_start_info=start)

    def hparams_end(self, *, success: bool) -> None:
        """Say that what `hparams` began has ended, well or not.

        Raises:
            EnvironmentFault: the disk is full.
        """
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        status = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end)

    def _hparams(self, tag: str, **content: Any) -> None:
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        described = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
        self._add(0, {"tag": tag, "metadata": described, "tensor": metadata.NULL_TENSOR})

    def close(self) -> None:
        """Close the file; a second call does nothing.

        Raises:
            EnvironmentFault: the disk is full.
        """
        with storage.os_errors_at(self.path):
            self._records.close()

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, step: int, *values: dict[str, Any]) -> None:
        if not 0 <= step <= _HIGHEST_STEP:
            raise ValueError(f"`step` must be in 0..{_HIGHEST_STEP}. Received: step={step}")
        summary = self._summary(value=[self._summary.Value(**value) for value in values])
        self._write(self._event(wall_time=time.time(), step=int(step), summary=summary))

    def _write(self, event: Any) -> None:
        with storage.os_errors_at(self.path):
            try:
                self._records.write(event.SerializeToString())
                self._records.flush()
            except OSError:
                # Half a record may be in the file: whatever followed it could not be read.
                with contextlib.suppress(OSError):
                    self._records.close()
                raise


def _file_name() -> str:
    """A name that no other writer has, and that sorts after those of earlier writers.

    TensorBoard takes files with `tfevents` in their names, and goes on from one to the next by
    name: a file that sorts before the one it is reading would never be shown.
    """
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", platform.node())[:64] or "localhost"
    unique = f"{nanoseconds:09}-{os.getpid()}-{secrets.token_hex(4)}"
    return f"events.out.tfevents.{seconds:010}.{host}.{unique}.sharpeye"


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """PNG of uint8[H,W,C], C = 1, 3 or 4."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            "`pixels` must be uint8[H,W,C] with C = 1, 3 or 4. "
            f"Received: {pixels.dtype}{list(pixels.shape)}"
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _histogram(values: npt.ArrayLike) -> dict[str, Any]:
    """The fields of TensorBoard's histogram of all finite values."""
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return {"num": 0, "bucket_limit": [], "bucket": []}
    low, high = float(numbers.min()), float(numbers.max())
    # Bins narrower than float64 can tell apart are an error to NumPy.
    narrow = high - low <= 1e-12 * max(math.fabs(low), math.fabs(high))
    counts, edges = np.histogram(numbers, 1 if narrow else _HISTOGRAM_BINS)
    return {
        "min": low,
        "max": high,
        "num": numbers.size,
        "sum": float(numbers.sum()),
        "sum_squares": float(np.square(numbers).sum()),
        "bucket_limit": edges[1:].tolist(),
        "bucket": counts.tolist(),
    }
