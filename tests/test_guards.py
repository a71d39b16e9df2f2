"""What holds for the package as a whole: light imports, the public API, errors, versions."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sharpeye
from runner import hard_photos, share_backbones, train_args
from sharpeye import errors
from sharpeye.core.inference import Backbone
from source_tree import MODULES, ROOT, SOURCE, TREES, name_of, room_of

HEAVY = {
    "tensorflow",
    "keras",
    "h5py",
    "scipy",
    "matplotlib",
    "jinja2",
    "onnx",
    "tf2onnx",
    "rich",
    "tensorboard",
    "optuna",
    "sklearn",
    "skimage",
    "httpcore",
    "httpx",
    "icrawler",
    "protego",
    "requests",
    "bs4",
    "av",
}


# --- light imports -------------------------------------------------------------------------------


def modules_after(program: str, cache: Path, *arguments: str | Path) -> set[str]:
    """The top-level modules that a fresh Python has loaded when a program has run."""
    ending = "\nimport json, sys\nprint(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", program + ending, *map(str, arguments)],
        env=os.environ | {"SHARPEYE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


_COMMAND = "import sys\nfrom sharpeye.cli.app import run\nassert run(sys.argv[1:]) == 0"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("import sharpeye", ()),
        ("import sharpeye.cli.train", ()),
        ("import sharpeye; sharpeye.load, sharpeye.Config, sharpeye.list_models", ()),
        ("import sharpeye.predict.predictor, sharpeye.artefact.session", ()),
        (_COMMAND, ("--help",)),
        (_COMMAND, ("--version",)),
        (_COMMAND, ("train", "--help")),
        (_COMMAND, ("collect", "search", "--help")),
        (_COMMAND, ("serve", "--help")),
        (_COMMAND, ("studio", "--help")),
        (_COMMAND, ("label", "--help")),
        (_COMMAND, ("models",)),
        (_COMMAND, ("cache", "info")),
    ],
)
def test_importing_and_asking_for_help_load_nothing_heavy(
    program: str, arguments: tuple[str, ...], cache: Path
) -> None:
    loaded = modules_after(program, cache, *arguments)
    assert "sharpeye" in loaded
    assert loaded & HEAVY == set()


def test_the_door_alone_does_not_even_load_numpy(cache: Path) -> None:
    loaded = modules_after("import sharpeye", cache)
    assert loaded & {"numpy", "PIL", "onnxruntime", "typer"} == set()


def test_a_warm_training_needs_no_tensorflow_and_an_answer_needs_less(
    cache: Path, session_cache: Path, backbone: Backbone, tmp_path: Path
) -> None:
    share_backbones(session_cache, cache)
    data = hard_photos(tmp_path / "hard")
    loaded = modules_after(_COMMAND, cache, *train_args(data, tmp_path / "run"))
    assert {"onnxruntime", "onnx"} <= loaded
    assert loaded & {"tensorflow", "keras", "tf2onnx", "torch", "sklearn", "scipy"} == set()
    image = data / "ash" / "ash1.png"
    for more in ((), ("--explain", tmp_path / "heat")):
        loaded = modules_after(_COMMAND, cache, "predict", tmp_path / "run", image, *more)
        assert "onnxruntime" in loaded
        assert loaded & HEAVY == set()
    assert (tmp_path / "heat" / "ash1.png").is_file()


_SERVER = """
import os, signal
from sharpeye.serve import server
make = server.make_server
def make_and_stop(app, limits, ready):
    return make(app, limits, lambda: (ready(), os.kill(os.getpid(), signal.SIGTERM)))
server.make_server = make_and_stop
"""


def test_a_server_loads_nothing_heavy(trained: Path, cache: Path) -> None:
    loaded = modules_after(_SERVER + _COMMAND, cache, "serve", trained, "--port", "0")
    assert {"onnxruntime", "fastapi", "uvicorn"} <= loaded
    assert loaded & HEAVY == set()


# --- the door ------------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    assert sorted(sharpeye.__all__) == sorted(set(sharpeye.__all__))
    for name in sharpeye.__all__:
        assert getattr(sharpeye, name) is not None
    assert dir(sharpeye) == sorted(sharpeye.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = sharpeye.trian  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names() -> None:
    tree = TREES[SOURCE / "__init__.py"]
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    visited = {alias.asname for block in blocks for node in block.body for alias in node.names}  # type: ignore[attr-defined]
    assert visited | {"__version__"} == set(sharpeye.__all__)


def test_names_that_the_pages_use_are_there() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    used = {
        name
        for page in pages
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        for name in re.findall(r"\bsharpeye\.(\w+)", block)
    }
    assert {"train", "load"} <= used
    missing = [name for name in used if name not in sharpeye.__all__]
    assert [name for name in missing if not (SOURCE / name).is_dir()] == []


def test_every_command_is_a_module() -> None:
    from sharpeye.cli.app import COMMANDS

    for name in COMMANDS:
        assert importlib.import_module(f"sharpeye.cli.{name.replace('-', '_')}").app


def test_the_version_is_that_of_the_changelog() -> None:
    file = ROOT / "CHANGELOG.md"
    if not file.is_file():
        pytest.skip("there is no changelog here")
    newest = re.search(r"^## \[?(\d[^\]\s]*)", file.read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert newest.group(1) == sharpeye.__version__


# --- errors --------------------------------------------------------------------------------------


def error_classes() -> list[type[errors.SharpEyeError]]:
    result, todo = [], [errors.SharpEyeError]
    while todo:
        for kind in todo.pop().__subclasses__():
            result.append(kind)
            todo.append(kind)
    return [kind for kind in result if kind.__module__.startswith("sharpeye")]


def test_every_error_is_drawn_with_its_exit_code() -> None:
    for file in MODULES:  # so that an error defined anywhere is known
        if room_of(file) != "__main__" and "import keras\n" not in file.read_text():
            dotted = name_of(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            importlib.import_module(f"sharpeye.{dotted}" if dotted != "__init__" else "sharpeye")
    drawn = dict(re.findall(r"──\s*(\w+)\s+(\d+)", errors.__doc__ or ""))
    kinds = {kind.__name__: kind for kind in error_classes()}
    assert set(drawn) == set(kinds)
    for name, code in drawn.items():
        if name == "Stopped":
            assert (errors.Stopped(2).exit_code, errors.Stopped(15).exit_code) == (130, 143)
            continue
        assert kinds[name].exit_code == int(code), name
        assert kinds[name].__module__ == "sharpeye.errors", f"{name} belongs into errors.py"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_message_is_one_line_whatever_a_name_holds(end: str) -> None:
    for error in (errors.DataError(f"no {end}image"), errors.ImageReadError(f"a{end}b", "damaged")):
        assert len(str(error).splitlines()) == 1
        assert end.encode("unicode_escape").decode() in str(error)


def test_every_error_class_says_when_it_is_raised() -> None:
    for kind in error_classes():
        assert kind.__doc__, kind.__name__
