"""Event files, read by TensorBoard's own reader and shown by its own server."""

import io
import json
import queue
import re
import subprocess
import sys
import threading
import time
import types
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from sharpeye.errors import EnvironmentFault, MissingExtra
from sharpeye.runs.events import EventWriter


@pytest.fixture(scope="module", autouse=True)
def _read_without_tensorflow() -> Iterator[None]:
    """TensorBoard's reader loads TensorFlow (seconds) unless it finds a module of this name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
        yield


def read_back(folder: Path) -> Any:
    """The events of a folder by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    everything = dict.fromkeys(("scalars", "images", "histograms", "tensors"), 0)
    return EventAccumulator(str(folder), size_guidance=everything).Reload()


def some_pixels(channels: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, 8, channels), dtype=np.uint8)


def test_scalars_come_back_with_step_and_time(tmp_path: Path) -> None:
    before = time.time()
    with EventWriter(tmp_path / "tensorboard" / "train") as writer:
        for step in range(40):
            writer.scalar("loss", 1 / (step + 1), step)
        writer.scalar("accuracy", np.float32(0.25), 2**40)
        writer.scalar("diverged", float("nan"), 0)
    read = read_back(tmp_path / "tensorboard" / "train")
    assert read.file_version == 2.0
    points = read.Scalars("loss")
    assert [point.step for point in points] == list(range(40))
    assert [point.value for point in points] == [float(np.float32(1 / (s + 1))) for s in range(40)]
    times = [point.wall_time for point in points]
    assert times == sorted(times) and before <= times[0] <= times[-1] <= time.time()
    assert [(point.step, point.value) for point in read.Scalars("accuracy")] == [(2**40, 0.25)]
    assert np.isnan(read.Scalars("diverged")[0].value)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_come_back_as_they_were(channels: int, tmp_path: Path) -> None:
    pixels = some_pixels(channels)
    with EventWriter(tmp_path) as writer:
        writer.image("mistakes/worst", pixels, 3, description="cat, taken for a **dog**")
    read = read_back(tmp_path)
    (event,) = read.Images("mistakes/worst")
    assert (event.step, event.width, event.height) == (3, 8, 5)
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    described = read.SummaryMetadata("mistakes/worst").summary_description
    assert described == "cat, taken for a **dog**"


def test_text_comes_back(tmp_path: Path) -> None:
    with EventWriter(tmp_path) as writer:
        writer.text("settings", "# Größe\n\n| a | b |", 0)
    read = read_back(tmp_path)
    (event,) = read.Tensors("settings")
    assert event.tensor_proto.string_val[0].decode() == "# Größe\n\n| a | b |"
    assert read.PluginTagToContent("text").keys() == {"settings"}


@pytest.mark.parametrize(
    ("values", "count"),
    [
        (np.random.default_rng(0).normal(size=(20, 5)), 100),
        (np.array([1, 2, 2, 3]), 4),
        (np.full(9, 3.0), 9),
        (np.array([1.0, np.nextafter(1, 2)]), 2),
        (np.array([np.nan, 1.0, np.inf, -np.inf]), 1),
        (np.array([np.nan]), 0),
        (np.array([]), 0),
    ],
    ids=["normal", "whole", "constant", "narrow", "not finite", "nothing finite", "empty"],
)
def test_histograms_count_every_finite_value(
    values: np.ndarray, count: int, tmp_path: Path
) -> None:
    with EventWriter(tmp_path) as writer:
        writer.histogram("weights", values, 1)
    (event,) = read_back(tmp_path).Histograms("weights")
    stored = event.histogram_value
    assert (stored.num, sum(stored.bucket)) == (count, count)
    assert len(stored.bucket) == len(stored.bucket_limit)
    finite = values[np.isfinite(values)]
    if finite.size:
        assert (stored.min, stored.max) == (finite.min(), finite.max())
        assert stored.sum == pytest.approx(finite.sum())
        assert stored.sum_squares == pytest.approx((finite**2).sum())


def test_histograms_have_thirty_bins_of_one_width(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(2, 3, 10_000)
    with EventWriter(tmp_path) as writer:
        writer.histogram("weights", values, 1)
    (event,) = read_back(tmp_path).Histograms("weights")
    counts, edges = np.histogram(values, 30)
    assert event.histogram_value.bucket == counts.tolist()
    assert event.histogram_value.bucket_limit == pytest.approx(edges[1:])


def hparams_of(root: Path, metric: str) -> tuple[Any, Any]:
    """The experiment, and the session groups, as TensorBoard's HParams page gets them."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    events = EventMultiplexer().AddRunsFromDirectory(str(root)).Reload()
    provider = MultiplexerDataProvider(events, str(root))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request, content = RequestContext(), context.hparams_metadata(RequestContext(), "")
    experiment = context.experiment_from_metadata(request, "", True, content, [])
    column = {"metric": {"tag": metric}, "order": api_pb2.ORDER_ASC}
    request_groups = api_pb2.ListSessionGroupsRequest(
        slice_size=10,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_UNKNOWN],
        col_params=[column],
        include_metrics=True,
    )
    handler = list_session_groups.Handler(request, context, "", request_groups)
    return experiment, handler.run().session_groups


def test_the_hparams_page_lists_every_run_with_its_values(tmp_path: Path) -> None:
    runs = {"small": (32, "sgd", False, 0.75), "large": (128, "adam", True, 0.25)}
    for name, (size, optimizer, flip, loss) in runs.items():
        with EventWriter(tmp_path / name) as writer:
            writer.hparams({"size": size, "optimizer": optimizer, "flip": flip}, ["best/loss"])
            writer.scalar("best/loss", loss, 3)
            if name == "large":
                writer.hparams_end(success=True)
    experiment, groups = hparams_of(tmp_path, "best/loss")
    kinds = {info.name: info.type for info in experiment.hparam_infos}
    assert kinds == {"size": 3, "optimizer": 1, "flip": 2}  # float64, string, bool
    assert [info.name.tag for info in experiment.metric_infos] == ["best/loss"]
    large, small = groups
    assert large.hparams["size"].number_value == 128 and large.hparams["flip"].bool_value
    assert small.hparams["optimizer"].string_value == "sgd"
    assert [group.metric_values[0].value for group in groups] == [0.25, 0.75]
    assert large.metric_values[0].training_step == 3
    assert [group.sessions[0].name for group in groups] == ["large", "small"]
    assert [group.sessions[0].status for group in groups] == [1, 0]  # success, unknown


def test_every_event_can_be_read_before_the_file_is_closed(tmp_path: Path) -> None:
    with EventWriter(tmp_path) as writer:
        for step in (1, 2):
            writer.scalar("loss", 0.5, step)
            assert read_back(tmp_path).Scalars("loss")[-1].step == step
    writer.close()


def test_files_of_one_folder_never_collide_and_sort_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "häuschen/../x y")
    paths = []
    for step in range(5):
        with EventWriter(tmp_path) as writer:
            writer.scalar("loss", 1.0, step)
        paths.append(writer.path)
    assert paths == sorted(set(paths)) == sorted(tmp_path.iterdir())
    pattern = r"events\.out\.tfevents\.\d{10,}\.[A-Za-z0-9.-]+\.sharpeye"
    assert all(re.fullmatch(pattern, path.name) for path in paths)
    assert [point.step for point in read_back(tmp_path).Scalars("loss")] == list(range(5))


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with EventWriter(tmp_path) as writer:
        for pixels in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8)):
            with pytest.raises(ValueError, match=r"Received: uint8\[4, 4"):
                writer.image("a", pixels, 0)
        with pytest.raises(ValueError, match=r"Received: float64\[4, 4, 3\]"):
            writer.image("a", np.zeros((4, 4, 3)), 0)
        with pytest.raises(ValueError, match="step=-1"):
            writer.scalar("a", 1.0, -1)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"file: .*a file is where a folder should be"):
        EventWriter(tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' always full device")
def test_a_full_disk_is_an_error_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = Path.open

    def open_full(path: Path, mode: str = "r") -> IO[Any]:
        return real_open(Path("/dev/full"), "wb") if mode == "xb" else real_open(path, mode)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(EnvironmentFault, match=r"tfevents.*free some room"):
        EventWriter(tmp_path)


def test_a_failed_write_closes_the_file_and_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentFault, match="No space left"), EventWriter(tmp_path) as writer:
        writer.scalar("loss", 0.5, 1)
        error = OSError(28, "No space left on device")
        monkeypatch.setattr("sharpeye.runs.events.write_record", Mock(side_effect=error))
        writer.scalar("loss", 0.25, 2)
    assert writer._file.closed
    assert read_back(tmp_path).Scalars("loss")[0].value == 0.5


def test_a_missing_tensorboard_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(MissingExtra, match=r"tensorboard.*sharpeye\[train\]"):
        EventWriter(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_writing_loads_no_tensorflow(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import numpy as np
from sharpeye.runs.events import EventWriter
light = "tensorboard" not in sys.modules
with EventWriter(Path(sys.argv[1])) as writer:
    writer.scalar("a", 1.0, 0)
    writer.image("b", np.zeros((2, 2, 3), np.uint8), 0, description="text")
    writer.text("c", "text", 0)
    writer.histogram("d", np.arange(5), 0)
    writer.hparams({"e": 1}, ["a"])
    writer.hparams_end(success=True)
heavy = {"tensorflow", "keras", "torch", "jax"} & {name.split(".")[0] for name in sys.modules}
print(light, sorted(heavy))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "True []"


@contextmanager
def real_tensorboard(folder: Path, seconds: float) -> Iterator[str]:
    """A TensorBoard process on a free port; yields its address, within `seconds`."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0"]
    command += ["--host", "127.0.0.1", "--reload_interval", "1"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    addresses: queue.Queue[str] = queue.Queue()
    lines = []

    def listen() -> None:
        for line in process.stderr or ():
            lines.append(line)
            if result := re.search(r"http://127\.0\.0\.1:\d+", line):
                addresses.put(result[0])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        try:
            address = addresses.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"TensorBoard did not come up: {''.join(lines)}")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join(5)
        if process.stderr:
            process.stderr.close()


@pytest.mark.slow
def test_the_real_tensorboard_shows_the_events_live(tmp_path: Path) -> None:
    deadline = time.monotonic() + 60

    def fetch(path: str) -> Any:
        with urllib.request.urlopen(f"{address}/data/plugin/{path}", timeout=10) as response:
            return json.load(response)

    def poll(path: str, run: str, tag: str) -> Any:
        while tag not in (tags := fetch(path).get(run, {})):
            assert time.monotonic() < deadline, f"{run}/{tag} is not among {tags}"
            time.sleep(0.3)
        return tags

    with (
        EventWriter(tmp_path / "train") as train,
        EventWriter(tmp_path / "validation") as validation,
    ):
        train.scalar("loss", 0.75, 7)
        train.image("worst", some_pixels(3), 7, description="a **cat**")
        train.text("settings", "# Head", 0)
        train.histogram("weights", np.arange(10), 7)
        validation.scalar("loss", 0.5, 7)
        with real_tensorboard(tmp_path, deadline - time.monotonic()) as address:
            poll("scalars/tags", "train", "loss")
            poll("scalars/tags", "validation", "loss")
            (point,) = fetch("scalars/scalars?run=train&tag=loss")
            assert point[1:] == [7, 0.75]
            images = poll("images/tags", "train", "worst")
            assert "<strong>cat</strong>" in images["worst"]["description"]
            poll("histograms/tags", "train", "weights")
            poll("text/tags", "train", "settings")
            assert "<h1>Head</h1>" in fetch("text/text?run=train&tag=settings")[0]["text"]
            train.scalar("late", 0.25, 8)
            poll("scalars/tags", "train", "late")
