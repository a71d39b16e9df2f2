"""Refuse a GraphDef that may run without end, before TensorFlow runs it.

The scores of one image need no loop. A graph can also run without end through a function that calls
itself, or practically so through functions that each call the next one twice.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sharpeye.errors import ModelError

_LOOPS = {
    *("While", "StatelessWhile", "For", "Enter", "Exit", "NextIteration", "LoopCond"),
    *("RefEnter", "RefExit", "RefNextIteration"),
}
# Inception v3 has 1,000 nodes; the limit ends functions that call functions many times.
_MAX_NODES = 1_000_000
_MAX_DEPTH = 50
_ADVICE = "freeze the graph from its input to the scores of one image only"


def refuse_endless(definition: Any, file: Path) -> None:
    """Check a GraphDef and its functions.

    Raises:
        ModelError: with a loop, a function that calls itself, or too many nodes after all calls.
    """
    functions = {f.signature.name: list(f.node_def) for f in definition.library.function}
    for nodes in (definition.node, *functions.values()):
        for node in nodes:
            if node.op in _LOOPS and node.op not in functions:
                raise ModelError(
                    f"{file} is refused: node {node.name} ({node.op}) belongs to a loop, which may "
                    f"never end; {_ADVICE}"
                )
    _FunctionSizes(functions, file).add(definition.node, ())


class _FunctionSizes:
    """Counts the nodes of functions with those of all functions that they call."""

    def __init__(self, functions: dict[str, list[Any]], file: Path) -> None:
        self._functions, self._file = functions, file
        self._sizes: dict[str, int] = {}

    def add(self, nodes: Iterable[Any], callers: tuple[str, ...]) -> int:
        """The number of nodes that these run."""
        total = 0
        for node in nodes:
            total += 1
            for name in _called_names(node):
                if name in self._functions:
                    total += self._size(name, callers)
        if total > _MAX_NODES:
            raise ModelError(
                f"{self._file} is refused: its functions call one another so often that over "
                f"{_MAX_NODES:,} nodes would run; {_ADVICE}"
            )
        return total

    def _size(self, name: str, callers: tuple[str, ...]) -> int:
        if name in callers or len(callers) >= _MAX_DEPTH:
            problem = "calls itself" if name in callers else "is called too deeply"
            raise ModelError(
                f"{self._file} is refused: its function {name} {problem}, which may never end; "
                f"{_ADVICE}"
            )
        if name not in self._sizes:
            self._sizes[name] = self.add(self._functions[name], (*callers, name))
        return self._sizes[name]


def _called_names(node: Any) -> Iterator[str]:
    """The functions that a node calls: its operation, or functions among its attributes."""
    yield node.op
    for value in node.attr.values():
        yield from _names_in(value)


def _names_in(value: Any) -> Iterator[str]:
    calls = [value.func] if value.HasField("func") else []
    for call in (*calls, *value.list.func):
        yield call.name
        for inner in call.attr.values():
            yield from _names_in(inner)
