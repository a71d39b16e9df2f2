"""The programs beside an export run unchanged, and predict what SharpEye predicts."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exporting import images_of
from PIL import Image

import sharpeye
from sharpeye.artefact.export.export_formats import FORMATS, ExportSource
from sharpeye.artefact.export.snippets import fill_snippets
from sharpeye.artefact.manifest import Manifest
from sharpeye.core.types import RESIZE_MODES, InputSpec
from sharpeye.jobs.export.export import export

# Folders: of `npm install onnxruntime-web` (or onnxruntime-node), and of ONNX Runtime's headers.
NODE_MODULES, HEADERS = "SHARPEYE_NODE_MODULES", "SHARPEYE_ORT_INCLUDE"
SPECIAL_LABELS = ('quo"te', "back\\slash", "naïve ß", "猫", "</script>", "a??/b", "{{title}}")

# As much of ONNX Runtime's C++ API as the snippet uses, with its signatures.
STUB = """
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>
#define ORTCHAR_T char
enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING };
enum OrtAllocatorType { OrtArenaAllocator };
enum OrtMemType { OrtMemTypeDefault };
namespace Ort {
struct Env { Env(OrtLoggingLevel, const char*); };
struct SessionOptions {};
struct RunOptions { explicit RunOptions(std::nullptr_t); };
struct MemoryInfo { static MemoryInfo CreateCpu(OrtAllocatorType, OrtMemType); };
struct Value {
  template <typename T>
  static Value CreateTensor(const MemoryInfo&, T*, size_t, const int64_t*, size_t);
  template <typename T> const T* GetTensorData() const;
};
struct Session {
  Session(const Env&, const ORTCHAR_T*, const SessionOptions&);
  std::vector<Value> Run(const RunOptions&, const char* const*, const Value*, size_t,
                         const char* const*, size_t);
};
}  // namespace Ort
"""


def expected(run: Path, image: Path) -> list[tuple[str, float]]:
    return list(sharpeye.load(run).predict(image).top)


def parse_javascript(text: str) -> list[tuple[str, float]]:
    """The classes of one image with their scores, best first."""
    return [(label, float(score)) for label, score in re.findall(r"^(.*): (\d\.\d+)$", text, re.M)]


def parse_python(text: str) -> list[list[tuple[str, float]]]:
    """For each image, the classes with their scores, best first."""
    return [list(json.loads(line)["probs"].items()) for line in text.splitlines()]


def assert_same(ranked: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [label for label, _ in ranked] == [label for label, _ in expected]
    for (_, score), (_, expected_score) in zip(ranked, expected, strict=True):
        assert abs(score - expected_score) <= 1.5e-3


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def onnx_export(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snippets") / "out"
    export(trained, "onnx", folder)
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * f.own_process) for n, f in FORMATS.items()]
)
def test_python(name: str, trained: Path, tmp_path: Path) -> None:
    export(trained, name, tmp_path / "out")
    if name == "bundle":  # as `unzip` does
        shutil.unpack_archive(tmp_path / "out" / "model.sharpeye", tmp_path / "out", "zip")
    program, images = tmp_path / "out" / "predict.py", images_of(trained)[3:5]
    output = run(sys.executable, "-I", program, *images, cwd=tmp_path)
    for ranked, image in zip(parse_python(output), images, strict=True):
        assert_same(ranked, expected(trained, image))
    assert len(program.read_text().splitlines()) <= 40


def test_the_program_beside_onnx_has_15_lines(onnx_export: Path) -> None:
    text = (onnx_export / "predict.py").read_text()
    code = text.rpartition('"""\n')[2]
    assert len([line for line in code.splitlines() if line]) == 15
    packages = set(re.findall(r"^(?:from|import) ([\w, ]+?)(?: as np| import .*)?$", code, re.M))
    assert packages == {"json, pathlib, sys", "numpy", "onnxruntime", "PIL"}


def test_the_program_beside_a_named_file_begins_with_its_name(
    trained: Path, tmp_path: Path
) -> None:
    export(trained, "onnx", tmp_path / "my birds.onnx", fixed=True)
    image = images_of(trained)[3]
    output = run(sys.executable, tmp_path / "my birds.onnx.predict.py", image, cwd=tmp_path)
    assert_same(parse_python(output)[0], expected(trained, image))


def test_javascript(trained: Path, onnx_export: Path, tmp_path: Path) -> None:
    modules = os.environ.get(NODE_MODULES)
    if not shutil.which("node") or not modules:
        pytest.skip(f"needs node, and onnxruntime-web in a node_modules that ${NODE_MODULES} names")
    shutil.copytree(onnx_export, tmp_path / "out")
    (tmp_path / "out" / "node_modules").symlink_to(Path(modules).resolve())
    image = images_of(trained)[3]
    Image.open(image).convert("RGB").save(tmp_path / "picture.ppm")
    output = run("node", tmp_path / "out" / "predict.mjs", tmp_path / "picture.ppm", cwd=tmp_path)
    assert_same(parse_javascript(output), expected(trained, image))


def test_javascript_is_well_formed(onnx_export: Path) -> None:
    if not shutil.which("node"):
        pytest.skip("needs node")
    run("node", "--check", onnx_export / "predict.mjs", cwd=onnx_export)


def test_c_plus_plus_compiles(onnx_export: Path, tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("needs a C++ compiler")
    headers = os.environ.get(HEADERS)
    if not headers:
        headers = str(tmp_path)
        (tmp_path / "onnxruntime_cxx_api.h").write_text(STUB)
    flags = ("-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-isystem", headers)
    run(compiler, *flags, onnx_export / "predict.cpp", cwd=tmp_path)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("task", ["classify", "localize"])
def test_special_characters_break_no_program(task: str, fixed: bool, tmp_path: Path) -> None:
    for fit in RESIZE_MODES:
        manifest = Manifest(SPECIAL_LABELS, InputSpec(48, 32, fit, channels=1), task=task)
        source = ExportSource(tmp_path / "none.onnx", manifest, 'my """ title */ \\ {{labels}}')
        for form in FORMATS.values():
            names = {"model": 'a "b".onnx', "labels": "labels.txt"}
            names |= {program: program for program in form.snippets}
            texts = fill_snippets(form, source, names, fixed=fixed)
            compile(texts["predict.py"], "predict.py", "exec")
            assert ("box" in texts["predict.py"]) == (
                task == "localize" and form.name != "frozen_graph"
            )
    texts = fill_snippets(
        FORMATS["onnx"],
        source,
        {
            "model": "m.onnx",
            "labels": "l",
            "predict.py": "a",
            "predict.mjs": "b",
            "predict.cpp": "c",
        },
        fixed=fixed,
    )
    (tmp_path / "predict.cpp").write_text(texts["predict.cpp"], encoding="utf-8")
    (tmp_path / "predict.mjs").write_text(texts["predict.mjs"], encoding="utf-8")
    (tmp_path / "onnxruntime_cxx_api.h").write_text(STUB)
    if shutil.which("g++"):
        flags = ("-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-isystem", tmp_path)
        run("g++", *flags, tmp_path / "predict.cpp", cwd=tmp_path)
    if shutil.which("node"):
        run("node", "--check", tmp_path / "predict.mjs", cwd=tmp_path)
