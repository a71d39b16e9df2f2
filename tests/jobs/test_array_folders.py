"""Training and evaluation on CIFAR's and MNIST's files, from end to end."""

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sharpeye
from arrays import NAMES, write_cifar, write_mnist
from runner import one_line
from sharpeye.cli.app import run

pytestmark = pytest.mark.usefixtures("warm")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_train_evaluate_and_the_report_on_rows(tmp_path: Path) -> None:
    data = tmp_path / "cifar"
    made = write_cifar(data, counts=(24, 21), tested=12)
    trained = sharpeye.train(data, output=tmp_path / "run", model__image_size=64)
    assert trained.labels == NAMES
    assert trained.metrics["test"]["count"] == 12
    predictions = rows_of(trained.path / "predictions.csv")
    assert [row["path"] for row in predictions] == [f"test_batch/{row:05d}" for row in range(12)]
    assert [row["label"] for row in predictions] == [NAMES[row % 3] for row in range(12)]
    split = rows_of(trained.path / "split.csv")
    assert len(split) == 57 and {row["part"] for row in split} == {"train", "validation", "test"}

    output = tmp_path / "evaluated"
    assert run(["evaluate", str(trained.path), str(data), "-o", str(output)]) == 0
    again = rows_of(output / "predictions.csv")
    assert [(row["path"], row["predicted"]) for row in again] == [
        (row["path"], row["predicted"]) for row in predictions
    ]

    model = sharpeye.load(trained.path)
    for row, pixels in zip(predictions[:4], made[-1], strict=False):
        assert model.predict(pixels).label == row["predicted"]


@pytest.mark.slow
def test_the_report_shows_the_rows_that_were_mistaken(tmp_path: Path) -> None:
    data = tmp_path / "mnist"
    _, tested = write_mnist(data, count=30, tested=6)
    (data / "labels.txt").write_text("one\ntwo\nthree\n")
    trained = sharpeye.train(data, output=tmp_path / "run", model__image_size=64)
    (data / "labels.txt").write_text("three\none\ntwo\n")  # now most answers are wrong
    output = tmp_path / "evaluated"
    assert run(["evaluate", str(trained.path), str(data), "-o", str(output)]) == 0
    wrong = rows_of(output / "misclassified.csv")
    assert wrong
    page = (output / "report.html").read_text(encoding="utf-8")
    result = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in result]
    first = int(wrong[0]["path"].removeprefix("t10k-images-idx3-ubyte/"))
    assert any((image == tested[first]).all() for image in shown if image.shape == (28, 28, 3))


def test_a_damaged_array_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar(tmp_path / "cifar")
    (tmp_path / "cifar" / "data_batch_2").write_bytes(b"\x80\x02cos\nsystem\n.")
    assert run(["train", str(tmp_path / "cifar"), "-o", str(tmp_path / "run")]) == 3
    line = one_line(capsys.readouterr().err)
    assert "data_batch_2" in line and "os.system" in line
    assert not (tmp_path / "run").exists()
