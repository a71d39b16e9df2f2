"""Digest of source code as Python reads it: comments and docstrings do not count."""

import ast
import functools
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def digest_of(files: Iterable[Path], root: Path) -> str:
    """16 hexadecimal digits over files, which are relative to `root`."""
    digest = hashlib.sha256()
    for name in sorted(file.as_posix() for file in files):
        content = (root / name).read_bytes().replace(b"\r\n", b"\n")
        if name.endswith(".py"):
            content = code_only(content.decode("utf-8")).encode("utf-8")
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


@functools.cache  # Many figures depend on the same files.
def code_only(source: str) -> str:
    """The lines of a module without comments, docstrings, blank lines, and trailing spaces.

    It is the same for every version of Python.
    """
    rows, tree = source.split("\n"), ast.parse(source)  # positions in `tree` count bytes
    lines = [row.encode() for row in rows]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = rows[row - 1][:column].encode()
    for node in _docstrings(tree):
        last = node.end_lineno or node.lineno
        rest = lines[last - 1][node.end_col_offset or 0 :]
        lines[node.lineno - 1 : last] = [b""] * (last - node.lineno + 1)
        lines[last - 1] = rest
    inside = {row for node in _strings(tree) for row in range(node.lineno, node.end_lineno or 0)}
    kept = (
        line if row in inside else line.rstrip()
        for row, line in enumerate(lines, 1)
        if row in inside or line.strip()
    )
    return b"\n".join(kept).decode()


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, owners) and ast.get_docstring(node, clean=False) is not None:
            statement = node.body[0]
            assert isinstance(statement, ast.Expr)
            yield statement.value


def _strings(tree: ast.Module) -> Iterator[ast.expr]:
    """Strings and formatted strings, except for docstrings."""
    docstrings = set(map(id, _docstrings(tree)))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in docstrings:
            yield node
