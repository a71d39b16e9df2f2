"""Quantizing: a smaller file with the same manifest and nearly the same outputs."""

import csv
import json
import logging
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from good_model import small_model

from runner import one_line, temporaries
from sharpeye.artefact import quantize
from sharpeye.artefact.quantize import compare_accuracy, quantize_model
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.types import InputSpec, Sample
from sharpeye.data.sample_image import load_sample
from sharpeye.errors import DataError, MissingExtra, ModelError, UsageError


def samples_of(run_dir: Path) -> list[Sample]:
    """All images of a run, as its `split.csv` names them."""
    data = run_dir.parent / "hard"
    with (run_dir / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [Sample(r["path"], data / r["path"], r["label"], sha256=r["sha256"]) for r in rows]


def pixels_of(samples: list[Sample], model: OpenModel) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack([load_sample(sample, model.manifest.input) for sample in samples])


@pytest.fixture(scope="module")
def samples(trained: Path) -> list[Sample]:
    return samples_of(trained)


@pytest.fixture(scope="module")
def int8(trained: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model in 8 bits. Not to be changed."""
    file = tmp_path_factory.mktemp("int8") / "int8.onnx"
    quantize_model(trained / "model.onnx", samples, file)
    return file


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one convolution: it is quantized in a moment."""
    file = tmp_path_factory.mktemp("small") / "model.onnx"
    small_model(file, InputSpec(16, 16))
    return file


# --- the file ------------------------------------------------------------------------------------


def test_it_is_less_than_two_fifths_of_the_size_and_the_only_file(
    int8: Path, trained: Path
) -> None:
    assert int8.stat().st_size < 0.4 * (trained / "model.onnx").stat().st_size
    assert list(int8.parent.iterdir()) == [int8]


def test_manifest_and_labels_are_kept_and_nothing_is_added(int8: Path, trained: Path) -> None:
    first, second = open_model(trained / "model.onnx"), open_model(int8)
    assert second.manifest == first.manifest
    assert second.graph.metadata.keys() == first.graph.metadata.keys()
    different = {"file_sha256"}
    assert {key: value for key, value in second.graph.metadata.items() if key not in different} == {
        key: value for key, value in first.graph.metadata.items() if key not in different
    }
    assert json.loads(second.graph.metadata["labels"]) == ["ash", "birch", "cedar"]


def test_convolutions_are_int8_by_channel_and_both_ends_are_float(int8: Path) -> None:
    import onnx
    from onnx import TensorProto

    graph = onnx.load(int8).graph
    producers = {output: node for node in graph.node for output in node.output}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 40
    for node in convolutions:
        image, weights = (producers[name] for name in node.input[:2])
        assert image.op_type == weights.op_type == "DequantizeLinear"
        assert tensors[weights.input[0]].data_type == TensorProto.INT8
        assert list(tensors[weights.input[1]].dims) == [tensors[weights.input[0]].dims[0]]
    heads = {node.name: node for node in graph.node if node.name.startswith("head_")}
    assert {"head_gemm", "head_softmax"} <= set(heads)
    for node in [*heads.values(), *(n for n in graph.node if n.op_type == "Cast")]:
        sources = {producers[name].op_type for name in node.input if name in producers}
        assert "DequantizeLinear" not in sources
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    before = {node.op_type for node in graph.node[: list(graph.node).index(first)]}
    assert "Cast" in before
    assert "Conv" not in before


# --- its outputs ---------------------------------------------------------------------------------


def test_its_outputs_are_nearly_those_of_the_float_model(
    int8: Path, trained: Path, samples: list[Sample]
) -> None:
    first, second = open_model(trained), open_model(int8)
    pixels = pixels_of(samples, first)
    before, after = first.graph.run(pixels)["probs"], second.graph.run(pixels)["probs"]
    np.testing.assert_allclose(after.sum(1), 1, atol=1e-5)
    assert np.abs(before - after).mean() < 0.05
    assert np.abs(before - after).max() < 0.4
    assert (before.argmax(1) == after.argmax(1)).mean() >= 0.9
    assert np.abs(before - after).max() > 0


def test_batches_of_1_and_7_give_equal_outputs(int8: Path, samples: list[Sample]) -> None:
    model = open_model(int8)
    pixels = pixels_of(samples[:7], model)
    single = np.concatenate([model.graph.run(image[None])["probs"] for image in pixels])
    np.testing.assert_allclose(model.graph.run(pixels)["probs"], single, atol=1e-6)


def test_the_comparison_counts_correctly(tmp_path: Path) -> None:
    files = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    for file, size in zip(files, (400, 100), strict=True):
        file.write_bytes(bytes(size))
    float_probs = np.eye(3)[[0, 1, 2, 0]]
    int8_probs = np.eye(3)[[0, 1, 1, 1]].astype(np.float32)
    targets = np.array([0, 1, 2, 1])
    comparison = compare_accuracy(
        float_probs, int8_probs, targets, float_file=files[0], int8_file=files[1]
    )
    assert json.loads(json.dumps(comparison)) == {
        "float_accuracy": 0.75,
        "int8_accuracy": 0.75,
        "drop": 0.0,
        "top1_agreement": 0.5,
        "float_bytes": 400,
        "int8_bytes": 100,
    }


# --- the images to calibrate with --------------------------------------------------------------


def test_classes_alternate_in_any_order_of_samples(samples: list[Sample]) -> None:
    ordered = quantize._alternate_classes(samples)
    assert sorted(ordered, key=lambda s: s.path) == sorted(samples, key=lambda s: s.path)
    assert Counter(sample.label for sample in ordered[:9]) == {"ash": 3, "birch": 3, "cedar": 3}
    assert quantize._alternate_classes(samples[::-1]) == ordered


def test_a_limited_number_is_read_and_unreadable_ones_are_skipped(
    small: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def load(sample: Sample, *rest: Any) -> Any:
        pixels = load_sample(sample, *rest)
        read.append(sample.path)
        return pixels

    monkeypatch.setattr(quantize, "load_sample", load)
    monkeypatch.setattr(quantize, "CALIBRATION_IMAGES", 4)
    ordered = quantize._alternate_classes(samples)
    gone = replace(ordered[0], file=tmp_path / "gone.png")
    changed = replace(ordered[1], file=ordered[2].file)
    quantize_model(small, [gone, changed, *ordered[2:]], tmp_path / "q.onnx")
    assert read == [sample.path for sample in ordered[2:6]]
    assert open_model(tmp_path / "q.onnx").manifest == open_model(small).manifest


@pytest.mark.parametrize("count", [0, 3])
def test_without_a_readable_image_nothing_is_written(
    count: int, trained: Path, samples: list[Sample], tmp_path: Path
) -> None:
    gone = [replace(sample, file=tmp_path / "gone.png") for sample in samples[:count]]
    with pytest.raises(DataError, match=f"none of the {count} images"):
        quantize_model(trained / "model.onnx", gone, tmp_path / "q.onnx")
    assert list(tmp_path.iterdir()) == []


# --- side effects and refusals -------------------------------------------------------------------


def test_it_is_silent_and_leaves_no_other_files(
    small: Path,
    samples: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    handlers, filters = list(logging.getLogger().handlers), list(logging.getLogger().filters)
    before = sorted(small.parent.rglob("*"))
    quantize_model(small, samples[:3], tmp_path / "q.onnx")
    assert tuple(capfd.readouterr()) == ("", "")
    assert caplog.records == []
    assert (logging.getLogger().handlers, logging.getLogger().filters) == (handlers, filters)
    assert sorted(small.parent.rglob("*")) == before
    assert list((tmp_path / "temporary").iterdir()) == []
    assert temporaries(tmp_path) == []


def test_a_damaged_file_is_refused(
    model_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    file, out = model_folder / "model.onnx", tmp_path / "q.onnx"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelError, match="is no ONNX model of SharpEye"):
        quantize_model(file, samples, out)
    with pytest.raises(UsageError, match="no such model"):
        quantize_model(model_folder / "other.onnx", samples, out)
    assert not out.exists()


def test_an_int8_model_is_not_quantized_again(
    int8: Path, samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="quantized already"):
        quantize_model(int8, samples, tmp_path / "q.onnx")


def test_a_failing_quantizer_gives_one_line_and_leaves_the_old_file(
    trained: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime import quantization

    def fail(model: Any, file: Path, *_: Any, **__: Any) -> None:
        file.write_bytes(b"half a file")
        raise ValueError("no range\nfor tensor x")

    monkeypatch.setattr(quantization, "quantize_static", fail)
    out = tmp_path / "q.onnx"
    out.write_bytes(b"old")
    with pytest.raises(ModelError, match="cannot be quantized: no range for tensor x") as caught:
        quantize_model(trained / "model.onnx", samples, out)
    one_line(str(caught.value))
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_without_onnx_the_extra_is_named(
    trained: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sharpeye\[train\]'"):
        quantize_model(trained / "model.onnx", samples, tmp_path / "q.onnx")
