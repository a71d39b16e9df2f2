"""Load a function of the user: FILE.py:NAME, or MODULE:NAME of an installed package.

Code runs only if the user named it in this call, on the command line or in Python: a configuration
that came from elsewhere may name code, too. Child processes inherit what is allowed. A file is
loaded by its path; the current folder never gets on the path of modules.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sharpeye.core.paths import user_path
from sharpeye.core.regular_files import read_regular_file
from sharpeye.errors import UsageError, one_line

CODE_KNOBS = ("model.name", "augment.function")
_ALLOWED = "SHARPEYE_OWN_CODE"
_SUFFIX = ".py"
_MAX_BYTES = 16 * 2**20


def is_own_code(name: str) -> bool:
    """Whether a name is that of a function: FILE.py:NAME or MODULE:NAME."""
    place, separator, function = name.rpartition(":")
    is_module = all(part.isidentifier() for part in place.split("."))
    return bool(separator) and function.isidentifier() and (place.endswith(_SUFFIX) or is_module)


def allow(name: str) -> str:
    """Allow the function of that name to be loaded, also by child processes.

    Returns:
        the name, with an absolute path.
    """
    name = _absolute(name)
    allowed = [*_allowed(), name]
    os.environ[_ALLOWED] = "\n".join(dict.fromkeys(allowed))
    return name


def allow_own_code(changes: Mapping[str, Any]) -> dict[str, str]:
    """Allow the own code that the user named among changes of the configuration; returns the
    changes with absolute paths.
    """
    named = {key: str(changes[key]) for key in CODE_KNOBS if key in changes}
    return {key: allow(name) for key, name in named.items() if is_own_code(name)}


def is_any_allowed() -> bool:
    """Whether this process may load own code."""
    return any(_allowed())


def load_function(name: str, option: str) -> tuple[Callable[..., Any], str]:
    """A function, and the SHA-256 of the file that it is defined in.

    Args:
        option: by which the user names it, for messages.

    Raises:
        UsageError: the user did not name it, or it cannot be loaded.
    """
    name = _absolute(name)
    if name not in _allowed():
        raise UsageError(
            f"a configuration names own code, {name}, which runs only if you name it yourself: "
            f"add {option} {name}"
        )
    place, _, function = name.rpartition(":")
    try:
        module = _load_file(Path(place)) if place.endswith(_SUFFIX) else _import(place)
        digest = _digest(Path(str(module.__file__)))
    except UsageError:
        raise
    except Exception as error:
        raise code_error(name, error) from None
    loaded = getattr(module, function, None)
    if not callable(loaded):
        raise UsageError(f"{option} needs a function {function} in {place}, and there is none")
    return loaded, digest


def code_error(name: str, error: Exception) -> UsageError:
    """An exception of own code as an error of one line, with its place in the code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return UsageError(f"{name}: {type(error).__name__}: {one_line(error, 300)}{place}")


def short_name(name: str) -> str:
    """The name without folders, such as `net.py:build`."""
    place, _, function = name.rpartition(":")
    return f"{Path(place).name}:{function}"


def _absolute(name: str) -> str:
    place, _, function = name.rpartition(":")
    return f"{user_path(place).absolute()}:{function}" if place.endswith(_SUFFIX) else name


def _allowed() -> list[str]:
    return os.environ.get(_ALLOWED, "").split("\n")


def _load_file(file: Path) -> Any:
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    # Another file of the same content may be gone, and changed content is another module.
    key = hashlib.sha256(f"{file}:{_digest(file)}".encode()).hexdigest()
    module_name = f"_sharpeye_own_{key[:16]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _import(name: str) -> Any:
    module = importlib.import_module(name)
    if not getattr(module, "__file__", None):
        raise UsageError(f"the module {name} has no file, so its code cannot be recorded")
    return module


def _digest(file: Path) -> str:
    return hashlib.sha256(read_regular_file(file, _MAX_BYTES)).hexdigest()
