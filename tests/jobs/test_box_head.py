"""A box head on frozen maps: its training arrays, its predictions, and resuming it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localizer import scenes, through_view
from nets import make_arrays, same_arrays, tiny_config, weights_of
from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone, Graph
from sharpeye.core.types import InputSpec
from sharpeye.data.digest import add_digests
from sharpeye.data.features import ObjectViews, draw_sample_view, extract_features
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.data.sample_image import load_sample
from sharpeye.images.boxes import iou, to_input
from sharpeye.jobs.train.box_head import (
    boxes_in_images,
    fit_box_head,
    load_map_arrays,
    predict_boxes,
)
from sharpeye.jobs.train.context import TrainContext, TrainedModel
from sharpeye.jobs.train.head_on_features import fit_head_on_features
from sharpeye.jobs.train.network_on_pixels import write_features, write_onnx
from sharpeye.jobs.train.split_dataset import split_dataset
from sharpeye.learn.nets import checkpoint
from sharpeye.learn.nets.from_scratch import fit_from_scratch
from sharpeye.learn.nets.loop import FittedNetwork, monitored_loss
from sharpeye.learn.nets.training_arrays import TrainingArrays, input_boxes
from sharpeye.models.registry import get_spec
from sharpeye.runs.run_directory import RunWriter

CONFIG = Config().replace(
    {
        "task": "localize",
        "localize.epochs": 4,
        "localize.box_views": 3,
        "localize.batch_size": 16,
        "localize.channels": 8,
    }
)


class Stop(Exception):
    """Raised by a test to stop a training."""


pytestmark = pytest.mark.slow  # `test_localize.py` trains box heads, too.


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainContext]:
    with RunWriter(tmp_path_factory.mktemp("localize") / "run") as run_dir:
        yield TrainContext(CONFIG, run_dir)


@pytest.fixture(scope="module")
def trained(
    context: TrainContext,
    maps_backbone: Backbone,
    tmp_path_factory: pytest.TempPathFactory,
    session_cache: Path,
) -> TrainedModel:
    """36 drawings, split, with a head that classifies their colours. Not to be changed."""
    folder = scenes(tmp_path_factory.mktemp("localize") / "scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(session_cache))
        samples = add_digests(scan_voc(folder), 2)
        extracted = extract_features(samples.samples, maps_backbone)
        samples = split_dataset(samples, extracted.rejected, CONFIG)
        return fit_head_on_features(context, samples, maps_backbone, extracted=extracted)


def map_arrays(context: TrainContext, trained: TrainedModel, session_cache: Path) -> TrainingArrays:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(session_cache))
        return load_map_arrays(context, trained)


@pytest.fixture(scope="module")
def arrays(
    context: TrainContext,
    trained: TrainedModel,
    session_cache: Path,
) -> TrainingArrays:
    """The maps of the drawings. Not to be changed."""
    return map_arrays(context, trained, session_cache)


@pytest.fixture(scope="module")
def fit(maps_backbone: Backbone, arrays: TrainingArrays) -> Callable[..., FittedNetwork]:
    """`fit_box_head` on the drawings, with a checkpoint after every epoch."""

    def run(**options: Any) -> FittedNetwork:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "_MAX_TIME_SHARE", float("inf"))
            return fit_box_head(CONFIG, maps_backbone, arrays, **options)

    return run


@pytest.fixture(scope="module")
def uninterrupted(fit: Callable[..., FittedNetwork]) -> tuple[FittedNetwork, list[Any]]:
    """The box head, and the rows of its epochs. Not to be changed."""
    rows: list[Any] = []
    return fit(on_epoch=rows.append), rows


# --- what it is trained on -----------------------------------------------------------------------


def test_maps_and_boxes_are_those_of_the_same_view(
    trained: TrainedModel, arrays: TrainingArrays, maps_backbone: Backbone
) -> None:
    train = trained.in_split("train")
    assert len(arrays.indices["train"]) == 3 * len(train) == len(arrays.boxes["train"])
    assert len(arrays.indices["test"]) == len(trained.in_split("test"))
    assert sorted(np.concatenate(list(arrays.indices.values()))) == list(range(len(arrays.pixels)))
    spec, graph = maps_backbone.input, Graph(maps_backbone.graph_file)
    for number in range(3):
        for position in (0, len(train) - 1):
            sample, index = train[position], number * len(train) + position
            view = draw_sample_view(number, sample, ObjectViews())
            maps = graph.run(load_sample(sample, spec, view)[None])["maps"][0]
            stored = arrays.pixels[arrays.indices["train"][index]]
            np.testing.assert_allclose(stored, maps, rtol=1e-3, atol=1e-6)
            assert arrays.class_names[arrays.targets["train"][index]] == sample.label
            assert sample.box is not None
            # The input is the whole view, stretched: whole pixels are cut, here of some fifty.
            expected = through_view(sample.box, view)
            np.testing.assert_allclose(arrays.boxes["train"][index], expected, atol=0.03)
    held_out = trained.in_split("validation")
    np.testing.assert_allclose(arrays.boxes["validation"], input_boxes(held_out, spec), atol=1e-6)


def test_two_boxes_of_one_image_have_each_their_own_views(
    context: TrainContext,
    trained: TrainedModel,
    maps_backbone: Backbone,
    tmp_path: Path,
    session_cache: Path,
) -> None:
    sample = trained.in_split("train")[0]
    second = replace(sample, path="copy.png", box=(0.5, 0.5, 0.9, 0.9))
    samples = replace(trained.samples, samples=(*trained.samples.samples, second))
    both = replace(trained, samples=samples)
    arrays = map_arrays(context, both, session_cache)
    count, graph = len(both.in_split("train")), Graph(maps_backbone.graph_file)
    for position, boxed in ((0, sample), (count - 1, second)):
        pixels = load_sample(boxed, maps_backbone.input, draw_sample_view(2, boxed, ObjectViews()))
        stored = arrays.pixels[arrays.indices["train"][2 * count + position]]
        maps = graph.run(pixels[None])["maps"][0]
        np.testing.assert_allclose(stored, maps, rtol=1e-3, atol=1e-6)


# --- what comes out ------------------------------------------------------------------------------


def test_boxes_are_predicted_by_the_best_epoch(
    uninterrupted: tuple[FittedNetwork, list[Any]],
    trained: TrainedModel,
    arrays: TrainingArrays,
    maps_backbone: Backbone,
    tmp_path: Path,
) -> None:
    network, rows = uninterrupted
    assert [row["stage"] for row in rows] == ["box"] * 4
    assert network.history == tuple(rows)
    assert "log_loss" not in rows[0] and "validation_accuracy" not in rows[0]
    for row in rows:
        assert row["validation_loss"] == pytest.approx(2 * (1 - row["validation_mean_iou"]))
        assert 0 < row["mean_iou"] < 1 and row["loss"] > 0
    assert rows[-1]["mean_iou"] > rows[0]["mean_iou"] + 0.05  # It was trained.
    assert network.best_row == min(rows, key=monitored_loss)
    predicted = predict_boxes(network, arrays)
    assert set(predicted) == {"validation", "test"}
    for split, boxes in predicted.items():
        assert boxes.shape == (len(trained.in_split(split)), 4) and boxes.dtype == np.float32
        assert (boxes[:, :2] < boxes[:, 2:]).all() and (np.abs(boxes - 0.5) < 1).all()
    targets = input_boxes(trained.in_split("validation"), maps_backbone.input)
    mean_iou = float(iou(predicted["validation"], targets).mean())
    assert mean_iou == pytest.approx(network.best_row["validation_mean_iou"], abs=1e-6)
    # In images: the shares of the whole input are those of the whole image.
    test = trained.in_split("test")
    in_images = boxes_in_images(predicted["test"], test, maps_backbone)
    np.testing.assert_allclose(in_images, predicted["test"].clip(0, 1), atol=1e-6)
    # As ONNX, from the maps as the backbone gives them.
    write_onnx(network.model, ("box",), tmp_path / "head.onnx", input_name="maps")
    pixels = load_sample(test[0], maps_backbone.input)
    maps = Graph(maps_backbone.graph_file).run(pixels[None])["maps"]
    box = Graph(tmp_path / "head.onnx").run(maps)["box"][0]
    np.testing.assert_allclose(box, predicted["test"][0], atol=2e-3)


@pytest.mark.slow
def test_stopped_and_resumed_is_as_if_never_stopped(
    fit: Callable[..., FittedNetwork],
    uninterrupted: tuple[FittedNetwork, list[Any]],
    arrays: TrainingArrays,
    tmp_path: Path,
) -> None:
    expected, _ = uninterrupted

    def stop(row: Any) -> None:
        if row["epoch"] == 2:
            raise Stop

    folder = tmp_path / "checkpoints"
    with pytest.raises(Stop):
        fit(checkpoints=folder, on_epoch=stop)
    rows: list[Any] = []
    resumed = fit(checkpoints=folder, resume=True, on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [3, 4]
    assert same_arrays(weights_of(resumed.model), weights_of(expected.model))
    for split, boxes in predict_boxes(expected, arrays).items():
        assert predict_boxes(resumed, arrays)[split].tobytes() == boxes.tobytes()


def test_boxes_on_the_padding_are_brought_back_to_the_image(
    trained: TrainedModel, maps_backbone: Backbone
) -> None:
    padded = replace(maps_backbone, input=InputSpec(64, 64, "pad"))
    samples = [sample for sample in trained.samples if sample.size == (72, 48)][:3]
    boxes = np.array([to_input(s.box, s.size, padded.input) for s in samples if s.box and s.size])
    in_images = boxes_in_images(boxes, samples, padded)
    np.testing.assert_allclose(in_images, [s.box for s in samples], atol=1e-5)
    everything = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
    np.testing.assert_allclose(boxes_in_images(everything, samples[:1], padded), everything)


# --- from scratch --------------------------------------------------------------------------------


def test_a_network_from_scratch_learns_classes_and_boxes(tmp_path: Path) -> None:
    arrays = make_arrays(train=192, validation=48, boxes=True)
    config = tiny_config(
        {
            "task": "localize",
            "train.epochs": 12,
            "train.learning_rate": 0.003,
            "net.layer_size": 16,
            "localize.box_weight": 4.0,
            "augment.flip": False,
            "augment.shift": 0,
        }
    )
    net = fit_from_scratch(get_spec("cnn"), config, arrays)
    first, best = net.history[0], net.best_row
    for row in net.history:
        expected = row["validation_log_loss"] + 4 * (1 - row["validation_mean_iou"])
        assert row["validation_loss"] == pytest.approx(expected)
    assert best == min(net.history, key=lambda row: row["validation_loss"])
    assert best["validation_mean_iou"] > first["validation_mean_iou"] + 0.1
    assert best["validation_mean_iou"] > 0.45 and best["validation_accuracy"] > 0.8
    # Its graph says both.
    backbone = write_features(net, "cnn", InputSpec(16, 16), file=tmp_path / "features.onnx")
    images = arrays.pixels[arrays.indices["test"]]
    predictions = net.engine.predict(images)
    graph = Graph(backbone.graph_file).run(images)
    assert set(graph) == {"features", "box"}
    np.testing.assert_allclose(graph["box"], predictions["box"], atol=1e-4)
    result = iou(predictions["box"], arrays.boxes["test"])
    assert result.mean() > 0.35
