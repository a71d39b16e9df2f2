"""Record the versions and the machine that made a model, for manifests and model cards."""

import contextlib
import datetime
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from sharpeye.core.inference import available_cores
from sharpeye.core.version import __version__

_PACKAGES = ("numpy", "pillow", "onnxruntime", "onnx", "keras")


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Versions of SharpEye, of Python, and of installed packages."""
    installed = {"sharpeye": __version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def machine() -> str:
    """One line about the machine, without its name."""
    return f"{platform.system()} {platform.machine()}, {available_cores()} cores"


def now() -> str:
    """The time in UTC, such as 2026-01-31T12:00:00Z."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
