"""Find the Pythons of this machine: `python -m tools.pythons 3.13 3.12` prints the first there is.

A name on the path may be a shim of pyenv that starts nothing: each candidate is run once.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def supported_versions() -> list[str]:
    """The versions that `pyproject.toml` names in its classifiers, such as `3.11`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return re.findall(r":: Python :: (3\.\d+)", "\n".join(project["classifiers"]))


def find_python(version: str) -> str | None:
    """An interpreter of that version, on the path or installed by pyenv, that can make venvs."""
    installed = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    program = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for candidate in (f"python{version}", *map(str, reversed(installed))):
        try:
            done = subprocess.run([candidate, "-c", program], capture_output=True, text=True)
        except OSError:
            continue
        if done.stdout.strip() == version:
            return candidate
    return None


def main() -> int:
    pythons = [python for version in sys.argv[1:] if (python := find_python(version))]
    print("\n".join(pythons[:1]))
    return 0 if pythons else 1


if __name__ == "__main__":
    sys.exit(main())
