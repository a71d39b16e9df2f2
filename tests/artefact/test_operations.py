"""Every ONNX operation that SharpEye writes is in all tables that must know it."""

import ast
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

import onnx

from sharpeye.artefact import heat_nodes, ood_nodes, preprocess_nodes, write_model
from sharpeye.artefact.export import onnx_to_graph_def, onnx_to_keras
from sharpeye.artefact.verify.check_graph import OP_TABLE
from sharpeye.models import onnx_emitter

# An operation that `heat_nodes` reads, but never writes.
READ_ONLY = {"Dropout"}
QUANTIZER = {"QuantizeLinear", "DequantizeLinear"}


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def operations(module: ModuleType, without: Collection[str] = ()) -> set[str]:
    """The ONNX operations that a module names, except in some of its functions."""
    names: set[str] = set()
    nodes: list[ast.AST] = [parse(Path(module.__file__ or ""))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef) and node.name in without:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
        nodes.extend(ast.iter_child_nodes(node))
    return {name for name in names if onnx.defs.has(name)} - READ_ONLY


def box_functions() -> set[str]:
    """The functions of `onnx_emitter` that write layers of the box heads."""
    tree = parse(Path(onnx_emitter.__file__).with_name("box_heads.py"))
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return {"_slice", *(f"_emit_{name.lower()}" for name in classes)}


def test_every_table_knows_the_operations_that_it_must_read() -> None:
    """A new operation needs a shape rule, a Keras rule and, in a backbone, a GraphDef rule."""
    backbone = operations(onnx_emitter, without=box_functions())
    network = operations(onnx_emitter) | operations(write_model)
    additions = operations(preprocess_nodes) | operations(heat_nodes) | operations(ood_nodes)
    assert len(backbone) > 10 and len(network) > 20 and len(additions) > 20
    tables = (
        ("artefact.verify.check_graph.OP_TABLE", OP_TABLE, network | additions | QUANTIZER),
        ("artefact.export.onnx_to_keras.RULES", onnx_to_keras.RULES, network),
        ("artefact.export.onnx_to_graph_def.RULES", onnx_to_graph_def.RULES, backbone),
    )
    gaps = [
        f"{operation} is missing in sharpeye.{name}"
        for name, table, required in tables
        for operation in sorted(required - set(table))
    ]
    assert not gaps, "\n".join(["SharpEye writes operations that a table does not know:", *gaps])
