"""`model.onnx` takes images of any size, and predicts what `sharpeye predict` does."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sharpeye
from localizer import LABELS, SIDE, scene, write_localizer
from sharpeye.artefact import parity
from sharpeye.artefact.cut_model import fixed_model, preprocessing_of
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.parity import verify_full_size
from sharpeye.artefact.preprocess_nodes import PREPROCESS
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.artefact.write_model import write_model
from sharpeye.core.inference import Backbone, Graph
from sharpeye.core.types import InputSpec, ResizeMode, Sample
from sharpeye.errors import ModelError
from sharpeye.images.boxes import from_input
from sharpeye.images.resize import fit_image
from sharpeye.learn.heads.head import Head

PAGE = Path(__file__).parents[2] / "docs" / "model-file.md"


def mosaic(size: tuple[int, int], seed: int) -> Image.Image:
    """Tiles of faint colours, as `hard_photos` are: predictions are uncertain."""
    random = np.random.default_rng(seed)
    small = np.clip(random.normal(128, 40, (12, 14, 3)) + random.normal(0, 22, 3), 0, 255)
    return Image.fromarray(small.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def write_images(folder: Path) -> list[Path]:
    """Images of all modes of files, and of sizes from tiny to a hundred times the input."""
    folder.mkdir()
    sizes = [(64, 64), (64, 41), (20, 90), (1, 1), (1, 70), (300, 7), (333, 250), (640, 480)]
    for number, size in enumerate([*sizes, (65, 63), (128, 128), (57, 1200)]):
        mosaic(size, number).save(folder / f"rgb{number}.png")
    image = mosaic((180, 120), 50)
    image.convert("L").save(folder / "l.png")
    image.quantize(17).save(folder / "p.png")
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    clear.save(folder / "rgba.png")
    clear.convert("LA").save(folder / "la.png")
    wide = np.asarray(image.convert("L")).astype(np.uint16) * 256 + 77
    Image.fromarray(wide).save(folder / "deep.png")
    image.convert("CMYK").save(folder / "cmyk.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    mosaic((110, 90), 51).save(folder / "lying.jpg", exif=exif, quality=95)
    return sorted(folder.iterdir())


def test_a_short_script_predicts_as_sharpeye_does(trained: Path, tmp_path: Path) -> None:
    files = write_images(tmp_path / "pictures")
    (script,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert "sharpeye" not in script
    shutil.copy(trained / "model.onnx", tmp_path)
    (tmp_path / "predict.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-I", str(tmp_path / "predict.py"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    model = sharpeye.load(trained)
    assert len(lines) == len(files) == 18
    for file, line in zip(files, lines, strict=True):
        prediction = model.predict(file)
        assert line["probs"] == pytest.approx(dict(prediction.top), abs=5e-3), file.name
        assert next(iter(line["probs"])) == prediction.label


def test_the_metadata_has_what_other_readers_need(trained: Path) -> None:
    opened = open_model(trained / "model.onnx")
    metadata, manifest = opened.graph.metadata, opened.manifest
    assert opened.takes_any_size and opened.graph.input_shape() == ("H", "W", 3)
    keys = {"sharpeye", "labels", "input", "version", "license", "manifest_sha256", "file_sha256"}
    assert set(metadata) == keys
    assert json.loads(metadata["input"]) == manifest.input.to_dict()
    assert metadata["version"] == sharpeye.__version__
    assert metadata["license"] == manifest.weights_license
    digest = hashlib.sha256(metadata["sharpeye"].encode()).hexdigest()
    assert metadata["manifest_sha256"] == digest


def test_the_values_that_additions_rely_on_exist(trained: Path) -> None:
    import onnx

    graph = onnx.load(trained / "model.onnx").graph
    values = {name for node in graph.node for name in node.output}
    assert {"fitted", "features", "head_input", "logits", "probs"} <= values
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    assert constants["head_weights"][1] == constants["head_bias"][0] == 3
    used = {name for node in graph.node for name in node.input}
    assert {name for name in constants if name.startswith(PREPROCESS)} <= used


# --- a model of one size -------------------------------------------------------------------------


def test_a_fixed_model_gives_the_same_outputs(trained: Path, tmp_path: Path) -> None:
    import onnx

    fixed_model(trained / "model.onnx", tmp_path / "fixed.onnx")
    model, fixed = open_model(trained), open_model(tmp_path / "fixed.onnx")
    assert not fixed.takes_any_size and fixed.graph.input_shape() == (64, 64, 3)
    assert fixed.manifest == model.manifest
    names = {node.name for node in onnx.load(tmp_path / "fixed.onnx").graph.node}
    assert not any(name.startswith(PREPROCESS) for name in names)
    batch = np.stack([fit_image(mosaic((90, 70), n), model.manifest.input) for n in range(7)])
    np.testing.assert_array_equal(fixed.run(batch)["probs"], model.run(batch)["probs"])
    fixed_model(tmp_path / "fixed.onnx", tmp_path / "again.onnx")
    assert open_model(tmp_path / "again.onnx").graph.input_shape() == (64, 64, 3)
    with pytest.raises(ModelError, match="one size only"):
        preprocessing_of(tmp_path / "fixed.onnx")


def test_a_file_that_is_no_model_is_not_cut(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\x08\x09 no graph")
    for file in (tmp_path / "x.onnx", tmp_path / "nowhere.onnx"):
        with pytest.raises(ModelError, match=file.name):
            fixed_model(file, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


# --- boxes, and models built by hand -------------------------------------------------------------


def by_hand(folder: Path, fit: ResizeMode, **options: Any) -> OpenModel:
    """The localizer that finds bright rectangles, as a backbone with a head."""
    import onnx
    from onnx import TensorProto, helper

    spec = InputSpec(SIDE, SIDE, fit)
    model = onnx.load(write_localizer(folder / "by_hand.onnx", fit=fit))
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type not in ("Gemm", "Softmax")]
    nodes.append(helper.make_node("Identity", ["means"], ["features"]))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.output[0].CopyFrom(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]))
    onnx.save(model, folder / "backbone.onnx")
    weights = np.zeros((3, 3), np.float32)
    for row, label in enumerate(LABELS):
        weights[{"red": 0, "green": 1, "blue": 2}[label], row] = 0.05
    head = Head(weights, np.zeros(3, np.float32), 1.0, 1.0, square_root=False)
    backbone = Backbone("by hand", folder / "backbone.onnx", "", spec)
    manifest = Manifest(LABELS, spec, task="localize")
    write_model(backbone, head, manifest, file=folder / "model.onnx", **options)
    return open_model(folder / "model.onnx")


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("size", [(96, 64), (64, 96), (200, 60), (32, 32), (17, 23)])
def test_a_box_is_in_shares_of_the_given_image(
    fit: ResizeMode, size: tuple[int, int], tmp_path: Path
) -> None:
    opened = by_hand(tmp_path, fit)
    width, height = size
    edges = (width * 4 // 10, height * 3 // 10, width * 7 // 10, height * 8 // 10)
    file = scene(tmp_path / "scene.png", "green", size, edges)
    with Image.open(file) as image:
        pixels, fitted = np.asarray(image)[None], fit_image(image, opened.manifest.input)
    (box,) = opened.graph.run(pixels)["box"]
    (box_in_input,) = opened.run(fitted[None])["box"]
    expected = from_input(tuple(box_in_input.tolist()), size, opened.manifest.input)
    np.testing.assert_allclose(box, expected, atol=1e-6)
    shares = np.array(edges) / (width, height, width, height)
    np.testing.assert_allclose(box, shares, atol=max(size) / min(size) * 1.5 / SIDE)
    prediction = sharpeye.load(tmp_path / "model.onnx").predict(file)
    assert prediction.label == "green"
    assert prediction.box == pytest.approx(box * (width, height, width, height), abs=1e-3)


def test_a_fixed_localizer_gives_boxes_in_its_input(tmp_path: Path) -> None:
    opened = by_hand(tmp_path, "pad")
    fixed_model(tmp_path / "model.onnx", tmp_path / "fixed.onnx")
    fixed = open_model(tmp_path / "fixed.onnx")
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    pixels[:, 8:16, 4:28] = 255
    np.testing.assert_allclose(fixed.run(pixels)["box"], [[1 / 8, 1 / 4, 7 / 8, 1 / 2]])
    np.testing.assert_array_equal(fixed.run(pixels)["box"], opened.run(pixels)["box"])


def test_a_backbone_that_contradicts_its_spec_is_refused(tmp_path: Path) -> None:
    spec = replace(by_hand(tmp_path, "pad").manifest.input, channels=1)
    backbone = Backbone("by hand", tmp_path / "backbone.onnx", "", spec)
    head = Head(np.zeros((3, 3), np.float32), np.zeros(3, np.float32), 1.0, 1.0)
    with pytest.raises(ModelError, match=r"takes images of \[32, 32, 3\], .* \(32, 32, 1\)"):
        write_model(backbone, head, Manifest(LABELS, spec), file=tmp_path / "wrong.onnx")
    assert not (tmp_path / "wrong.onnx").exists()


def test_nodes_that_are_invalid_in_the_later_opset_are_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    opened = by_hand(tmp_path, "pad")
    file = tmp_path / "backbone.onnx"
    model = onnx.load(file)
    # Since opset 18 the axes are an input.
    model.graph.node[1].CopyFrom(helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2]))
    model.opset_import[0].version = 17
    onnx.save(model, file)
    backbone = Backbone("by hand", file, "", opened.manifest.input)
    head = Head(np.zeros((3, 3), np.float32), np.zeros(3, np.float32), 1.0, 1.0)
    with pytest.raises(ModelError, match=r"not valid ONNX: .*axes"):
        write_model(backbone, head, opened.manifest, file=tmp_path / "old.onnx")


# --- outputs on demand ---------------------------------------------------------------------------


def add_output(graph: Any, *, name: str = "heat") -> None:
    from onnx import TensorProto, helper

    graph.node.append(helper.make_node("Identity", ["logits"], [name]))
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]))


def test_heat_is_returned_only_on_request(tmp_path: Path) -> None:
    opened = by_hand(tmp_path, "pad", additions=[add_output])
    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    assert opened.graph.outputs == ("probs", "box", "heat")
    assert set(opened.run(pixels)) == {"probs", "box"}
    assert set(opened.run(pixels, ["heat", "probs"])) == {"probs", "heat"}


def test_an_unknown_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="this one gives probs, box, more"):
        by_hand(tmp_path, "pad", additions=[partial(add_output, name="more")])


# --- parity at full size -------------------------------------------------------------------------


def write_samples(folder: Path) -> list[Sample]:
    folder.mkdir()
    for number, size in enumerate([(64, 64), (90, 50), (400, 300), (31, 77)]):
        mosaic(size, number).save(folder / f"{number}.png")
    return [Sample(file.name, file, "ash") for file in sorted(folder.iterdir())]


def test_full_size_is_verified_and_another_resizing_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, samples = open_model(trained), write_samples(tmp_path / "pictures")
    proof = verify_full_size(model, samples)
    assert proof["pictures"] == 4
    assert proof["max_levels"] <= 1
    assert proof["max_difference"] <= 5e-3
    spec = replace(model.manifest.input, filter="bilinear")
    monkeypatch.setattr(parity, "fit_image", lambda image, _: fit_image(image, spec))
    with pytest.raises(ModelError, match=r"the pixels .* differ by \d+, more than 3"):
        verify_full_size(model, samples)


def test_full_size_boxes_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = by_hand(tmp_path, "pad")
    file = scene(tmp_path / "scene.png", "red", (96, 64), (30, 12, 60, 36))
    samples = [Sample("scene.png", file, "red")]
    assert verify_full_size(opened, samples)["max_box_difference"] < 1e-6
    monkeypatch.setattr(parity, "from_input", lambda box, size, spec: box)
    with pytest.raises(ModelError, match="box of full-size images differs"):
        verify_full_size(opened, samples)


def test_a_graph_runs_all_outputs_of_a_backbone(tmp_path: Path) -> None:
    by_hand(tmp_path, "pad")
    graph = Graph(tmp_path / "backbone.onnx")
    assert set(graph.run(np.zeros((1, SIDE, SIDE, 3), np.uint8))) == {"features", "box"}
