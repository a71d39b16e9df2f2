"""`sharpeye retrain` compared with retrain.py: flags, files, log lines and curves."""

import contextlib
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from retrain_command import retrain_arguments
from tensorboard.compat.proto.graph_pb2 import GraphDef

from runner import one_line, share_backbones, tree
from sharpeye.cli.app import run
from sharpeye.compat.graph_reader import read_record
from sharpeye.compat.retrain_files import output_names
from sharpeye.compat.training_summaries import TrainingSummaries
from sharpeye.predict.predictor import load

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
        TrainingSummaries(tmp_path / "logs").close()
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


def test_quantized_names_give_an_int8_model_and_its_cost(
    photos: Path, finished: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(retrain_arguments(photos, tmp_path, "--architecture=mobilenet_0.25_128_quantized")) == 0
    )
    assert re.search(r"int8: test accuracy .* a drop of -?\d+\.\d points", capsys.readouterr().err)
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
