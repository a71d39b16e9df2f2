"""`sharpeye retrain` compared with retrain.py: flags, files, log lines and curves."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from label_image_process import LabelImage
from retrain_command import retrain_arguments
from tensorboard.compat.proto.graph_pb2 import GraphDef

from runner import one_line, share_backbones, tree
from sharpeye.cli.app import run
from sharpeye.compat import original_log
from sharpeye.compat.graph_reader import read_record
from sharpeye.compat.label_image import RankedClasses
from sharpeye.compat.retrain_files import output_names
from sharpeye.compat.training_summaries import TrainingSummaries
from sharpeye.core.config import Config
from sharpeye.errors import MissingExtra, UsageError
from sharpeye.predict.predictor import load
from sharpeye.runs.run_directory import Run

pytestmark = pytest.mark.usefixtures("shared")


@dataclass(frozen=True)
class FinishedRun:
    """A finished `sharpeye retrain`.

    Attributes:
        folder: with graph.pb, labels.txt, the run directory graph/, logs/ and bottlenecks/.
        cache: the run's cache.
        stderr: what the command printed.
    """

    folder: Path
    cache: Path
    stderr: str


@pytest.fixture(scope="module")
def finished(
    photos: Path, backbone_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> FinishedRun:
    """A run with intermediate graphs and a folder for features. Tests must not change it."""
    folder, cache = tmp_path_factory.mktemp("finished"), tmp_path_factory.mktemp("run-cache")
    share_backbones(backbone_cache, cache)
    old = folder / "bottlenecks" / "leaf" / "0.jpg_mobilenet_0.25_128.txt"
    old.parent.mkdir(parents=True)
    old.write_text("0.1,0.2")
    more = ["--print_misclassified_test_images", "--intermediate_store_frequency=25"]
    more += [f"--intermediate_output_graphs_dir={folder}/between-"]
    more += [f"--bottleneck-dir={folder}/bottlenecks"]
    stderr = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(stderr):
        patch.setenv("SHARPEYE_CACHE", str(cache))
        before = tree(photos)
        assert run(retrain_arguments(photos, folder, *more)) == 0
        assert tree(photos) == before
    return FinishedRun(folder, cache, stderr.getvalue())


def test_files_log_lines_and_labels(finished: FinishedRun) -> None:
    folder, err = finished.folder, finished.stderr
    stamp = r"^INFO:tensorflow:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: Step "
    for line in (
        stamp + r"0: Train accuracy = \d+\.\d%$",
        stamp + r"50: Cross entropy = \d+\.\d{6}$",
        stamp + r"59: Validation accuracy = \d+\.\d% \(N=100\)$",
        r"^INFO:tensorflow:Final test accuracy = \d+\.\d% \(N=\d+\)$",
        r"^INFO:tensorflow:=== MISCLASSIFIED TEST IMAGES ===$",
    ):
        assert re.search(line, err, re.M), line
    assert err.count("torn.jpg") == 1
    assert (folder / "labels.txt").read_text() == "blue sky\napple\nleaf\n"
    assert sorted(p.name for p in folder.glob("between-*")) == [
        "between-intermediate_25.pb",
        "between-intermediate_50.pb",
    ]
    old = folder / "bottlenecks" / "leaf" / "0.jpg_mobilenet_0.25_128.txt"
    assert old.read_text() == "0.1,0.2"
    assert list((folder / "bottlenecks" / "features").iterdir())
    assert not (finished.cache / "features").exists()
    graph = GraphDef.FromString((folder / "graph.pb").read_bytes())
    record = read_record(graph, folder / "graph.pb")
    assert record is not None
    assert record.labels == ("blue sky", "apple", "leaf")
    assert load(folder / "graph").labels == ("apple", "Blue Sky", "leaf")
    metrics = json.loads((folder / "graph" / "metrics.json").read_text())
    test_line = re.search(r"Final test accuracy = ([\d.]+)% \(N=(\d+)\)", err)
    assert test_line is not None
    assert int(test_line[2]) == metrics["test"]["count"]
    assert float(test_line[1]) == pytest.approx(100 * metrics["test"]["accuracy"], abs=0.05)


def test_the_lines_before_the_steps_are_those_of_the_original(finished: FinishedRun) -> None:
    lines = finished.stderr.splitlines()
    looking = [line for line in lines if "Looking" in line]
    labels = ("Blue Sky", "apple", "leaf")
    assert looking == [f"INFO:tensorflow:Looking for images in '{label}'" for label in labels]
    assert lines[:3] == looking
    assert "WARNING: Folder has less" not in finished.stderr
    assert f"the text files of retrain.py in {finished.folder}/bottlenecks are not read" in (
        finished.stderr
    )
    logged: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(original_log, "info", lambda text, *values: logged.append(text % values))
        report = original_log.bottlenecks(None)
        for done in (1, 99, 100, 101, 350, 360):
            report("features", done, 360)
        report("view 1", 100, 100)
    assert logged == [f"{n} bottleneck files created." for n in (100, 200, 300)]


def test_no_time_goes_into_a_test_of_unknown_classes(finished: FinishedRun) -> None:
    metrics = json.loads((finished.folder / "graph" / "metrics.json").read_text())
    unknown = metrics["test"]["unknown"]
    assert unknown["auroc_per_class"] == {}
    assert unknown["calibrated_on"] == metrics["validation"]["count"]


def test_random_weights_leave_a_trace(finished: FinishedRun) -> None:
    run_dir = finished.folder / "graph"
    assert "random, for tests only" in (run_dir / "report.html").read_text()
    assert "weights: random, for tests only" in (run_dir / "README.md").read_text()


def test_curves_have_the_tags_of_the_original(
    finished: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TensorBoard's own switch to read without TensorFlow, whose import takes seconds.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for split, scalars, validations in (("train", 60, 7), ("validation", 7, 7)):
        folder = str(finished.folder / "logs" / split)
        events = EventAccumulator(folder, {"scalars": 0, "histograms": 0})
        events.Reload()
        tags = events.Tags()
        expected = {"accuracy_1", "cross_entropy_1"} | {
            f"final_training_ops/{layer}/summaries/{kind}"
            for layer in ("weights", "biases")
            for kind in ("mean", "stddev_1", "max", "min")
        }
        assert set(tags["scalars"]) == expected
        assert set(tags["histograms"]) == {
            "final_training_ops/weights/summaries/histogram",
            "final_training_ops/biases/summaries/histogram",
            "final_training_ops/Wx_plus_b/pre_activations",
            "activations",
        }
        steps = [event.step for event in events.Scalars("cross_entropy_1")]
        assert len(steps) == scalars
        assert steps[-1] == 59
        assert len(events.Histograms("activations")) == validations
        assert tags["graph"] == (split == "train")
        if split == "train":
            names = {node.name: node for node in events.Graph().node}
            assert {"input", "final_result"} <= set(names)
            assert not any(n.attr["value"].tensor.tensor_content for n in names.values())


def test_a_folder_of_curves_is_emptied_only_if_nothing_else_is_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def write_events() -> set[Path]:
        TrainingSummaries(tmp_path / "logs").finish(is_complete=True)
        return set((tmp_path / "logs").rglob("*tfevents*"))

    first, second = write_events(), write_events()
    assert len(second) == 2
    assert not first & second
    thesis = tmp_path / "logs" / "thesis.tex"
    thesis.write_text("years of work")
    assert "thesis.tex" not in caplog.text
    assert second < write_events()
    assert thesis.read_text() == "years of work"
    assert "thesis.tex" in caplog.text


def test_distorted_views_are_limited_and_in_the_configuration(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = ["--flip_left_right", "--random_crop=10", "--random_brightness=20"]
    assert run(retrain_arguments(photos, tmp_path, *views, "--distortion_views=2")) == 0
    counts = re.search(r"(\d+) distorted views of (\d+) images", capsys.readouterr().err)
    assert counts is not None
    assert int(counts[1]) <= 2 * int(counts[2])
    assert "brightness = 20" in (tmp_path / "graph" / "config.toml").read_text()


QUANTIZED = "--architecture=mobilenet_0.25_128_quantized"


def test_quantized_names_give_an_int8_model_and_its_cost(
    photos: Path,
    finished: FinishedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    graphs = []

    def without_tensorflow(_: object, graph: Path, *__: object, **___: object) -> None:
        graphs.append(graph.read_bytes())
        raise MissingExtra("TensorFlow", "train", "running a graph")

    monkeypatch.setattr("sharpeye.compat.retrain.label_files", without_tensorflow)
    assert run(retrain_arguments(photos, tmp_path, QUANTIZED)) == 0
    err = capsys.readouterr().err
    assert re.search(r"int8: test accuracy .* a drop of -?\d+\.\d points", err)
    assert "the accuracy below is that of model.onnx, not of the graph: running a graph" in err
    assert graphs == [(tmp_path / "graph.pb").read_bytes()]
    metrics = json.loads((tmp_path / "graph" / "metrics.json").read_text())
    cost = metrics["quantization"]
    assert cost["int8_accuracy"] == pytest.approx(metrics["test"]["accuracy"], abs=1e-6)
    assert cost["drop"] == pytest.approx(cost["float_accuracy"] - cost["int8_accuracy"], abs=1e-6)
    for name in ("graph.pb", "graph/model.onnx"):
        ratio = (tmp_path / name).stat().st_size / (finished.folder / name).stat().st_size
        assert ratio < 0.5, name
    prediction = load(tmp_path / "graph").predict(str(photos / "leaf" / "0.jpg"))
    assert prediction.label in load(finished.folder / "graph").labels
    assert not list((tmp_path / "graph").glob(".sharpeye-tmp-*"))


def test_the_test_accuracy_is_that_of_the_written_graph(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A graph that names one class for all images is right on that class alone."""

    def label_all(images: Iterable[tuple[str, Path]], *_: object, **__: object) -> object:
        for name, file in images:
            assert file.is_file()
            yield RankedClasses(name, 0.0, (("leaf", 1.0),))

    monkeypatch.setattr("sharpeye.compat.retrain.label_files", label_all)
    more = ("--print_misclassified_test_images", "--learning_rate=0.3")
    assert run(retrain_arguments(photos, tmp_path, QUANTIZED, *more)) == 0
    err = capsys.readouterr().err
    rows = Run(tmp_path / "graph").table("predictions.csv")
    right = 100 * np.mean([row["label"] == "leaf" for row in rows])
    assert f"Final test accuracy = {right:.1f}% (N={len(rows)})" in err
    assert f"the graph, with int8 kernels, is right on {right:.1f}% of {len(rows)} test" in err
    assert err.count(f"{photos}/apple/") == sum(row["label"] == "apple" for row in rows)


@pytest.mark.slow
def test_the_test_accuracy_is_what_label_image_gives(
    photos: Path, tmp_path: Path, label_image: LabelImage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(retrain_arguments(photos, tmp_path, QUANTIZED)) == 0
    (accuracy,) = re.findall(r"Final test accuracy = ([\d.]+)%", capsys.readouterr().err)
    rows = Run(tmp_path / "graph").table("predictions.csv")
    images = [photos / row["path"] for row in rows]
    blocks = label_image(f"--graph={tmp_path}/graph.pb", *images).out.split("1-image")[1:]
    predicted = [block.split("\n\n")[1].split(" (score=")[0] for block in blocks]
    right = np.mean([row["label"].lower() == p for row, p in zip(rows, predicted, strict=True)])
    assert float(accuracy) == pytest.approx(100 * right, abs=0.05)


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("inception_v3", "classify_image_graph_def.pb"),
        ("inception_v3", "inception-2015-12-05.tgz"),
        ("mobilenet_0.50_224", "mobilenet_v1_0.50_224/frozen_graph.pb"),
        ("mobilenet_0.50_224_quantized", "mobilenet_v1_0.50_224_frozen.tgz"),
        ("mobilenet_1.0_128", "mobilenet_v1_1.0_128.tgz"),
    ],
)
def test_the_networks_in_the_originals_model_dir_are_used(
    model: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[Config] = []

    def stop(_: object, *, config: Config, **__: object) -> None:
        received.append(config)
        raise UsageError("stopped here")

    monkeypatch.setattr("sharpeye.compat.retrain.train", stop)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    weights = tmp_path / "models" / file
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"a graph")
    for name, expected in ((model, str(weights)), ("mobilenet_0.25_192", "imagenet")):
        model_dir = f"--model_dir={tmp_path}/models"
        arguments = retrain_arguments(tmp_path / "photos", tmp_path, model_dir)
        assert run([*arguments, f"--architecture={name}", "--weights=imagenet"]) == 2
        assert received[-1].model.weights == expected


@pytest.mark.slow
def test_a_frozen_graph_gives_the_model_that_it_was_written_from(
    photos: Path, finished: FinishedRun, tmp_path: Path
) -> None:
    """A graph of random weights as --weights gives the predictions of these weights."""
    weights = f"--weights={finished.folder / 'graph.pb'}"
    assert run(retrain_arguments(photos, tmp_path, weights, "-q")) == 0
    first, second = (Run(f / "graph").table("predictions.csv") for f in (finished.folder, tmp_path))
    assert [row["path"] for row in first] == [row["path"] for row in second]
    scores = [[float(row["score"]) for row in rows] for rows in (first, second)]
    # The graph takes (pixel - 128) / 128, a frozen MobileNet (pixel - 127.5) / 127.5.
    assert np.abs(np.subtract(*scores)).max() < 0.05


def test_a_run_can_be_repeated_from_its_configuration(
    finished: FinishedRun, tmp_path: Path
) -> None:
    first, again = finished.folder / "graph", tmp_path / "again"
    assert run(["train", "--config", str(first / "config.toml"), "-o", str(again), "-q"]) == 0
    for name in ("split.csv", "predictions.csv"):
        assert (again / name).read_text() == (first / name).read_text()


def test_a_missing_folder_ends_it_before_anything_is_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "logs" / "train" / "events.out.tfevents.1.old"
    logs.parent.mkdir(parents=True)
    logs.write_bytes(b"old curves")
    before = tree(tmp_path)
    assert run(retrain_arguments(tmp_path / "nowhere", tmp_path)) == 3
    assert "nowhere" in one_line(capsys.readouterr().err)
    assert tree(tmp_path) == before


def test_output_names_are_the_originals_but_never_empty_or_equal() -> None:
    names = output_names(("C++", "Golden_Retriever", "São Paulo", "日本", "a-b", "A_B"))
    assert names == {
        "A_B": "A_B",
        "C++": "c ",
        "Golden_Retriever": "golden retriever",
        "São Paulo": "s o paulo",
        "a-b": "a-b",
        "日本": "日本",
    }
    assert list(names) == sorted(names)
