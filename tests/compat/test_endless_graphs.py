"""Graphs that may run without end are refused before TensorFlow runs them."""

from pathlib import Path
from typing import Any

import pytest
from label_image_process import LabelImage
from tensorboard.compat.proto.graph_pb2 import GraphDef

from runner import one_line
from sharpeye.compat.endless_graphs import refuse_endless
from sharpeye.errors import ModelError


@pytest.mark.slow  # TensorFlow writes the graphs
@pytest.mark.parametrize("graph", ["while.pb", "old_while.pb", "mapped.pb", "recursive.pb"])
def test_label_image_refuses_a_graph_with_a_loop(graph: str, label_image: LabelImage) -> None:
    output = label_image("--graph", graph, "--labels", "labels.txt", "flower.png")
    assert output.code == 4
    line = one_line(output.err)
    assert line.startswith(f"error: {graph} is refused: ")
    assert "which may never end" in line


@pytest.mark.slow
def test_conditions_and_calls_are_no_loops(label_image: LabelImage) -> None:
    output = label_image("--graph", "calling.pb", "--labels", "labels.txt", "flower.png")
    assert output.code == 0, output.err


def function(graph: Any, name: str, *calls: str, list_of: bool = False) -> None:
    """Add a function that calls others, as `PartitionedCall` or `StatelessCase` does."""
    added = graph.library.function.add()
    added.signature.name = name
    call(added.node_def, *calls, list_of=list_of)


def call(nodes: Any, *names: str, list_of: bool = False) -> None:
    for number, name in enumerate(names):
        node = nodes.add(name=f"call{number}", op="PartitionedCall")
        if list_of:
            node.attr["branches"].list.func.add(name=name)
        else:
            node.attr["f"].func.name = name


@pytest.mark.parametrize("operation", ["While", "StatelessWhile", "Enter", "NextIteration", "For"])
@pytest.mark.parametrize("in_function", [False, True])
def test_every_kind_of_loop_is_refused(operation: str, in_function: bool) -> None:
    graph = GraphDef()
    function(graph, "f")
    nodes = graph.library.function[0].node_def if in_function else graph.node
    nodes.add(name="endless", op=operation)
    with pytest.raises(ModelError, match=rf"g\.pb is refused: node endless \({operation}\)"):
        refuse_endless(graph, Path("g.pb"))


@pytest.mark.parametrize("list_of", [False, True])
@pytest.mark.parametrize("chain", [["f"], ["g", "f"], ["g", "h", "f"]])
def test_a_function_that_calls_itself_is_refused(chain: list[str], list_of: bool) -> None:
    graph = GraphDef()
    for name, called in zip(["f", *chain], chain, strict=False):
        function(graph, name, called, list_of=list_of)
    call(graph.node, "f")
    with pytest.raises(ModelError, match="its function f calls itself, which may never end"):
        refuse_endless(graph, Path("g.pb"))


def test_a_function_that_is_an_operation_or_an_inner_attribute_is_followed() -> None:
    graph = GraphDef()
    function(graph, "f")
    graph.library.function[0].node_def.add(name="self", op="f")
    graph.node.add(name="call", op="f")
    with pytest.raises(ModelError, match="f calls itself"):
        refuse_endless(graph, Path("g.pb"))
    graph = GraphDef()
    function(graph, "g")
    inner = graph.library.function[0].node_def.add(name="x", op="PartitionedCall")
    inner.attr["f"].func.attr["inner"].func.name = "g"
    call(graph.node, "g")
    with pytest.raises(ModelError, match="g calls itself"):
        refuse_endless(graph, Path("g.pb"))


@pytest.mark.parametrize(("levels", "calls"), [(30, 2), (6, 20), (2, 2000)])
def test_functions_that_call_one_another_very_often_are_refused(levels: int, calls: int) -> None:
    graph = GraphDef()
    for level in range(levels):
        function(graph, f"f{level}", *[f"f{level + 1}"] * calls)
    function(graph, f"f{levels}")
    call(graph.node, "f0")
    with pytest.raises(ModelError, match="over 1,000,000 nodes would run"):
        refuse_endless(graph, Path("g.pb"))


def test_a_deep_chain_is_refused_and_a_short_one_is_not() -> None:
    for levels in (40, 400):
        graph = GraphDef()
        for level in range(levels):
            function(graph, f"f{level}", f"f{level + 1}")
        function(graph, f"f{levels}")
        call(graph.node, "f0", "f0")
        if levels == 40:
            refuse_endless(graph, Path("g.pb"))
            continue
        with pytest.raises(ModelError, match="is called too deeply"):
            refuse_endless(graph, Path("g.pb"))
