"""Rules of the source that its syntax shows: floors, safe calls, one helper for each purpose."""

import ast
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from source_tree import FLOOR_OF, MODULES, PUBLIC, SOURCE, TREES, name_of, nodes_where, room_of

# --- floors --------------------------------------------------------------------------------------


MODULE_OF = {
    "sharpeye." + name_of(file).removesuffix(".py").replace("/", "."): file for file in MODULES
}


def imported_modules(file: Path) -> Iterator[tuple[int, Path]]:
    """(line, module) of each import from this package, also of late ones and those for types."""
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}:{node.lineno} imports relatively"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULE_OF else str(node.module) for name in modules]
        else:
            continue
        yield from ((node.lineno, MODULE_OF[name]) for name in names if name in MODULE_OF)


def test_every_room_has_a_floor() -> None:
    assert {room_of(file) for file in MODULES} - {*PUBLIC, ""} == set(FLOOR_OF)


def test_imports_come_from_lower_floors_only() -> None:
    wrong = []
    for file in MODULES:
        room = room_of(file)
        if room in PUBLIC:
            continue
        for line, module in imported_modules(file):
            other = room_of(module)
            if other != room and FLOOR_OF[other] >= FLOOR_OF[room]:
                wrong.append(f"{name_of(file)}:{line}: {room} imports {other}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = {file: {module for _, module in imported_modules(file)} for file in MODULES}
    while edges:  # take away what imports nothing that is left, again and again
        leaves = {file for file, modules in edges.items() if not modules & edges.keys()}
        assert leaves, f"a circle among {sorted(map(name_of, edges))}"
        edges = {file: modules for file, modules in edges.items() if file not in leaves}


# --- calls ---------------------------------------------------------------------------------------


def call_name(file: Path, node: ast.AST) -> str:
    """The called name, such as `open` or `numpy.load`, whatever name the module imported it by.

    It is empty if the node is not a call.
    """
    names: list[str] = []
    function = node.func if isinstance(node, ast.Call) else None
    while isinstance(function, ast.Attribute):
        names.insert(0, function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        names.insert(0, imported_names(TREES[file]).get(function.id, function.id))
    return ".".join(names)


@functools.cache
def imported_names(tree: ast.Module) -> dict[str, str]:
    """What each imported name of a module stands for: `np` for `numpy`, `system` for `os.system`"""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def constants(node: ast.AST) -> list[str]:
    """All texts in a node."""
    inner = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return [value for value in inner if isinstance(value, str)]


def test_no_assert() -> None:
    assert nodes_where(lambda _, node: isinstance(node, ast.Assert)) == []


def test_no_print_but_in_the_command_line() -> None:
    def printed(file: Path, node: ast.AST) -> bool:
        if call_name(file, node) != "print" or room_of(file) == "cli":
            return False
        line = file.read_text(encoding="utf-8").splitlines()[node.lineno - 1]  # type: ignore[attr-defined]
        return "noqa: T201" not in line

    assert nodes_where(printed) == []


def test_nothing_that_is_loaded_can_run_code() -> None:
    modules = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "yaml", "shelve"}
    modules |= {"marshal", "code", "runpy"}

    def loads_code(file: Path, node: ast.AST) -> bool:
        if isinstance(node, ast.Import):
            used = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used = {(node.module or "").split(".")[0]}
        else:
            used = set()
        if used & modules:
            return True
        called = call_name(file, node).removeprefix("builtins.")
        return called in ("eval", "exec", "compile", "__import__", "os.system")

    assert nodes_where(loads_code) == []


_PROCESS_CALLS = re.compile(
    r"os\.(exec\w+|spawn\w+|posix_spawnp?|fork\w*|system|popen|startfile)"
    r"|(\w+\.)*(create_subprocess_\w+|subprocess_(exec|shell)|ProcessPoolExecutor)"
)


def test_children_are_started_by_processes_only() -> None:
    """Any other call could run files of the current folder, which `-P` leaves out of the path."""
    modules = {"subprocess", "multiprocessing", "runpy", "pty"}

    def starts_child(file: Path, node: ast.AST) -> bool:
        if name_of(file) == "core/processes.py":
            return False
        if isinstance(node, ast.Import):
            return bool({alias.name.split(".")[0] for alias in node.names} & modules)
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            executable = node.module == "sys" and "executable" in names
            return executable or bool({(node.module or "").split(".")[0], *names} & modules)
        if isinstance(node, ast.Attribute):
            return node.attr == "executable" and ast.unparse(node) == "sys.executable"
        return _PROCESS_CALLS.fullmatch(call_name(file, node)) is not None

    assert nodes_where(starts_child) == []


def test_arrays_are_loaded_without_objects_only() -> None:
    def unsafe(file: Path, node: ast.AST) -> bool:
        return call_name(file, node) == "numpy.load" and (
            "allow_pickle=False" not in ast.unparse(node)
        )

    assert nodes_where(unsafe) == []


def test_one_module_reads_and_writes_csv() -> None:
    """Python's versions differ in what they quote."""

    def is_csv(file: Path, node: ast.AST) -> bool:
        if isinstance(node, ast.Import):
            used = [alias.name for alias in node.names]
        else:
            used = [node.module] if isinstance(node, ast.ImportFrom) else []
        return "csv" in used and name_of(file) != "core/tables.py"

    assert nodes_where(is_csv) == []


def test_one_module_maps_files_into_memory() -> None:
    """A mapped file whose blocks are not reserved ends the process where the disk is full."""

    def maps(file: Path, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or name_of(file) == "core/arrays.py":
            return False
        called = call_name(file, node)
        mode = any(keyword.arg == "mmap_mode" for keyword in node.keywords)
        mode = mode or (called == "numpy.load" and len(node.args) > 1)
        return mode or called.rpartition(".")[2] in ("open_memmap", "memmap", "mmap")

    assert nodes_where(maps) == []


# Modules that write a file without `storage`: each says in its docstring why a torn one is no harm.
WRITE_FOR_THEMSELVES = {
    "data/vector_store.py",  # segments: a checksum a record
    "data/split_cache.py",  # appended lines: a torn one is ignored
    "runs/events.py",  # event files: a checksum a record, appended to while they are read
    "collect/sources.py",  # appended lines: a torn one is ignored
    "collect/samples.py",  # into a hidden folder, which is renamed as a whole
    "collect/archives.py",  # likewise
    "web/download.py",  # into a hidden part, whose note says what its bytes belong to
    "data/moves.py",  # images change their place by one link or rename
    "jobs/audit/relabel.py",  # a copy, into a hidden folder, which is renamed as a whole
    "collect/datasets.py",  # likewise
    "models/keras_to_onnx.py",  # the temporary file of `atomic_path`, which its caller has opened
    "models/frozen_graph_to_onnx.py",  # likewise
    "artefact/cut_model.py",  # likewise
}
_COPIES = re.compile(
    r"os\.(replace|rename|renames)|shutil\.(copy|copy2|copyfile|copytree|move)"
    r"|numpy\.(save|savez|savez_compressed|savetxt)|onnx\.(save|save_model)"
)


def test_final_names_are_written_by_storage_only() -> None:
    def writes(file: Path, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        if name_of(file) in {"core/storage.py", *WRITE_FOR_THEMSELVES}:
            return False
        text, called = ast.unparse(node), call_name(file, node)
        if _COPIES.fullmatch(called):
            return not re.search(r"\b(temporary|opened)\b", text)
        called = called.rpartition(".")[2]
        if called in ("write_text", "write_bytes"):
            # Path's has the content first, and storage's and RunWriter's a name.
            is_encoding = len(node.args) == 2 and "utf-8" in constants(node.args[1])
            return len(node.args) < 2 or is_encoding
        if called != "open" or "atomic" in text:
            return False
        modes = constants(node)
        return any(re.fullmatch(r"[wax+][bt+]*|r[bt]*\+[bt]*", mode) for mode in modes)

    assert nodes_where(writes) == []


# Modules that open files that are no data set's: of the cache, of a run, archives, videos, tables.
OPEN_OTHER_FILES = {
    "data/pixel_file.py",
    "data/split_cache.py",
    "data/vector_store.py",
    "jobs/augment_folder.py",  # its output
    "jobs/export/export.py",
    "jobs/train/results.py",  # the confusion matrix of the run
    "collect/samples.py",  # images of installed packages
    "collect/archives.py",
    "collect/archive_members.py",
    "collect/datasets.py",
    "collect/frames.py",
    "collect/sources.py",
    "collect/url_downloads.py",
    "studio/quick_check.py",
    "studio/thumbnails.py",
    "studio/pages/understand_page.py",
}


def test_files_of_data_sets_are_opened_without_blocking() -> None:
    """By `read_file`, `open_regular` or `read_head`: a file may have become a FIFO."""
    rooms = ("data", "images", "jobs", "jobs/audit", "jobs/train", "collect", "studio")
    other = r"(os|av|tarfile|archive|webbrowser|.*\.models)\.open"
    readers = r"numpy\.(load|fromfile|loadtxt|genfromtxt)|zipfile\.ZipFile|.*etree.*\.parse"

    def opens(file: Path, node: ast.AST) -> bool:
        called = call_name(file, node)
        is_path = called.rpartition(".")[2] in ("open", "read_bytes", "read_text")
        if re.fullmatch(other, called) or not (is_path or re.fullmatch(readers, called)):
            return False
        return room_of(file) in rooms and name_of(file) not in OPEN_OTHER_FILES

    assert nodes_where(opens) == []


def test_no_drawer_for_odds_and_ends() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "shared"}
    names = {part for file in MODULES for part in Path(name_of(file)).with_suffix("").parts}
    assert names & forbidden == set()


def test_a_module_is_at_most_400_lines_and_says_what_it_is() -> None:
    texts = {name_of(file): file.read_text(encoding="utf-8") for file in MODULES}
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    silent = [name_of(file) for file, tree in TREES.items() if not ast.get_docstring(tree)]
    assert [name for name in silent if texts[name]] == []


# Whoever calls these passes all arguments by position.
POSITIONAL = {
    "data/cifar_files.py:_array_from_buffer",  # The unpickler, as a pickle says.
    "models/weights/torch_archive.py:__init__",  # Likewise.
    "learn/nets/engine_jax.py:_mean_loss",  # `jax.value_and_grad`.
    "learn/nets/engine_tensorflow.py:_steps",  # A concrete `tf.function`.
}


def test_parameters_beyond_the_third_are_keyword_only() -> None:
    """Commands and HTTP routes are called by Typer and FastAPI, which pass keywords."""

    def has_many(file: Path, node: ast.AST) -> bool:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return False
        is_route = any("api." in ast.unparse(decorator) for decorator in node.decorator_list)
        if room_of(file) == "cli" or is_route:
            return False
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        return count > 3 and f"{name_of(file)}:{node.name}" not in POSITIONAL

    assert nodes_where(has_many) == []


# --- the rules themselves ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        (
            "import numpy as n\nn.load('a', 'r')",
            test_one_module_maps_files_into_memory,
        ),
        ("np.memmap('a', mode='w+')", test_one_module_maps_files_into_memory),
        ("np.load('a', mmap_mode='r')", test_one_module_maps_files_into_memory),
        ("import csv", test_one_module_reads_and_writes_csv),
        ("from csv import writer", test_one_module_reads_and_writes_csv),
        ("sample.file.read_bytes()", test_files_of_data_sets_are_opened_without_blocking),
        ("open(path)", test_files_of_data_sets_are_opened_without_blocking),
        ("import subprocess", test_children_are_started_by_processes_only),
        ("os.execv(sys.executable, [])", test_children_are_started_by_processes_only),
        ("from asyncio import subprocess as s", test_children_are_started_by_processes_only),
        (
            "from concurrent.futures import ProcessPoolExecutor as P\nP(2)",
            test_children_are_started_by_processes_only,
        ),
        ("from os import posix_spawn as p\np('a')", test_children_are_started_by_processes_only),
        ("path.write_text('1')", test_final_names_are_written_by_storage_only),
        ("path.write_text('1', 'utf-8')", test_final_names_are_written_by_storage_only),
        ("open(path, 'w' if new else 'r')", test_final_names_are_written_by_storage_only),
        ("import shutil\nshutil.copyfile(a, b)", test_final_names_are_written_by_storage_only),
        ("from numpy import save\nsave(path, a)", test_final_names_are_written_by_storage_only),
        (
            "from PIL import Image\nImage.open(path)",
            test_files_of_data_sets_are_opened_without_blocking,
        ),
        (
            "import numpy as np\nnp.fromfile(path)",
            test_files_of_data_sets_are_opened_without_blocking,
        ),
        ("open(path, 'wb')", test_final_names_are_written_by_storage_only),
        ("import pickle", test_nothing_that_is_loaded_can_run_code),
        ("from os import system\nsystem('a')", test_nothing_that_is_loaded_can_run_code),
        ("import numpy as np\nnp.load('a')", test_arrays_are_loaded_without_objects_only),
        ("print(1)", test_no_print_but_in_the_command_line),
        ("assert x", test_no_assert),
    ],
)
def test_each_rule_names_what_breaks_it(
    code: str, rule: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = SOURCE / "jobs" / "breaks_a_rule.py"
    for module in MODULES:
        monkeypatch.delitem(TREES, module)
    monkeypatch.setitem(TREES, file, ast.parse(code))
    monkeypatch.setattr(Path, "read_text", lambda _, **__: code)
    with pytest.raises(AssertionError, match=rf"jobs/breaks_a_rule\.py:{code.count(chr(10)) + 1}"):
        rule()
