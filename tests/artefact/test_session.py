"""Opening a model: valid ones open; every kind of damage is refused and named."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner import one_line
from sharpeye.artefact.manifest import DIGEST_KEY, METADATA_KEY, Manifest, parse_manifest
from sharpeye.artefact.parity import PARITY_IMAGES, PARITY_LIMIT, bundle_record, verify_parity
from sharpeye.artefact.session import open_model
from sharpeye.cli.app import run
from sharpeye.core.storage import sha256_file
from sharpeye.core.types import InputSpec, Sample
from sharpeye.errors import EnvironmentFault, ModelError, UsageError

PIXELS = np.zeros((1, 64, 64, 3), np.uint8)


def change(model_folder: Path, **values: Any) -> None:
    """Change keys of `bundle.json`; a value of None removes the key."""
    file = model_folder / "bundle.json"
    raw = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps({k: v for k, v in raw.items() if v is not None}), encoding="utf-8")


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(path)
    return one_line(str(caught.value))


# --- valid models --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "model.onnx"])
def test_a_bundle_and_its_model_file_open(model_folder: Path, name: str) -> None:
    opened = open_model(model_folder / name)
    assert opened.manifest.labels == ("ash", "birch", "cedar")
    assert opened.manifest.input == InputSpec(64, 64)
    probs = opened.graph.run(PIXELS)["probs"]
    assert probs.shape == (1, 3)
    assert probs.sum() == pytest.approx(1, abs=1e-5)


def test_both_manifests_are_equal(model_folder: Path) -> None:
    assert open_model(model_folder).manifest == open_model(model_folder / "model.onnx").manifest


def test_the_graph_names_the_labels_for_other_readers(model_folder: Path) -> None:
    labels = open_model(model_folder).graph.metadata["labels"]
    assert json.loads(labels) == ["ash", "birch", "cedar"]


# --- bundle.json ---------------------------------------------------------------------------------


def delete(model_folder: Path) -> None:
    (model_folder / "bundle.json").unlink()


def text(content: str) -> Callable[[Path], None]:
    return lambda model_folder: (
        (model_folder / "bundle.json").write_text(content, encoding="utf-8") and None
    )


def keys(**values: Any) -> Callable[[Path], None]:
    return lambda model_folder: change(model_folder, **values)


def cut(model_folder: Path) -> None:
    file = model_folder / "bundle.json"
    file.write_bytes(file.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (delete, "bundle.json is missing"),
        (cut, "not JSON"),
        (text(""), "not JSON"),
        (text("\x00\x01"), "not JSON"),
        (text("[" * 100_000), "not JSON"),
        (text("[]"), "no SharpEye manifest"),
        (text("{}"), "no SharpEye manifest"),
        (text('{"format": 1}'), "labels"),
        (keys(unknown={"coverage": 0.94}), "the manifest in the graph has another `unknown`"),
        (keys(calibration={"temperature": 2.0}), "the graph has another `calibration`"),
        (keys(format=3), "this SharpEye reads up to 2"),
        (keys(format="1"), "this SharpEye reads up to 2"),
        (keys(format=None), "no SharpEye manifest"),
        (keys(labels=["ash", "birch"]), "3 classes, the manifest names 2"),
        (keys(labels=["ash", "birch", "cedar", "oak"]), "3 classes, the manifest names 4"),
        (keys(labels=["ash", "ash", "cedar"]), "different names"),
        (keys(labels=["ash", 2, "cedar"]), "different names"),
        (keys(labels="ash birch cedar"), "different names"),
        (keys(labels=None), "labels"),
        (keys(task="detect"), "unknown task 'detect'"),
        (keys(input=None), "`input` is missing"),
        (keys(input={"height": 64}), "incomplete"),
        (keys(input={"height": 64, "width": 64, "run": "rm"}), "unknown keys"),
        (keys(input={"height": 10**9, "width": 64}), "out of range"),
        (keys(input={"height": -1, "width": 64}), "out of range"),
        (keys(input={"height": "64", "width": 64}), "out of range"),
        (keys(input={"height": 64, "width": 64, "fit": "best"}), "out of range"),
        (keys(input={"height": 64, "width": 64, "filter": "magic"}), "out of range"),
        (keys(input={"height": 64, "width": 64, "pad_value": "x"}), "out of range"),
        (keys(calibration=[1]), "calibration"),
        (keys(files=None), "SHA-256 differs"),
        (keys(files=[]), "SHA-256 differs"),
        (keys(files={}), "SHA-256 differs"),
        (keys(files={"model.onnx": "0" * 64}), "SHA-256 differs"),
    ],
)
def test_a_wrong_bundle_json_is_refused(
    damage: Callable[[Path], None], words: str, model_folder: Path
) -> None:
    damage(model_folder)
    assert words in refusal(model_folder)


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx"])
def test_a_model_that_may_not_be_read_is_the_fault_of_the_environment(
    name: str, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(EnvironmentFault, match=rf"cannot open .*{name}: Permission denied"):
        open_model(model_folder)


def test_a_huge_bundle_json_is_not_read(model_folder: Path) -> None:
    with (model_folder / "bundle.json").open("r+b") as file:
        file.truncate(17 * 2**20)
    assert "larger than 16 MiB" in refusal(model_folder)


# --- model.onnx ----------------------------------------------------------------------------------


def tamper(file: Path) -> None:
    """Flip one bit of a weight: the file would open, with other outputs."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def random_bytes(file: Path) -> None:
    file.write_bytes(np.random.default_rng(0).bytes(5000))


def nothing(file: Path) -> None:
    file.write_bytes(b"")


def foreign_model(file: Path) -> None:
    """A valid ONNX model that SharpEye did not write."""
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("in", "probs")]
    node = helper.make_node("Relu", ["in"], ["probs"])
    graph = helper.make_graph([node], "other", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)


@pytest.mark.parametrize("damage", [tamper, truncate, random_bytes, nothing, foreign_model])
def test_another_model_file_in_a_bundle_is_refused_by_its_digest(
    damage: Callable[[Path], None], model_folder: Path
) -> None:
    damage(model_folder / "model.onnx")
    assert "SHA-256 differs" in refusal(model_folder)


def test_a_missing_model_file_is_named(model_folder: Path) -> None:
    (model_folder / "model.onnx").unlink()
    assert "model.onnx is missing" in refusal(model_folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "no ONNX model of SharpEye's"),
        (random_bytes, "no ONNX model of SharpEye's"),
        (nothing, "no ONNX model of SharpEye's"),
        (foreign_model, "not one that SharpEye wrote"),
    ],
)
def test_a_damaged_or_foreign_onnx_file_alone_is_refused(
    damage: Callable[[Path], None], words: str, model_folder: Path
) -> None:
    damage(model_folder / "model.onnx")
    assert words in refusal(model_folder / "model.onnx")


def with_metadata(file: Path, value: str) -> None:
    import onnx
    from onnx import helper

    model = onnx.load(file)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    metadata.pop(DIGEST_KEY, None)
    helper.set_model_props(model, metadata | {METADATA_KEY: value})
    onnx.save(model, file)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "its manifest is not JSON"),
        ("[]", "no SharpEye manifest"),
        ('{"format": 9}', "reads up to 2"),
        ('{"format": 1, "labels": ["a", "b"], "task": "classify"}', "`input` is missing"),
    ],
)
def test_a_bad_manifest_inside_the_graph_is_refused(
    value: str, words: str, model_folder: Path
) -> None:
    with_metadata(model_folder / "model.onnx", value)
    assert words in refusal(model_folder / "model.onnx")


def test_a_manifest_with_another_input_is_refused(model_folder: Path) -> None:
    raw = open_model(model_folder).manifest.to_dict()
    raw["input"]["height"] = 96
    with_metadata(model_folder / "model.onnx", json.dumps(raw))
    words = refusal(model_folder / "model.onnx")
    assert "the graph fits images by InputSpec(height=64" in words
    assert "the manifest says InputSpec(height=96" in words


def test_an_edited_embedded_manifest_is_refused(model_folder: Path) -> None:
    file = model_folder / "model.onnx"
    file.write_bytes(file.read_bytes().replace(b'"ash"', b'"oak"'))
    assert "a manifest that was changed" in refusal(file)


def test_a_foreign_graph_with_a_sharpeye_manifest_is_refused(model_folder: Path) -> None:
    raw = json.dumps(open_model(model_folder).manifest.to_dict())
    foreign_model(model_folder / "model.onnx")
    with_metadata(model_folder / "model.onnx", raw)
    assert "takes images of" in refusal(model_folder / "model.onnx")


def test_other_files_and_folders_are_refused(tmp_path: Path, model_folder: Path) -> None:
    with pytest.raises(UsageError, match="no such model"):
        open_model(tmp_path / "nowhere")
    weights = tmp_path / "weights.h5"
    shutil.copy(model_folder / "model.onnx", weights)
    assert "no model of SharpEye's" in refusal(weights)
    (tmp_path / "folder").mkdir()
    assert "no finished model" in refusal(tmp_path / "folder")


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_the_commands_end_with_4_in_one_line(
    verb: str, model_folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(model_folder / "model.onnx")
    assert run([verb, str(model_folder), str(trained.parent / "hard")]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "SHA-256 differs" in one_line(err)


# --- parity of the file with training -----------------------------------------------------------


@pytest.fixture
def samples(trained: Path) -> list[Sample]:
    """The run's images, with their digests."""
    hard = trained.parent / "hard"
    return [
        Sample(f"{f.parent.name}/{f.name}", f, f.parent.name, sha256=sha256_file(f))
        for f in sorted(hard.rglob("*.png"))
    ]


def predicted_probs(model: Path, samples: list[Sample]) -> np.ndarray[Any, Any]:
    import sharpeye

    predictions = sharpeye.load(model).predict([s.file for s in samples])
    labels = ("ash", "birch", "cedar")
    return np.array([[dict(p.top)[label] for label in labels] for p in predictions])


def test_parity_is_written(trained: Path) -> None:
    raw = json.loads((trained / "bundle.json").read_text(encoding="utf-8"))
    assert raw["parity"]["pictures"] >= 3
    assert 0 <= raw["parity"]["max_difference"] <= PARITY_LIMIT
    assert raw["parity"]["top1_agreement"] == 1
    full_size = raw["parity"]["full_size"]
    assert full_size["pictures"] >= 3
    assert full_size["max_levels"] <= 1 and full_size["share_of_levels"] < 1e-3
    assert full_size["max_difference"] <= 5 * PARITY_LIMIT
    assert full_size["top1_agreement"] == 1
    assert raw["files"] == {"model.onnx": sha256_file(trained / "model.onnx")}


def test_parity_accepts_equal_outputs_and_refuses_others(
    trained: Path, samples: list[Sample]
) -> None:
    model, expected = open_model(trained), predicted_probs(trained, samples)
    proof = verify_parity(model, samples, expected)
    assert proof["pictures"] == PARITY_IMAGES < len(samples)
    assert proof["max_difference"] < 1e-5
    one_wrong = expected.copy()
    one_wrong[3, 1] += 2 * PARITY_LIMIT
    with pytest.raises(ModelError, match="answers otherwise than training did"):
        verify_parity(model, samples, one_wrong)
    with pytest.raises(ModelError, match="answers otherwise"):
        verify_parity(model, samples, np.full_like(expected, np.nan))
    with pytest.raises(ModelError, match="answers otherwise"):
        verify_parity(model, samples, expected[:, ::-1])


def test_bundle_json_holds_manifest_parity_and_digests(model_folder: Path) -> None:
    manifest = open_model(model_folder).manifest
    record = bundle_record(manifest, {"pictures": 1}, model_folder)
    assert record["files"]["model.onnx"] == sha256_file(model_folder / "model.onnx")
    assert record["parity"] == {"pictures": 1}
    assert parse_manifest(record, "it") == manifest


def test_a_manifest_survives_json() -> None:
    manifest = Manifest(
        labels=("Fluß", "日本", 'quote"'),
        input=InputSpec(96, 128, fit="crop", channels=1, filter="bilinear"),
        calibration={"temperature": 1.25},
        data={"pictures": {"train": 3}},
    )
    assert parse_manifest(json.loads(json.dumps(manifest.to_dict())), "it") == manifest
    other = replace(manifest, labels=("a", "b"))
    assert parse_manifest(json.loads(json.dumps(other.to_dict())), "it") != manifest
