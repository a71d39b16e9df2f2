"""With what a model was made: versions and machine, for manifests and model cards."""

import datetime
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from sharpeye.core.inference import available_cores
from sharpeye.core.version import __version__

_PACKAGES = ("numpy", "pillow", "onnxruntime", "scipy", "onnx", "keras")


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Versions of SharpEye, Python and those of the packages that are installed."""
    found = {"sharpeye": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """One line about the machine, without its name."""
    return f"{platform.system()} {platform.machine()}, {available_cores()} cores"


def now() -> str:
    """The time in UTC, such as 2026-01-31T12:00:00Z."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
