"""A box head on frozen maps: what it is trained on, what comes out, and going on after a stop."""

from collections.abc import Callable
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
from sharpeye.data.features import BoxViews, draw_view_of, load_sample
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.images.boxes import iou, to_input
from sharpeye.jobs.train import localize
from sharpeye.jobs.train.prepare import FitResult
from sharpeye.jobs.train.scratch import fit_from_scratch, write_box_head, write_features
from sharpeye.jobs.train.transfer import learn
from sharpeye.learn.nets import checkpoint
from sharpeye.learn.nets.loop import validation_score
from sharpeye.learn.nets.training_arrays import input_boxes
from sharpeye.models.registry import get_spec

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


@pytest.fixture(scope="module")
def learned(
    maps_backbone: Backbone, tmp_path_factory: pytest.TempPathFactory, session_cache: Path
) -> FitResult:
    """36 drawings, split, with a head that tells their colours. Not to be changed."""
    folder = scenes(tmp_path_factory.mktemp("localize") / "scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(session_cache))
        return learn(scan_voc(folder), maps_backbone, CONFIG, lambda _: None)


@pytest.fixture(scope="module")
def fit(
    learned: FitResult,
    maps_backbone: Backbone,
    tmp_path_factory: pytest.TempPathFactory,
    session_cache: Path,
) -> Callable[..., Any]:
    """`learn_boxes` on the drawings."""
    file = tmp_path_factory.mktemp("maps") / "maps.npy"

    def run(**how: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SHARPEYE_CACHE", str(session_cache))
            patch.setattr(checkpoint, "_MAX_TIME_SHARE", float("inf"))
            return localize.learn_boxes(learned, maps_backbone, CONFIG, maps_file=file, **how)

    return run


@pytest.fixture(scope="module")
def undisturbed(fit: Callable[..., Any]) -> Any:
    """What was learned, the head, and the rows that were told. Not to be changed."""
    told: list[Any] = []
    return *fit(on_epoch=told.append), told


# --- what it is trained on -----------------------------------------------------------------------


def test_maps_and_boxes_are_those_of_the_same_view(
    learned: FitResult,
    maps_backbone: Backbone,
    tmp_path: Path,
    session_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", str(session_cache))
    file = tmp_path / "maps.npy"
    material = localize._material(learned, maps_backbone, CONFIG, file, None)
    train = learned.in_split("train")
    assert len(material.indices["train"]) == 3 * len(train) == len(material.boxes["train"])
    assert len(material.indices["test"]) == len(learned.in_split("test"))
    assert sorted(np.concatenate(list(material.indices.values()))) == list(
        range(len(material.pixels))
    )
    spec, graph = maps_backbone.input, Graph(maps_backbone.graph_file)
    for view in range(3):
        for number in (0, len(train) - 1):
            sample, row = train[number], view * len(train) + number
            seen = draw_view_of(view, sample, BoxViews())
            maps = graph.run(load_sample(sample, spec, seen)[None])["maps"][0]
            found = material.pixels[material.indices["train"][row]]
            np.testing.assert_allclose(found, maps, rtol=1e-3, atol=1e-6)
            assert material.class_names[material.targets["train"][row]] == sample.label
            assert sample.box is not None
            # The input is the whole view, stretched: whole pixels are cut, here of some fifty.
            expected = through_view(sample.box, seen)
            np.testing.assert_allclose(material.boxes["train"][row], expected, atol=0.03)
    held_out = learned.in_split("validation")
    np.testing.assert_allclose(material.boxes["validation"], input_boxes(held_out, spec), atol=1e-6)


def test_two_boxes_of_one_image_have_each_their_own_views(
    learned: FitResult,
    maps_backbone: Backbone,
    tmp_path: Path,
    session_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", str(session_cache))
    sample = learned.in_split("train")[0]
    other = replace(sample, path="copy.png", box=(0.5, 0.5, 0.9, 0.9))
    samples = replace(learned.samples, samples=(*learned.samples.samples, other))
    both = replace(learned, samples=samples)
    material = localize._material(both, maps_backbone, CONFIG, tmp_path / "maps.npy", None)
    count, graph = len(both.in_split("train")), Graph(maps_backbone.graph_file)
    for number, own in ((0, sample), (count - 1, other)):
        pixels = load_sample(own, maps_backbone.input, draw_view_of(2, own, BoxViews()))
        found = material.pixels[material.indices["train"][2 * count + number]]
        maps = graph.run(pixels[None])["maps"][0]
        np.testing.assert_allclose(found, maps, rtol=1e-3, atol=1e-6)


# --- what comes out ------------------------------------------------------------------------------


def test_boxes_are_found_and_the_best_epoch_is_kept(
    undisturbed: Any, learned: FitResult, maps_backbone: Backbone, tmp_path: Path
) -> None:
    found, net, told = undisturbed
    assert [row["stage"] for row in told] == ["box"] * 4
    assert found.head.history == (*learned.head.history, *told)
    assert "log_loss" not in told[0] and "validation_accuracy" not in told[0]
    for row in told:
        assert row["validation_loss"] == pytest.approx(2 * (1 - row["validation_mean_iou"]))
        assert 0 < row["mean_iou"] < 1 and row["loss"] > 0
    assert told[-1]["mean_iou"] > told[0]["mean_iou"]  # it learned something
    assert net.best == min(told, key=validation_score)
    assert set(found.boxes) == {"validation", "test"}
    for part, boxes in found.boxes.items():
        samples = found.in_split(part)
        assert boxes.shape == (len(samples), 4) and boxes.dtype == np.float32
        assert (boxes[:, :2] < boxes[:, 2:]).all() and (np.abs(boxes - 0.5) < 1).all()
    truth = input_boxes(found.in_split("validation"), maps_backbone.input)
    kept = float(iou(found.boxes["validation"], truth).mean())
    assert kept == pytest.approx(net.best["validation_mean_iou"], abs=1e-6)
    assert told[-1]["mean_iou"] > told[0]["mean_iou"] + 0.05
    # In images: the shares of the whole input are those of the whole image.
    images = localize.in_images(found.boxes["test"], found.in_split("test"), maps_backbone)
    np.testing.assert_allclose(images, found.boxes["test"].clip(0, 1), atol=1e-6)
    # As ONNX, from the maps as the backbone gives them.
    write_box_head(net, tmp_path / "head.onnx")
    sample = found.in_split("test")[0]
    pixels = load_sample(sample, maps_backbone.input)
    maps = Graph(maps_backbone.graph_file).run(pixels[None])["maps"]
    box = Graph(tmp_path / "head.onnx").run(maps)["box"][0]
    np.testing.assert_allclose(box, found.boxes["test"][0], atol=2e-3)


def test_stopped_and_resumed_is_as_if_never_stopped(
    fit: Callable[..., Any], undisturbed: Any, tmp_path: Path
) -> None:
    expected, whole, _ = undisturbed

    def stop(row: Any) -> None:
        if row["epoch"] == 2:
            raise Stop

    folder = tmp_path / "checkpoints"
    with pytest.raises(Stop):
        fit(checkpoints=folder, on_epoch=stop)
    told: list[Any] = []
    again, net = fit(checkpoints=folder, resume=True, on_epoch=told.append)
    assert [row["epoch"] for row in told] == [3, 4]
    assert same_arrays(weights_of(net.model), weights_of(whole.model))
    for part, boxes in expected.boxes.items():
        assert again.boxes[part].tobytes() == boxes.tobytes()


def test_boxes_on_the_padding_are_brought_back_to_the_image(
    learned: FitResult, maps_backbone: Backbone
) -> None:
    padded = replace(maps_backbone, input=InputSpec(64, 64, "pad"))
    samples = [sample for sample in learned.samples if sample.size == (72, 48)][:3]
    boxes = np.array([to_input(s.box, s.size, padded.input) for s in samples if s.box and s.size])
    found = localize.in_images(boxes, samples, padded)
    np.testing.assert_allclose(found, [s.box for s in samples], atol=1e-5)
    everything = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
    np.testing.assert_allclose(localize.in_images(everything, samples[:1], padded), everything)


# --- from scratch --------------------------------------------------------------------------------


def test_a_network_from_scratch_learns_classes_and_boxes(tmp_path: Path) -> None:
    material = make_arrays(train=192, validation=48, boxes=True)
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
    net = fit_from_scratch(get_spec("cnn"), config, material)
    first, best = net.history[0], net.best
    for row in net.history:
        expected = row["validation_log_loss"] + 4 * (1 - row["validation_mean_iou"])
        assert row["validation_loss"] == pytest.approx(expected)
    assert best == min(net.history, key=lambda row: row["validation_loss"])
    assert best["validation_mean_iou"] > first["validation_mean_iou"] + 0.1
    assert best["validation_mean_iou"] > 0.45 and best["validation_accuracy"] > 0.8
    # Its graph says both.
    backbone = write_features(net, "cnn", InputSpec(16, 16), tmp_path / "features.onnx")
    images = material.pixels[material.indices["test"]]
    answers = net.engine.predict(images)
    graph = Graph(backbone.graph_file).run(images)
    assert set(graph) == {"features", "box"}
    np.testing.assert_allclose(graph["box"], answers["box"], atol=1e-4)
    found = iou(answers["box"], material.boxes["test"])
    assert found.mean() > 0.35
