"""Networks, augmentation and callbacks of the user's own code."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharpeye
from runner import command, environment, one_line
from sharpeye.cli.app import run
from sharpeye.core.config import Config
from sharpeye.core.own_code import is_own_code
from sharpeye.errors import ConfigError, ModelError, UsageError
from sharpeye.jobs.train.train import run_folder

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DOCS = Path(__file__).parents[2] / "docs"
NET = """
from keras import layers

def build(image):
    x = layers.Conv2D(8, 3, activation="relu")(image)
    return layers.GlobalMaxPooling2D()(x)

build.image_size = 16
"""
FEW = {"train__epochs": 2, "train__batch_size": 8}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a network; what an earlier test allowed is not allowed here."""
    monkeypatch.delenv("SHARPEYE_OWN_CODE", raising=False)
    file = tmp_path / "net.py"
    file.write_text(NET)
    return file


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("net.py:build", True), ("a/b c/net.py:build", True), ("package.module:build", True)),
        *(("lenet5", False), ("net.py", False), ("net.py:", False), ("https://x.org/a", False)),
        *(("", False), ("a b:c", False), ("net.py:a.b", False)),
    ],
)
def test_names_of_own_code(name: str, expected: bool) -> None:
    assert is_own_code(name) is expected


@pytest.mark.parametrize("ending", ["", "-repeated", "-sweep"])
def test_the_default_folder_has_the_name_of_the_code_without_its_folders(
    own: Path, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config().replace({"data.folder": str(photo_folder), "model.name": f"{own}:build"})
    expected = Path("runs") / f"{photo_folder.name}-net-build{ending}"
    assert run_folder(None, config, ending=ending) == expected


def test_an_own_network_is_trained_and_never_needed_again(
    own: Path, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "run"
    arguments = ["train", str(photo_folder), "--model", "net.py:build", "-o", str(output)]
    assert run([*arguments, "--epochs", "3", "--batch-size", "8", "-q"]) == 0
    done = sharpeye.Run(output)
    bundle = json.loads((output / "bundle.json").read_text())
    assert bundle["model"] == "net.py:build" and bundle["input"]["width"] == 16
    assert bundle["parity"]["max_difference"] < 1e-3
    assert done.config.model.name == f"{own}:build"
    assert re.fullmatch(r"[0-9a-f]{64}", done.config.model.code_sha256)
    own.unlink()
    monkeypatch.delenv("SHARPEYE_OWN_CODE")
    assert run(["predict", str(output), str(photo_folder)]) == 0
    assert run(["evaluate", str(output), str(photo_folder), "-q"]) == 0
    assert run(["export", str(output), "-f", "onnx", "-o", str(tmp_path / "out"), "-q"]) == 0


@pytest.mark.slow
def test_the_network_of_the_docs_is_trained_swept_and_proven(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from keras import layers.*?)```", page, re.S)
    (tmp_path / "my_net.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", "my_net.py:build", "--epochs", "2", "-q"]
    assert run(["train", str(photo_folder), *arguments, "-o", "run"]) == 0
    assert (tmp_path / "run" / "model.onnx").is_file()


@pytest.mark.slow
def test_own_code_gets_keras_with_the_settings_of_sharpeye(own: Path, tmp_path: Path) -> None:
    """And TensorFlow, which writes lines to stderr when it is loaded, writes none."""
    own.write_text(
        "import keras\n"
        "raise OSError(f'{keras.config.floatx()} {keras.config.image_data_format()}')\n"
    )
    (tmp_path / ".keras").mkdir()
    settings = {"floatx": "float16", "image_data_format": "channels_first"}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(settings))
    arguments = ["train", str(tmp_path), "--model", f"{own}:build", "-o", str(tmp_path / "run")]
    done = subprocess.run(
        command(*arguments),
        env=environment(tmp_path / "cache", HOME=str(tmp_path)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "OSError: float32 channels_last" in one_line(done.stderr)


@pytest.mark.slow
def test_an_own_network_is_swept_in_child_processes(
    own: Path, photo_folder: Path, tmp_path: Path
) -> None:
    arguments = ["sweep", photo_folder, "--model", own.as_posix() + ":build", "--epochs", "2"]
    arguments += ["--grid", "dropout=0,0.2", "--set", "batch_size=8", "-o", tmp_path / "sweep"]
    done = subprocess.run(
        command(*arguments), env=environment(tmp_path / "cache"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "sweep" / "leaderboard.csv").read_text().splitlines()
    assert len(rows) == 3 and all("complete" in row for row in rows[1:])


@pytest.mark.parametrize("named", [True, False])
def test_own_code_in_a_worker_imports_any_module(
    named: bool, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = ("IPython", "matplotlib", "sklearn")
    script = (
        "import sys\n"
        "from sharpeye.jobs.sweep import worker\n"
        f"blocked = lambda *_: print(*[name for name in {modules} if name in sys.modules])\n"
        "worker.run_trials = blocked\n"
        "sys.exit(worker.main())\n"
    )
    if named:
        monkeypatch.setenv("SHARPEYE_OWN_CODE", f"{own}:build")
    arguments = [sys.executable, "-c", script, str(tmp_path), "0"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ([] if named else [*modules])


def test_code_of_a_configuration_runs_only_if_the_user_names_it(
    own: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "it-ran"
    own.write_text(f"open({str(mark)!r}, 'w').close()\n{NET}")
    file = tmp_path / "foreign.toml"
    file.write_text(f'[model]\nname = "{own}:build"\nweights = "none"\n')
    arguments = ["train", str(photo_folder), "--config", str(file), "-o", str(tmp_path / "run")]
    assert run([*arguments, "-q"]) == 2
    message = one_line(capsys.readouterr().err)
    assert "runs only if you name it yourself: add --model" in message
    assert not mark.exists() and not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="runs only if you name it yourself"):
        config = Config().replace({"model.name": f"{own}:build"})
        sharpeye.train(photo_folder, config=config, output=tmp_path / "run")
    assert not mark.exists()
    assert run([*arguments, "--model", f"{own}:build", "--epochs", "1", "-q"]) == 0
    assert mark.exists()


@pytest.mark.slow
def test_changed_code_is_another_run(
    own: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, output = f"{own}:build", tmp_path / "run"
    sharpeye.train(photo_folder, model=name, output=output, **FEW)
    own.write_text(NET.replace("Conv2D(8", "Conv2D(9"))
    again = ["train", "--config", str(output / "config.toml"), "-o", str(tmp_path / "2"), "-q"]
    assert run([*again, "--model", name]) == 2
    assert "the own code has changed" in one_line(capsys.readouterr().err)
    assert run([*again, "--model", name, "--set", "model.code_sha256=''"]) == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def build(image):\n    return 1 / 0\n", r"ZeroDivisionError: .*\(net.py, line 2\)"),
        ("def build(image):\n    return image\n", r"must return features \[N,D\]"),
        ("def build(image):\n    return None\n", r"must return features \[N,D\].*NoneType"),
        ("def other(image):\n    return image\n", "needs a function build in .*net.py"),
        ("def build(:\n", "SyntaxError"),
        ("import nowhere_at_all\n", "ModuleNotFoundError"),
        ("build = 3\n", "needs a function build"),
        (NET.replace("= 16", "= (16, 16)"), r"image_size must be a whole number.*\(16, 16\)"),
        (NET + "build.learning_rate = 'low'\n", r"learning_rate must be a number above 0.*'low'"),
        (NET.replace("(8, 3,", "(8, 3, name='features',"), r"ValueError: .*features"),
        (NET.replace("(8, 3,", "(8, 3, name='probs',"), r"ValueError: .*probs"),
        (NET.replace("(8, 3,", "(8, 3, kernel_regularizer='l2',"), "no regularizers.* conv2d"),
        (NET.replace("(8, 3,", "(8, 3, activity_regularizer='l1',"), "no regularizers"),
        (NET.replace("(image)\n    r", "(image) + 1.0\n    r"), "takes a value that no layer"),
    ],
)
def test_code_that_cannot_be_used_is_one_line_before_any_image_is_read(
    code: str, words: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own.write_text(code)
    (tmp_path / "empty").mkdir()
    assert run(["train", str(tmp_path / "empty"), "--model", f"{own}:build", "-q"]) in (2, 3, 4)
    message = one_line(capsys.readouterr().err)
    assert re.search(words, message), message


@pytest.mark.slow
@pytest.mark.parametrize("file_name", ["_net.py", "größe.py"])
def test_a_run_of_own_code_goes_on_with_all_of_its_weights(
    own: Path, photo_folder: Path, tmp_path: Path, file_name: str
) -> None:
    """Two networks are built, since the weights are averaged; Keras numbers their layers."""
    file = own.rename(own.with_name(file_name))
    knobs = FEW | {"model": f"{file}:build", "train__learning_rate": 1e-6, "train__ema": 0.5}
    first = sharpeye.train(photo_folder, output=tmp_path / "run", **knobs)
    losses = [float(row["validation_log_loss"]) for row in first.table("history.csv")]
    warm = sharpeye.train(
        photo_folder, output=tmp_path / "warm", model__weights=str(first.path), **knobs
    )
    rows = warm.table("history.csv")
    assert float(rows[0]["validation_log_loss"]) == pytest.approx(min(losses), abs=1e-3)
    more = knobs | {"train__epochs": 4}
    longer = sharpeye.train(photo_folder, output=tmp_path / "run", resume=True, **more)
    rows = longer.table("history.csv")
    assert float(rows[3]["validation_log_loss"]) == pytest.approx(min(losses), abs=1e-3)


@pytest.mark.slow
def test_code_that_is_edited_during_a_training_changes_nothing(
    own: Path, photo_folder: Path, tmp_path: Path
) -> None:
    augment = tmp_path / "augment.py"
    augment.write_text("def keep(images, random):\n    return images\n")

    class Editor:
        def on_epoch_end(self, metrics: Mapping[str, Any]) -> None:
            own.write_text("def build(:\n")
            augment.write_text("def keep(images, random):\n    return images * 0\n")

    knobs = FEW | {"model": f"{own}:build", "augment__function": f"{augment}:keep"}
    plain = sharpeye.train(photo_folder, output=tmp_path / "plain", **knobs)
    edited = sharpeye.train(photo_folder, output=tmp_path / "edited", callbacks=[Editor()], **knobs)
    losses = [[row["log_loss"] for row in run.table("history.csv")] for run in (plain, edited)]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "features",
    [
        "layers.LSTM(4)(layers.Reshape((-1, 3))(image))",
        # These two have an ONNX form that computes something else.
        "pool(layers.Dense(3)(layers.Conv2D(4, 3)(image)))",
        "pool(layers.Conv2D(4, 3, padding='same', dilation_rate=2)(image))",
    ],
)
def test_layers_that_cannot_be_shipped_are_refused_before_any_image_is_read(
    own: Path, photo_folder: Path, tmp_path: Path, features: str
) -> None:
    own.write_text(
        "from keras import layers\n\n"
        "def pool(x):\n    return layers.GlobalAveragePooling2D()(x)\n\n"
        f"def build(image):\n    return {features}\n"
    )
    with pytest.raises(ModelError):
        sharpeye.train(photo_folder, model=f"{own}:build", output=tmp_path / "run", **FEW)
    assert not (tmp_path / "run").exists()


# --- augmentation --------------------------------------------------------------------------------


@pytest.mark.slow
def test_own_augmentation_changes_the_images_that_are_trained_on(
    own: Path, photo_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "changes.py"
    file.write_text(
        "def invert(images, random):\n"
        "    chosen = random.random(len(images)) < 2\n"
        "    images[chosen] = 255 - images[chosen]\n"
        "    return images\n"
    )
    histories = []
    for function in ("", f"{file}:invert", f"{file}:invert"):
        knobs = {"augment__function": function} if function else {}
        output = tmp_path / f"run{len(histories)}"
        done = sharpeye.train(photo_folder, model=f"{own}:build", output=output, **FEW, **knobs)
        histories.append([row["log_loss"] for row in done.table("history.csv")])
    assert histories[0] != histories[1] == histories[2]
    assert len(done.config.augment.function_sha256) == 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("return images[:1]", "must return an array of the shape and the type"),
        ("return images / 2", "must return an array of the shape and the type"),
        ("return None", "Received: NoneType"),
        ("return images[999]", "IndexError"),
    ],
)
def test_own_augmentation_that_cannot_be_used_is_an_error(
    code: str, words: str, own: Path, photo_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "changes.py"
    file.write_text(f"def change(images, random):\n    {code}\n")
    with pytest.raises(UsageError, match=words):
        sharpeye.train(
            *(photo_folder,),
            model=f"{own}:build",
            output=tmp_path / "run",
            augment__function=f"{file}:change",
            **FEW,
        )


def test_own_augmentation_does_not_move_boxes() -> None:
    with pytest.raises(ConfigError, match=r"augment\.function must be empty with task = localize"):
        Config().replace({"task": "localize", "augment.function": "a.py:b"})


# --- callbacks -----------------------------------------------------------------------------------


def test_observers_are_told_of_each_epoch(own: Path, photo_folder: Path, tmp_path: Path) -> None:
    class Observer:
        def __init__(self) -> None:
            self.rows: list[Mapping[str, Any]] = []

        def on_epoch_end(self, metrics: Mapping[str, Any]) -> None:
            self.rows.append(dict(metrics))

    observer = Observer()
    done = sharpeye.train(
        *(photo_folder,),
        model=f"{own}:build",
        output=tmp_path / "run",
        callbacks=[observer],
        **FEW,
    )
    assert [row["epoch"] for row in observer.rows] == [1, 2]
    losses = [float(row["log_loss"]) for row in done.table("history.csv")]
    np.testing.assert_allclose([row["log_loss"] for row in observer.rows], losses, rtol=1e-4)
    assert sys.modules["keras"]
