"""Every command does the same under any settings of its host, without a word about them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from runner import (
    SMALL,
    announced_process,
    command,
    environment,
    hard_photos,
    scores_of,
    train_here,
)
from sharpeye.cli.app import run
from sharpeye.core.inference import Backbone
from sharpeye.errors import UsageError
from sharpeye.learn.nets.backend import load_backend

pytestmark = pytest.mark.skipif(os.name != "posix", reason="settings of POSIX")

# Values may name `{tmp}`, a folder of the test. A value of None unsets the variable.
HOSTS: dict[str, dict[str, str | None]] = {
    "no home": {"HOME": None, "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "/nowhere"},
    "no locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Turkish": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR"},
    "Python": {
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "PYTHONDEVMODE": "1",
        "PYTHONHASHSEED": "7",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f":.:{os.environ.get('PYTHONPATH', '')}",
    },
    "threads": {"OMP_NUM_THREADS": "abc", "OPENBLAS_NUM_THREADS": "0", "SHARPEYE_CORES": "abc"},
    "graphics": {"CUDA_VISIBLE_DEVICES": "99", "TF_CPP_MIN_LOG_LEVEL": "0", "XLA_FLAGS": "--bad"},
    "Keras": {
        "KERAS_BACKEND": "torch",
        "KERAS_HOME": "{tmp}/keras",
        "KERAS_MAX_EPOCHS": "abc",
        "TF_USE_LEGACY_KERAS": "1",
    },
    "notebook": {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "JPY_PARENT_PID": "1",
    },
    "terminal": {"TERM": "dumb", "COLUMNS": "10", "LINES": "x", "TZ": "No/Where", "NO_COLOR": "1"},
}
ALL_AT_ONCE = {name: value for host in HOSTS.values() for name, value in host.items()}
EACH = [
    pytest.param(ALL_AT_ONCE, id="all at once"),
    *(pytest.param(host, id=name, marks=pytest.mark.slow) for name, host in HOSTS.items()),
]
KERAS_JSON = {"floatx": "float16", "epsilon": 1, "image_data_format": "channels_first"}


def variables_of(host: Mapping[str, str | None], cache: Path, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "keras").mkdir(exist_ok=True)
    (tmp_path / "keras" / "keras.json").write_text(json.dumps(KERAS_JSON))
    set_here = {name: v.format(tmp=tmp_path) for name, v in host.items() if v is not None}
    unset = {name for name, value in host.items() if value is None}
    variables = environment(cache, **set_here)
    return {name: value for name, value in variables.items() if name not in unset}


def call_in(
    host: Mapping[str, str | None], *arguments: str | Path, cache: Path, tmp_path: Path
) -> str:
    """What a command prints; fails unless it ends with 0 and without a message."""
    folder = tmp_path / "current"
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        command(*arguments),
        env=variables_of(host, cache, tmp_path),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_photos(tmp_path_factory.mktemp("hosts") / "photos", per_class=8)


@pytest.mark.parametrize("host", EACH)
def test_predictions_are_the_same_under_any_settings(
    host: dict[str, str | None], photos: Path, trained: Path, cache: Path, tmp_path: Path
) -> None:
    arguments = ("predict", trained, photos / "ash", "--format", "jsonl")
    expected, text = (
        call_in(settings, *arguments, cache=cache, tmp_path=tmp_path) for settings in ({}, host)
    )
    assert text == expected


@pytest.mark.slow
@pytest.mark.parametrize("host", EACH)
def test_training_and_exporting_are_the_same_under_any_settings(
    host: dict[str, str | None], photos: Path, warm: Path, tmp_path: Path
) -> None:
    for name, settings in (("plain", {}), ("odd", host)):

        def call(*arguments: str | Path, settings: Mapping[str, str | None] = settings) -> str:
            return call_in(settings, *arguments, cache=warm, tmp_path=tmp_path)

        call("train", photos, "-q", "-o", tmp_path / name, *SMALL)
        model = tmp_path / f"{name}-onnx" / "model.onnx"
        call("export", tmp_path / name, "-q", "--format", "onnx", "-o", model)
    plain, odd = ((tmp_path / name / "metrics.json").read_bytes() for name in ("plain", "odd"))
    assert scores_of(json.loads(odd)) == scores_of(json.loads(plain))
    image = tmp_path / "odd" / "confusion_matrix.png"
    assert image.read_bytes() == (tmp_path / "plain" / "confusion_matrix.png").read_bytes()


@pytest.mark.parametrize("name", ["serve", pytest.param("studio", marks=pytest.mark.slow)])
@pytest.mark.parametrize("host", EACH)
def test_servers_start_under_any_settings(
    name: str, host: dict[str, str | None], trained: Path, cache: Path, tmp_path: Path
) -> None:
    subject = trained if name == "serve" else tmp_path / "photos"
    arguments = ["-m", "sharpeye", name, str(subject), "--port", "0", "-q"]
    variables = variables_of(host, cache, tmp_path)
    with announced_process(arguments, env=variables, cwd=tmp_path) as (process, _, _):
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("host", EACH)
def test_a_frozen_network_is_prepared_and_exported_under_any_settings(
    host: dict[str, str | None], photos: Path, cache: Path, tmp_path: Path
) -> None:
    """Without a cache: the children that convert models start under these settings."""
    small = ("--model", "mobilenet_v2_0.35_96", "--weights", "random", *SMALL)
    call_in(
        host, "train", photos, "-q", "-o", tmp_path / "run", *small, cache=cache, tmp_path=tmp_path
    )
    for kind, file in (("keras", "m.keras"), ("saved_model", "folder"), ("openvino", "m.xml")):
        arguments = ("export", tmp_path / "run", "-q", "--format", kind, "-o", tmp_path / file)
        text = call_in(host, *arguments, cache=cache, tmp_path=tmp_path)
        assert "the same class for 100.0%" in text


@pytest.mark.slow
@pytest.mark.parametrize("host", EACH[2:])
def test_a_network_is_trained_from_scratch_under_any_other_settings(
    host: dict[str, str | None], photos: Path, cache: Path, tmp_path: Path
) -> None:
    if "KERAS_HOME" in host:
        host = {"KERAS_HOME": "{tmp}/keras", "TF_USE_LEGACY_KERAS": "1"}
    if "XLA_FLAGS" in host:
        host = {name: value for name, value in host.items() if name != "XLA_FLAGS"}
    arguments = ("train", photos, "-q", "--model", "lenet5", "--epochs", "1", "-o")
    for name, settings in (("plain", {}), ("odd", host)):
        call_in(settings, *arguments, tmp_path / name, cache=cache, tmp_path=tmp_path)
    plain, odd = ((tmp_path / name / "history.csv").read_text() for name in ("plain", "odd"))
    assert len(odd.splitlines()) == len(plain.splitlines()) == 2


# --- Keras in this process -----------------------------------------------------------------------


@pytest.mark.slow
def test_settings_of_keras_are_those_of_a_fresh_installation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_backend()
    import keras

    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    keras.config.set_epsilon(0.5)
    load_backend()
    assert keras.config.image_data_format() == "channels_last"
    assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)


@pytest.mark.parametrize("name", ["torch", "openvino", "nosuch"])
def test_another_backend_is_refused_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(UsageError, match=f"tensorflow or jax, or without KERAS_BACKEND.*{name}"):
        load_backend()


_SHOW_SETTINGS = """
import os
from sharpeye.learn.nets.backend import load_backend
print(load_backend())
import keras, tensorflow as tf
from keras.src.utils.file_utils import config
print(keras.config.image_data_format(), keras.config.floatx(), keras.config.epsilon())
print(os.environ["KERAS_HOME"], config.keras_home(), float(tf.reduce_sum([1.0, 2.0])))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        *("[1]", "{", '{"floatx": "float99"}', '{"image_data_format": []}'),
        '{"backend": "theano", "image_data_format": "channels_first", "floatx": "float16"}',
        None,  # a folder
    ],
)
def test_a_keras_json_of_the_user_is_not_read(
    content: str | None, cache: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keras.json"
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    done = subprocess.run(
        [sys.executable, "-c", _SHOW_SETTINGS],
        env=environment(cache, KERAS_HOME=str(tmp_path), TF_XLA_FLAGS="--nosuch"),
        capture_output=True,
        text=True,
    )
    lines = ["tensorflow", "channels_last float32 1e-07", f"{tmp_path} {tmp_path} 3.0"]
    assert (done.stdout.splitlines(), done.returncode) == (lines, 0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["keras.json"]


# --- limits of the process -----------------------------------------------------------------------

resource = pytest.importorskip("resource", reason="limits of POSIX")


@pytest.mark.parametrize(
    ("limit", "value"),
    [("RLIMIT_NOFILE", 32), pytest.param("RLIMIT_AS", 2**31, marks=pytest.mark.slow)],
)
def test_predicting_needs_few_files_and_little_memory(
    limit: str, value: int, trained: Path, cache: Path, tmp_path: Path
) -> None:
    def restrict() -> None:
        resource.setrlimit(getattr(resource, limit), (value, value))
        os.umask(0o077)

    image = trained.parent / "hard" / "ash" / "ash1.png"
    done = subprocess.run(
        command("predict", trained, image, "--draw", tmp_path / "drawn"),
        env=environment(cache, SHARPEYE_CORES="1"),
        preexec_fn=restrict,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "drawn" / "ash1.png").is_file()


@pytest.mark.parametrize("flags", [["-I"], pytest.param(["-OO", "-B"], marks=pytest.mark.slow)])
def test_options_of_python_change_nothing(flags: list[str], trained: Path, cache: Path) -> None:
    image = trained.parent / "hard" / "ash" / "ash1.png"
    source = str(Path(__file__).parents[2] / "src")
    program = (
        f"import sys; sys.path.insert(0, {source!r})\nfrom sharpeye.__main__ import main; main()"
    )
    arguments = [sys.executable, *flags, "-c", program, "predict", str(trained), str(image)]
    done = subprocess.run(arguments, env=environment(cache), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{image}\t")


def test_a_deleted_current_folder_is_no_error(trained: Path, cache: Path, tmp_path: Path) -> None:
    image = trained.parent / "hard" / "ash" / "ash1.png"
    (tmp_path / "gone").mkdir()
    line = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *command("predict", trained, image)]
    done = subprocess.run(
        line, cwd=tmp_path / "gone", env=environment(cache), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{image}\t")


def test_a_deleted_current_folder_is_named_only_where_it_is_needed(
    trained: Path,
    backbone: Backbone,
    session_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", str(session_cache))
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    photos = trained.parent / "hard"
    assert train_here(photos, tmp_path / "run") == 0
    capsys.readouterr()
    assert run(["train", str(photos)]) == 5  # Its run would be written into the current folder.
    message = "error: the current folder does not exist any more; change to another one"
    assert capsys.readouterr().err.splitlines()[-1] == message
