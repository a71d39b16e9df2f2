"""`Model.predict` and `explain` take an image by any door; a model travels by its path."""

import base64
import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sharpeye
from feature_map_models import write_finder
from localizer import scene, write_localizer
from sharpeye.errors import ImageReadError, ModelError, UsageError
from sharpeye.predict.predictor import Model
from wide_images import png

RANDOM = np.random.default_rng(0)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return sharpeye.load(write_finder(tmp_path / "model.onnx"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo that lies on its side, as phones store them."""
    image = Image.fromarray(RANDOM.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


def record_inputs(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The pixels of every run of the model's graph."""
    inputs: list[np.ndarray] = []
    original = type(model._opened).run

    def run(self: Any, pixels: np.ndarray, *rest: Any) -> Any:
        inputs.append(pixels)
        return original(self, pixels, *rest)

    monkeypatch.setattr(type(model._opened), "run", run)
    return inputs


def sources(file: Path) -> Iterator[Any]:
    data = file.read_bytes()
    yield from (file, str(file), data, bytearray(data), memoryview(data), io.BytesIO(data))
    yield "data:image/png;base64," + base64.b64encode(data).decode()
    with Image.open(file) as image:
        yield image  # not loaded yet
        yield image
        yield image.convert("RGB")


def test_every_door_gives_the_model_the_same_pixels(
    model: Model, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = record_inputs(model, monkeypatch)
    for source in sources(photo):
        model.predict(source)
    for source in sources(photo):
        model.explain(source)
    model.predict(list(sources(photo))[:7])
    list(model.predict_files([("photo", photo)]))
    assert len(inputs) == 10 + 10 + 7 + 1
    assert all((pixels == inputs[0]).all() for pixels in inputs)


def test_the_range_of_the_model_holds_for_every_door(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.input = replace(model.input, bit_depth=12)
    values = RANDOM.integers(0, 2**12, (40, 60)).astype(np.uint16)
    file = tmp_path / "wide.png"
    file.write_bytes(png(values))
    narrow = tmp_path / "narrow.png"
    Image.fromarray((values >> 4).astype(np.uint8)).save(narrow)
    inputs = record_inputs(model, monkeypatch)
    model.predict(narrow)
    with Image.open(file) as image:
        for source in (file, file.read_bytes(), image, values):
            model.predict(source)
            model.explain(source)
        model.predict(io.BytesIO(file.read_bytes()))
        model.predict(Image.fromarray(values.astype(np.int32)))
    list(model.predict_files([("wide", file)]))
    assert len(inputs) == 1 + 4 * 2 + 1 + 1 + 1
    assert all((pixels == inputs[0]).all() for pixels in inputs)


def test_collections_give_a_list_in_order(model: Model, photo: Path, tmp_path: Path) -> None:
    other = scene(tmp_path / "scene.png", "green", (96, 64), (30, 12, 60, 36))
    files = [photo, other]
    expected = [model.predict(photo), model.predict(other)]
    names = [str(file) for file in files]
    texts = [replace(p, path=name) for p, name in zip(expected, names, strict=True)]
    for source in (files, tuple(files), iter(files), np.array(files, object)):
        assert model.predict(source) == expected
    assert model.predict(np.array(names)) == texts
    assert model.predict(name for name in names) == texts
    arrays = np.stack([np.asarray(Image.open(file).resize((50, 50))) for file in files])
    assert [p.top for p in model.predict(list(arrays))] == [model.predict(a).top for a in arrays]
    assert model.predict([]) == []


class Tensor:
    """An array of another library."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._values


class DeviceTensor(Tensor):
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("can't convert a tensor on a GPU")


def test_tensors_of_other_libraries(model: Model) -> None:
    array = RANDOM.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    expected = model.predict(array)
    floats = Tensor((array / 255).astype(np.float32).transpose(2, 0, 1))
    arguments = {"data_format": "channels_first", "value_range": (0, 1)}
    assert model.predict(Tensor(array)) == expected
    assert model.predict(floats, **arguments) == expected
    assert model.predict([floats], **arguments) == [expected]
    assert model.explain(floats, **arguments).prediction == expected
    with pytest.raises(UsageError, match="gives no NumPy array: can't convert"):
        model.predict(DeviceTensor(array))
    with pytest.raises(UsageError, match="value_range"):
        model.predict(array / 255)


def test_an_error_in_a_list_says_which_item(model: Model, photo: Path) -> None:
    with pytest.raises(UsageError, match=r"source\[1\]: .*uint8\[2,3,4,5\]"):
        model.predict([photo, np.zeros((2, 3, 4, 5), np.uint8)])
    with pytest.raises(ImageReadError, match=r"source\[1\]"):
        model.predict([photo, b"no image"])
    with pytest.raises(UsageError, match="Received: list"):
        model.predict([[1, 2], [3, 4]])
    with pytest.raises(UsageError, match="is a folder"):
        model.predict(photo.parent)
    with pytest.raises(UsageError, match="Received: list"):
        model.explain([photo])


def test_a_copy_of_a_model_predicts_the_same(model: Model, photo: Path) -> None:
    model = sharpeye.load(model._opened.path)
    expected = model.predict(photo)
    for again in (copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
        assert again.predict(photo) == expected
        assert again.coverage == model.coverage
    assert pickle.loads(pickle.dumps(expected)) == expected


def test_a_model_travels_to_another_process_by_its_absolute_path(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_localizer(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    model = sharpeye.load("model.onnx")
    program = (
        "import pickle, sys; model = pickle.load(sys.stdin.buffer); "
        "print(repr(model.predict(sys.argv[1]).score))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(photo)],
        input=pickle.dumps(model),
        capture_output=True,
        cwd="/",
        check=True,
    )
    assert float(done.stdout) == model.predict(photo).score


def test_a_copy_of_a_model_that_changed_or_went_is_refused(tmp_path: Path) -> None:
    file = write_localizer(tmp_path / "model.onnx")
    pickled = pickle.dumps(sharpeye.load(file))
    write_localizer(file, fit="stretch", boxes=False, task="classify")
    with pytest.raises(ModelError, match="is not the model that was copied: it has changed"):
        pickle.loads(pickled)
    file.unlink()
    with pytest.raises(UsageError, match="opens it again from its path: no such model"):
        pickle.loads(pickled)
