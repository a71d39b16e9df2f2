"""Children run modules of SharpEye, and nothing of the current folder or of the user's settings."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sharpeye
from runner import environment
from sharpeye.core import processes
from sharpeye.core.import_path import safe_python_path
from sharpeye.core.processes import child_environment, module_command, run_module
from sharpeye.errors import EnvironmentFault

SOURCE = Path(sharpeye.__file__).parent.parent
# They are loaded before any line of SharpEye runs.
LOADED_BY_PYTHON = "import runpy, sys; print(*sys.modules)"
PACKAGES = ("keras", "tensorflow", "numpy", "PIL", "onnx", "onnxruntime", "typer", "rich", "scipy")


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder has a module of the name of each one that could be imported."""
    loaded = subprocess.check_output([sys.executable, "-c", LOADED_BY_PYTHON], text=True).split()
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name in {*sys.stdlib_module_names, *PACKAGES} - {*loaded, *sys.builtin_module_names}:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / name)!r} + '.ran', 'w').close()")
    monkeypatch.chdir(folder)
    yield folder
    assert sorted(path.name for path in tmp_path.glob("*.ran")) == []


@pytest.mark.parametrize(
    "python_path",
    [
        ".:sub:{source}",
        *(pytest.param(p, marks=pytest.mark.slow) for p in ("{source}", ":{source}")),
    ],
)
def test_the_command_line_imports_nothing_from_the_current_folder(
    python_path: str, hostile_folder: Path, cache: Path
) -> None:
    (hostile_folder / "sub").mkdir()
    (hostile_folder / "keras.py").rename(hostile_folder / "sub" / "keras.py")
    entries = python_path.replace(":", os.pathsep).format(source=SOURCE)
    command = [sys.executable, "-m", "sharpeye", "models"]
    variables = environment(cache, PYTHONPATH=entries)
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "efficientnet_lite0" in done.stdout


def test_a_child_imports_nothing_from_the_current_folder(
    hostile_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(SOURCE)]))
    assert run_module("sharpeye", "--version") == f"sharpeye {sharpeye.__version__}\n"
    with pytest.raises(EnvironmentFault, match="No module named keras"):
        run_module("keras")


def test_relative_entries_of_pythonpath_are_left_out_but_for_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entries = ["", ".", "lib", "../lib", str(tmp_path / "lib"), os.path.relpath(SOURCE)]
    expected = [str(tmp_path / "lib"), str(SOURCE)]
    assert safe_python_path(os.pathsep.join(entries)) == os.pathsep.join(expected)


def test_a_child_gets_no_settings_of_the_user_that_would_break_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dropped = {
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "ascii",
        "PYTHONINSPECT": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONVERBOSE": "1",
        "TF_USE_LEGACY_KERAS": "1",
        "MPLBACKEND": "module://nowhere",
    }
    stays = {"PYTHONHASHSEED": "7", "PYTHONUTF8": "1", "SHARPEYE_CORES": "1"}
    for name, value in (dropped | stays).items():
        monkeypatch.setenv(name, value)
    variables = child_environment({"MORE": "1"})
    assert not dropped.keys() & variables.keys()
    assert {name: variables[name] for name in stays} == stays
    assert (variables["MORE"], variables["PYTHONSAFEPATH"]) == ("1", "1")
    assert run_module("sharpeye", "--version").startswith("sharpeye ")


def test_a_python_without_a_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.sys, "executable", "")
    with pytest.raises(EnvironmentFault, match="use the `sharpeye` command"):
        module_command("sharpeye")


def test_an_isolated_python_starts_isolated_children() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
        "from sharpeye.core.processes import module_command; print(module_command('m'))"
    )
    command = [sys.executable, "-I", "-c", program]
    assert "'-I'" in subprocess.check_output(command, text=True)


def test_a_child_does_not_import_scikit_learn_which_keras_would() -> None:
    program = (
        "from sharpeye.core.processes import run_child\n"
        "def work(): import sklearn\n"
        "run_child(work, 'out')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: import of sklearn halted")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_child_that_is_killed_is_named_with_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os, sys; print('noise', file=sys.stderr, flush=True); os.kill(os.getpid(), 11)"
    monkeypatch.setattr(processes, "module_command", lambda *_: [sys.executable, "-c", script])
    with pytest.raises(EnvironmentFault, match=r"was killed by SIGSEGV.* Its last line: noise"):
        run_module("sharpeye")
