"""The files of a checkout that a module runs: its own, and those that it imports."""

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

# Where `import a.b` is looked for: `sharpeye`, then `bench` and `tests`, then helpers of the tests.
_IMPORT_PATH = ("src", ".", "tests")
# Code that keeps the figures' books, and measures nothing.
_BOOKKEEPING = (
    *("bench/catalogue.py", "bench/code_digest.py", "bench/dependencies.py", "bench/stale.py"),
    *("bench/neutral.csv", "bench/results"),
)


def files_of(
    root: Path, modules: Iterable[str], folders: Iterable[str] = (), without: Iterable[str] = ()
) -> set[Path]:
    """The files of modules and folders, and of everything that these import, relative to `root`.

    Imports inside functions count, those for type checkers do not. A module brings the data files
    of its package.

    Args:
        modules: dotted names.
        folders: whose Python files are followed, too.
        without: files and folders that are left out; what they import is not.

    Raises:
        FileNotFoundError: one of the names is none of a module, a folder or a file.
    """
    for name in (*folders, *without):
        if not (root / name).exists():
            raise FileNotFoundError(f"a figure depends on {name}, which does not exist")
    excluded = [root / name for name in (*without, *_BOOKKEEPING)]
    left = [file for name in folders for file in _files_below(root / name)]
    for module in modules:
        if not (files := _module_files(root, module)):
            raise FileNotFoundError(f"a figure depends on {module}, which is no module")
        left += files
    found: set[Path] = set()
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += _used_files(root, file)
    return {
        file.relative_to(root)
        for file in found
        if not any(file.is_relative_to(path) for path in excluded)
    }


@functools.cache  # Many figures depend on the same files.
def _used_files(root: Path, file: Path) -> tuple[Path, ...]:
    """The files that a Python file imports, and the data of the package that it begins."""
    if file.suffix != ".py":
        return ()
    names = _imported_names(file.read_text(encoding="utf-8"))
    data = _data_files(file.parent) if file.name == "__init__.py" else ()
    return (*(other for name in names for other in _module_files(root, name)), *data)


def _module_files(root: Path, module: str) -> list[Path]:
    """The file of a module, and those of the packages around it; none if it is not of `root`."""
    for place in _IMPORT_PATH:
        path = (root / place).joinpath(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            packages = (path.parents[i] for i in range(module.count(".")))
            inits = (package / "__init__.py" for package in packages)
            return [file, *(init for init in inits if init.is_file())]
    return []


def _imported_names(source: str) -> set[str]:
    """Every module that a source imports, and every name that it imports from one."""
    names: set[str] = set()
    left: list[ast.AST] = [ast.parse(source)]
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            left += node.orelse
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        left += ast.iter_child_nodes(node)
    return names


def _data_files(package: Path) -> Iterator[Path]:
    """Files of a package that are no Python, also in its folders that are no packages."""
    for path in package.iterdir():
        if path.name[0] == "." or path.name == "__pycache__":
            continue
        if path.is_dir():
            if not (path / "__init__.py").exists():
                yield from _files_below(path)
        elif path.suffix != ".py":
            yield path


def _files_below(path: Path) -> Iterator[Path]:
    """A file, or all files below a folder, except for hidden ones and compiled modules."""
    if path.is_file():
        yield path
        return
    for file in path.rglob("*"):
        parts = file.relative_to(path).parts
        if file.is_file() and not any(part[0] == "." or part == "__pycache__" for part in parts):
            yield file
