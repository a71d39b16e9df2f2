"""Digest of source code as Python reads it: comments and docstrings do not count."""

import ast
import functools
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def digest_of(paths: Iterable[str]) -> str:
    """16 hexadecimal digits over all files below some paths, which are relative to the checkout.

    Raises:
        FileNotFoundError: one of the paths does not exist.
    """
    digest = hashlib.sha256()
    for file in sorted(set(_files(paths))):
        content = file.read_bytes()
        if file.suffix == ".py":
            content = code_only(content.decode("utf-8")).encode("utf-8")
        name = file.relative_to(ROOT).as_posix()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


@functools.cache  # Many figures depend on the same files.
def code_only(source: str) -> str:
    """The lines of a module without comments, docstrings, blank lines, and trailing spaces."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for first, last in _docstrings(ast.parse(source)):
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """(first, last) line of each docstring, counted from 1."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, owners) and ast.get_docstring(node, clean=False) is not None:
            string = node.body[0]
            yield string.lineno, string.end_lineno or string.lineno


def _files(paths: Iterable[str]) -> Iterator[Path]:
    for name in paths:
        path = ROOT / name
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from (
                file
                for file in path.rglob("*")
                if file.is_file() and "__pycache__" not in file.parts and file.name[0] != "."
            )
        else:
            raise FileNotFoundError(f"a figure depends on {name}, which does not exist")
