"""Check the lower bounds of the dependencies, for each Python that `pyproject.toml` allows.

`uv pip compile --resolution lowest-direct` must find versions for the base and for every extra; the
base is then installed with its lowest versions, imported, and asked for its version and help.
Python 3.14, and a Python that is not installed, are resolved only. It needs `uv` and an index.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
RESOLVED_ONLY = ("3.14",)
# TensorFlow and what is built on it have no wheels for this Python yet.
WITHOUT_TRAINING = ("3.14",)
TRAINING_EXTRAS = {"train", "train-gpu", "export", "studio", "dev"}


def compile_lowest(python: str, extra: str | None, output: Path) -> bool:
    """Resolve the lowest direct versions; whether there are any."""
    command = ["uv", "pip", "compile", "--quiet", "--resolution", "lowest-direct"]
    command += ["--python-version", python, "--no-header", "-o", str(output)]
    command += ["--extra", extra] if extra else []
    done = subprocess.run([*command, "pyproject.toml"], cwd=ROOT, capture_output=True, text=True)
    name = f"{python} [{extra or 'base'}]"
    lines = done.stderr.strip().splitlines()
    print(f"{name:22} {'resolves' if done.returncode == 0 else lines[0] if lines else 'fails'}")
    return done.returncode == 0


def import_base(python: str, requirements: Path, folder: Path) -> bool:
    """Install the base with its lowest versions into an empty environment, and start it."""
    venv = folder / f"venv-{python}"
    command = ["uv", "venv", "--quiet", "--no-python-downloads", "--python", python, str(venv)]
    made = subprocess.run(command, capture_output=True)
    if made.returncode:
        print(f"{python:22} is not installed here: resolved only")
        return True
    interpreter = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = ["uv", "pip", "install", "--quiet", "--python", str(interpreter)]
    for arguments in (["-r", str(requirements)], ["--no-deps", str(ROOT)]):
        if subprocess.run([*install, *arguments]).returncode:
            return False
    program = "import sharpeye; sharpeye.load, sharpeye.Config, sharpeye.list_models()"
    commands = [["-c", program], ["-m", "sharpeye", "--version"], ["-m", "sharpeye", "--help"]]
    works = all(
        subprocess.run([interpreter, *arguments], cwd=folder, capture_output=True).returncode == 0
        for arguments in commands
    )
    print(f"{python:22} {'imports and starts' if works else 'does NOT start'} with these versions")
    return works


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [None, *project["optional-dependencies"]]
    works = True
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for python in PYTHONS:
            for extra in extras:
                if python in WITHOUT_TRAINING and extra in TRAINING_EXTRAS:
                    continue
                works &= compile_lowest(python, extra, folder / f"{python}-{extra}.txt")
            if python not in RESOLVED_ONLY:
                works &= import_base(python, folder / f"{python}-None.txt", folder)
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main())
