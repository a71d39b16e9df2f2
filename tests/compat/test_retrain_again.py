"""A second `sharpeye retrain` of the same names replaces graph, labels and run, all or none."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_image_process import LabelImage
from PIL import Image
from retrain_command import retrain_arguments
from tensorboard.compat.proto.graph_pb2 import GraphDef

from runner import environment, one_line, share_backbones, temporaries, tree
from sharpeye.cli.app import run
from sharpeye.compat.graph_reader import read_record
from sharpeye.compat.training_summaries import TrainingSummaries
from sharpeye.core.storage import os_errors_at
from sharpeye.predict.predictor import load
from sharpeye.runs.events import EventWriter
from sharpeye.runs.run_directory import Run

pytestmark = pytest.mark.usefixtures("shared")


def graph_weights(graph: Path) -> bytes:
    """The last layer's weights in a graph."""
    nodes = {node.name: node for node in GraphDef.FromString(graph.read_bytes()).node}
    content: bytes = (
        nodes["final_training_ops/weights/final_weights"].attr["value"].tensor.tensor_content
    )
    return content


def labels_of(folder: Path) -> tuple[Any, ...]:
    """The class names in graph.pb, labels.txt and the run directory graph/."""
    graph = folder / "graph.pb"
    record = read_record(GraphDef.FromString(graph.read_bytes()), graph)
    assert record is not None
    text = (folder / "labels.txt").read_text()
    return record.labels, tuple(text.splitlines()), load(folder / "graph").labels


@pytest.fixture(scope="module")
def finished(photos: Path, backbone_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished retrain. Tests must not change it."""
    folder, cache = tmp_path_factory.mktemp("finished"), tmp_path_factory.mktemp("cache")
    share_backbones(backbone_cache, cache)
    more = ("--intermediate_store_frequency=20", f"--intermediate_output_graphs_dir={folder}/i-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(cache))
        assert run(retrain_arguments(photos, folder, "-q", *more)) == 0
    return folder


@pytest.fixture
def first(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path, dirs_exist_ok=True))


def smaller(photos: Path, folder: Path) -> Path:
    """Two of the three classes."""
    for label in ("apple", "leaf"):
        (folder / label).mkdir(parents=True)
        for file in (photos / label).iterdir():
            os.link(file, folder / label / file.name)
    return folder


def test_the_three_are_replaced_together(
    photos: Path, first: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = {path.name for path in first.iterdir()}
    curves = set((first / "logs").rglob("*tfevents*"))
    assert labels_of(first)[1] == ("blue sky", "apple", "leaf")
    two = smaller(photos, tmp_path_factory.mktemp("two") / "photos")
    more = ("--intermediate_store_frequency=50", f"--intermediate_output_graphs_dir={first}/i-")
    assert run(retrain_arguments(two, first, *more)) == 0
    assert labels_of(first) == (("apple", "leaf"),) * 3
    removed, added = {"i-intermediate_20.pb", "i-intermediate_40.pb"}, {"i-intermediate_50.pb"}
    assert {path.name for path in first.iterdir()} == names - removed | added
    assert str(first / "graph") in (first / "graph" / "report.html").read_text()
    assert ".sharpeye-tmp" not in (first / "graph" / "report.html").read_text()
    assert len(list((first / "logs").rglob("*tfevents*"))) == 2
    assert not curves & set((first / "logs").rglob("*tfevents*"))
    assert not temporaries(first)


def test_it_says_so(first: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(retrain_arguments(photos, first)) == 0
    out, err = capsys.readouterr()
    assert "the earlier graph, labels and run are replaced" in err
    assert f"run:     {first / 'graph'}\n" in out
    assert "weights: random, for tests only\n" in out


@pytest.mark.parametrize(
    "failing",
    [
        "sharpeye.jobs.train.train.write_artefact",
        "sharpeye.jobs.train.train.write_results",
        "sharpeye.jobs.train.train.bundle_record",
        "sharpeye.runs.run_folder.replace_folder",
        "sharpeye.compat.retrain_files.GraphDefWriter.write",
    ],
)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_earlier_ones(
    failing: str,
    error: BaseException,
    first: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = tree(first)

    def fail(*_: object, **__: object) -> None:
        with os_errors_at(first / "somewhere"):
            raise error

    monkeypatch.setattr(failing, fail)
    code = 5 if isinstance(error, OSError) else 130
    assert run(retrain_arguments(photos, first, "--seed=1", "-q")) == code
    assert tree(first) == before


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_a_failure_after_the_run_is_replaced_replaces_the_graph_too(
    error: BaseException, first: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = graph_weights(first / "graph.pb")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("sharpeye.compat.retrain._log_test", fail)
    arguments = retrain_arguments(photos, first, "--seed=1", "-q")
    if isinstance(error, ValueError):
        with pytest.raises(ValueError, match="a bug"):
            run(arguments)
    else:
        assert run(arguments) == 130
    assert Run(first / "graph").config.seed == 1
    assert graph_weights(first / "graph.pb") != before
    assert not temporaries(first)


def test_curves_of_an_earlier_run_return_after_a_failure(
    first: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(first / "logs")
    monkeypatch.setattr(EventWriter, "scalars", None)
    with pytest.raises(TypeError):
        run(retrain_arguments(photos, first, "-q"))
    assert tree(first / "logs") == before


def test_curves_of_an_earlier_run_outlive_a_killed_one(tmp_path: Path) -> None:
    first = TrainingSummaries(tmp_path)
    first.graph(b"")
    first.finish(is_complete=True)
    before = tree(tmp_path)
    killed = TrainingSummaries(tmp_path)
    killed.close()
    assert tree(tmp_path) != before
    TrainingSummaries(tmp_path).finish(is_complete=False)
    assert tree(tmp_path) == before
    killed = TrainingSummaries(tmp_path)
    killed.close()
    last = TrainingSummaries(tmp_path)
    last.finish(is_complete=True)
    assert len(tree(tmp_path)) == len(before)
    assert tree(tmp_path) != before


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_one_leaves_the_earlier_and_says_how_to_go_on(
    first: Path, photos: Path, cache: Path
) -> None:
    before = tree(first)
    command = [sys.executable, "-m", "sharpeye"]
    command += retrain_arguments(photos, first, "--how_many_training_steps=1000000", "--seed=1")
    with subprocess.Popen(
        command, env=environment(cache), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any("Step 50:" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    line = err.splitlines()[-1]
    assert line.startswith("error: stopped; an earlier graph, its labels and its run are unchanged")
    assert "run the same command again" in line
    assert "--resume" not in line
    assert out == ""
    assert tree(first) == before


@pytest.mark.slow
def test_a_folder_beside_the_graph_is_no_run_directory(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "graph" / "cat.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"an image")
    for _ in range(2):
        assert run(retrain_arguments(photos, tmp_path, "-q")) == 0
        assert f"run:     {tmp_path / 'graph-run'}\n" in capsys.readouterr().out
    assert list(mine.parent.iterdir()) == [mine]
    mine.rename(tmp_path / "graph-run" / "cat.jpg")
    mine.parent.rmdir()
    (tmp_path / "graph-run").rename(tmp_path / "graph")
    before = tree(tmp_path)
    for more in ([], [f"-o{tmp_path / 'graph'}"]):
        assert run(retrain_arguments(photos, tmp_path, "-q", *more)) == 2
        assert "holds other files than those of a run" in one_line(capsys.readouterr().err)
    assert tree(tmp_path) == before


def test_a_path_may_begin_with_a_tilde(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    arguments = retrain_arguments(photos, Path("~"), "--how_many_training_steps=2", "-q")
    assert run([*arguments, "--bottleneck_dir=~/features"]) == 0
    expected = ["features", "graph", "graph.pb", "labels.txt", "logs"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == expected


@pytest.mark.slow
def test_graph_and_run_give_one_answer_after_each_of_two(
    tmp_path: Path, cache: Path, label_image: LabelImage
) -> None:
    """Twice with the same names, on other images each time: label-image on both, and predict."""
    for seed in (0, 1):
        random = np.random.default_rng(seed)
        photos = tmp_path / f"photos{seed}"
        for label in "abcd"[: 3 + seed]:
            (photos / label).mkdir(parents=True)
            colour = random.uniform(30, 220, 3)
            for n in range(25):
                pixels = colour + random.normal(0, 30, (48, 64, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(photos / label / f"{n}.png")
        assert run(retrain_arguments(photos, tmp_path, "--learning_rate=0.1", "-q")) == 0
        images = sorted(photos.rglob("*.png"))[::7]
        by_graph = label_image("--graph=graph.pb", *images, cwd=tmp_path)
        by_run = label_image("--graph=graph", *images, cwd=tmp_path)
        assert (by_graph.code, by_run.code) == (0, 0)
        assert top_labels(by_graph.out) == top_labels(by_run.out)
        model = load(tmp_path / "graph")
        predictions = [model.predict(str(image)) for image in images]
        assert top_labels(by_run.out) == [p.top[0][0] for p in predictions]
        assert len(model.labels) == 3 + seed
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("graph-")]


def top_labels(out: str) -> list[str]:
    """The best class of each image."""
    blocks = out.split("Evaluation time")[1:]
    return [block.split("\n\n")[1].split(" (score=")[0] for block in blocks]
