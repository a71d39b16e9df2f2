"""A model file that is damaged or changed anywhere is refused; files without a digest open."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from good_model import SIDE, set_metadata, small_model, with_digest

from sharpeye.artefact.file_digest import FILE_DIGEST_KEY, compute_digests, insert_digest
from sharpeye.artefact.onnx_model import save_onnx
from sharpeye.artefact.session import open_model
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.onnx"
    small_model(file, InputSpec(SIDE, SIDE))
    return file


def probs(file: Path) -> list[float]:
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    return [float(value) for value in open_model(file).run(pixels)["probs"].ravel()]


def test_the_file_holds_its_digest(model_file: Path) -> None:
    data = model_file.read_bytes()
    assert compute_digests(data) == (hashlib.sha256(data).hexdigest(), True)
    assert len(probs(model_file)) == 3


def test_any_damage_is_refused(model_file: Path, tmp_path: Path) -> None:
    """Of every kind: a bit, a byte, a block of zeros, a missing or an additional end."""
    data, random = model_file.read_bytes(), np.random.default_rng(0)
    file, accepted = tmp_path / "model.onnx", []
    metadata = data.rfind(b"manifest_sha256") - 600
    positions = [*random.integers(0, len(data), 200), *range(max(metadata, 0), len(data), 7)]
    for number, position in enumerate(map(int, positions)):
        damaged = bytearray(data)
        if number % 3 == 0:
            damaged[position] ^= 1 << int(random.integers(8))
        elif number % 3 == 1:
            damaged[position] = (damaged[position] + int(random.integers(1, 256))) % 256
        else:
            damaged[position : position + 16] = bytes(16)
        if damaged == data:
            continue
        file.write_bytes(damaged)
        try:
            open_model(file)
        except ModelError as error:
            assert "\n" not in str(error)
        else:
            accepted.append(position)
    assert accepted == []
    for damaged in (data[:-1], data[: len(data) // 2], data + b"\0", data + data):
        file.write_bytes(damaged)
        with pytest.raises(ModelError):
            open_model(file)


@pytest.mark.parametrize("change", ["constant", "labels", "name", "key", "no digest"])
def test_a_changed_model_is_refused(model_file: Path, tmp_path: Path, change: str) -> None:
    model = onnx.load(model_file)
    if change == "constant":
        weights = next(t for t in model.graph.initializer if t.name == "head_bias")
        weights.raw_data = np.array([9, 0, 0], np.float32).tobytes()
    elif change == "labels":
        text = next(e.value for e in model.metadata_props if e.key == "sharpeye")
        set_metadata(
            model,
            sharpeye=text.replace('"ash"', '"elm"'),
            labels='["elm", "birch", "cedar"]',
        )
    elif change == "name":
        model.graph.name = "other"
    elif change == "key":
        next(e for e in model.metadata_props if e.key == FILE_DIGEST_KEY).key = "file_sha255"
    else:
        entries = [e for e in model.metadata_props if e.key != FILE_DIGEST_KEY]
        del model.metadata_props[:]
        model.metadata_props.extend(entries)
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="is damaged or was changed: its SHA-256 differs"):
        open_model(file)


def test_a_model_without_a_digest_opens(model_file: Path, tmp_path: Path) -> None:
    """As all models of earlier versions."""
    model = onnx.load(model_file)
    entries = {e.key: e.value for e in model.metadata_props if e.key != FILE_DIGEST_KEY}
    old = entries["sharpeye"].replace(', "file_digest": true', "")
    assert old != entries["sharpeye"]
    del entries["manifest_sha256"]
    onnx.helper.set_model_props(model, entries | {"sharpeye": old})
    file = tmp_path / "old.onnx"
    save_onnx(model, file)
    assert file.read_bytes() == with_digest(model)
    assert probs(file) == probs(model_file)


def test_only_an_empty_digest_is_filled_in(model_file: Path) -> None:
    with pytest.raises(ModelError, match="no place for its digest"):
        insert_digest(model_file.read_bytes())
    with pytest.raises(ModelError, match="no place for its digest"):
        insert_digest(b"\x08\x09")
    assert compute_digests(b"\x08\x09") == (hashlib.sha256(b"\x08\x09").hexdigest(), False)
