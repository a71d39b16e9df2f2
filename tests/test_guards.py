"""What holds for the code as a whole: floors, light imports, the public API, and safe calls."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

import sharpeye
from runner import hard_photos, share_backbones, train_args
from sharpeye import errors
from sharpeye.core.inference import Backbone

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "sharpeye"
MODULES = sorted(SOURCE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in MODULES}

# From the ground up. A room imports from lower floors only; rooms of one floor do not import each
# other. A folder that is not named here belongs to the room of the folder around it.
FLOORS = (
    {"errors"},
    {"core"},
    {"images", "web", "runs", "learn/heads", "artefact/verify"},
    {"data", "learn/ood", "models/weights"},
    {"models", "artefact", "report", "collect"},
    {"learn/nets", "artefact/export", "predict"},
    {"jobs/train", "jobs/export", "jobs/audit", "serve"},
    {"jobs", "jobs/sweep", "compat"},
    {"studio"},
    {"cli"},
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
PUBLIC = ("__init__", "__main__")  # They import from every room.
HEAVY = {
    "tensorflow",
    "keras",
    "h5py",
    "scipy",
    "matplotlib",
    "jinja2",
    "onnx",
    "tf2onnx",
    "rich",
    "tensorboard",
    "optuna",
    "sklearn",
    "skimage",
    "httpcore",
    "httpx",
    "icrawler",
    "protego",
    "requests",
    "bs4",
    "av",
}


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).as_posix()


def room_of(file: Path) -> str:
    """The room of a module; `learn/__init__.py` alone has none."""
    path = PurePosixPath(name_of(file)).with_suffix("")
    around = map(str, (path, *path.parents))
    outermost = path.name if len(path.parts) == 1 else ""
    return next((folder for folder in around if folder in FLOOR_OF), outermost)


def nodes_where(rule: Callable[[Path, ast.AST], bool]) -> list[str]:
    """`file:line` of every node of the source that matches a rule."""
    return [
        f"{name_of(file)}:{node.lineno}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if rule(file, node) and hasattr(node, "lineno")
    ]


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


# --- light imports -------------------------------------------------------------------------------


def modules_after(program: str, cache: Path, *arguments: str | Path) -> set[str]:
    """The top-level modules that a fresh Python has loaded when a program has run."""
    ending = "\nimport json, sys\nprint(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", program + ending, *map(str, arguments)],
        env=os.environ | {"SHARPEYE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


_COMMAND = "import sys\nfrom sharpeye.cli.app import run\nassert run(sys.argv[1:]) == 0"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("import sharpeye", ()),
        ("import sharpeye.cli.train", ()),
        ("import sharpeye; sharpeye.load, sharpeye.Config, sharpeye.list_models", ()),
        ("import sharpeye.predict.predictor, sharpeye.artefact.session", ()),
        (_COMMAND, ("--help",)),
        (_COMMAND, ("--version",)),
        (_COMMAND, ("train", "--help")),
        (_COMMAND, ("collect", "search", "--help")),
        (_COMMAND, ("serve", "--help")),
        (_COMMAND, ("studio", "--help")),
        (_COMMAND, ("label", "--help")),
        (_COMMAND, ("models",)),
        (_COMMAND, ("cache", "info")),
    ],
)
def test_importing_and_asking_for_help_load_nothing_heavy(
    program: str, arguments: tuple[str, ...], cache: Path
) -> None:
    loaded = modules_after(program, cache, *arguments)
    assert "sharpeye" in loaded
    assert loaded & HEAVY == set()


def test_the_door_alone_does_not_even_load_numpy(cache: Path) -> None:
    loaded = modules_after("import sharpeye", cache)
    assert loaded & {"numpy", "PIL", "onnxruntime", "typer"} == set()


def test_a_warm_training_needs_no_tensorflow_and_an_answer_needs_less(
    cache: Path, session_cache: Path, backbone: Backbone, tmp_path: Path
) -> None:
    share_backbones(session_cache, cache)
    data = hard_photos(tmp_path / "hard")
    loaded = modules_after(_COMMAND, cache, *train_args(data, tmp_path / "run"))
    assert {"onnxruntime", "scipy", "onnx"} <= loaded
    assert loaded & {"tensorflow", "keras", "tf2onnx", "torch", "sklearn"} == set()
    image = data / "ash" / "ash1.png"
    for more in ((), ("--explain", tmp_path / "heat")):
        loaded = modules_after(_COMMAND, cache, "predict", tmp_path / "run", image, *more)
        assert "onnxruntime" in loaded
        assert loaded & HEAVY == set()
    assert (tmp_path / "heat" / "ash1.png").is_file()


_SERVER = """
import os, signal
from sharpeye.serve import server
make = server.make_server
def make_and_stop(app, limits, ready):
    return make(app, limits, lambda: (ready(), os.kill(os.getpid(), signal.SIGTERM)))
server.make_server = make_and_stop
"""


def test_a_server_loads_nothing_heavy(trained: Path, cache: Path) -> None:
    loaded = modules_after(_SERVER + _COMMAND, cache, "serve", trained, "--port", "0")
    assert {"onnxruntime", "fastapi", "uvicorn"} <= loaded
    assert loaded & HEAVY == set()


# --- the door ------------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    assert sorted(sharpeye.__all__) == sorted(set(sharpeye.__all__))
    for name in sharpeye.__all__:
        assert getattr(sharpeye, name) is not None
    assert dir(sharpeye) == sorted(sharpeye.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = sharpeye.trian  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names() -> None:
    tree = TREES[SOURCE / "__init__.py"]
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    visited = {alias.asname for block in blocks for node in block.body for alias in node.names}  # type: ignore[attr-defined]
    assert visited | {"__version__"} == set(sharpeye.__all__)


def test_names_that_the_pages_use_are_there() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    used = {
        name
        for page in pages
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        for name in re.findall(r"\bsharpeye\.(\w+)", block)
    }
    assert {"train", "load"} <= used
    missing = [name for name in used if name not in sharpeye.__all__]
    assert [name for name in missing if not (SOURCE / name).is_dir()] == []


def test_every_command_is_a_module() -> None:
    from sharpeye.cli.app import COMMANDS

    for name in COMMANDS:
        assert importlib.import_module(f"sharpeye.cli.{name.replace('-', '_')}").app


def test_the_version_is_that_of_the_changelog() -> None:
    file = ROOT / "CHANGELOG.md"
    if not file.is_file():
        pytest.skip("there is no changelog here")
    newest = re.search(r"^## \[?(\d[^\]\s]*)", file.read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert newest.group(1) == sharpeye.__version__


# --- errors --------------------------------------------------------------------------------------


def error_classes() -> list[type[errors.SharpEyeError]]:
    result, todo = [], [errors.SharpEyeError]
    while todo:
        for kind in todo.pop().__subclasses__():
            result.append(kind)
            todo.append(kind)
    return [kind for kind in result if kind.__module__.startswith("sharpeye")]


def test_every_error_is_drawn_with_its_exit_code() -> None:
    for file in MODULES:  # so that an error defined anywhere is known
        if room_of(file) != "__main__" and "import keras\n" not in file.read_text():
            dotted = name_of(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            importlib.import_module(f"sharpeye.{dotted}" if dotted != "__init__" else "sharpeye")
    drawn = dict(re.findall(r"──\s*(\w+)\s+(\d+)", errors.__doc__ or ""))
    kinds = {kind.__name__: kind for kind in error_classes()}
    assert set(drawn) == set(kinds)
    for name, code in drawn.items():
        if name == "Stopped":
            assert (errors.Stopped(2).exit_code, errors.Stopped(15).exit_code) == (130, 143)
            continue
        assert kinds[name].exit_code == int(code), name
        assert kinds[name].__module__ == "sharpeye.errors", f"{name} belongs into errors.py"


def test_every_error_class_says_when_it_is_raised() -> None:
    for kind in error_classes():
        assert kind.__doc__, kind.__name__


# --- words ---------------------------------------------------------------------------------------


def call_name(node: ast.AST) -> str:
    """The called name, such as `open` or `np.load`; empty if the node is not a call."""
    names: list[str] = []
    function = node.func if isinstance(node, ast.Call) else None
    while isinstance(function, ast.Attribute):
        names.insert(0, function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        names.insert(0, function.id)
    return ".".join(names)


def test_no_assert() -> None:
    assert nodes_where(lambda _, node: isinstance(node, ast.Assert)) == []


def test_no_print_but_in_the_command_line() -> None:
    def printed(file: Path, node: ast.AST) -> bool:
        if call_name(node) != "print" or room_of(file) == "cli":
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
        return call_name(node) in ("eval", "exec", "compile", "__import__", "os.system")

    assert nodes_where(loads_code) == []


_PROCESS_CALLS = re.compile(
    r"os\.(exec\w+|spawn\w+|posix_spawnp?|fork\w*|system|popen|startfile)"
    r"|(asyncio\.)?create_subprocess_\w+|(\w+\.)*ProcessPoolExecutor"
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
            return executable or (node.module or "").split(".")[0] in modules
        if isinstance(node, ast.Attribute):
            return ast.unparse(node) == "sys.executable"
        return _PROCESS_CALLS.fullmatch(call_name(node)) is not None

    assert nodes_where(starts_child) == []


def test_arrays_are_loaded_without_objects_only() -> None:
    def unsafe(_: Path, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or not re.fullmatch(r"(np|numpy)\.load", call_name(node)):
            return False
        return "allow_pickle=False" not in ast.unparse(node)

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


def test_files_are_mapped_into_memory_by_one_module_only() -> None:
    """A mapped file whose blocks are not reserved ends the process where the disk is full."""

    def maps(file: Path, node: ast.AST) -> bool:
        if name_of(file) == "core/arrays.py":
            return False
        called = call_name(node)
        named = called.rpartition(".")[2] in ("open_memmap", "memmap", "mmap")
        return named or (called != "" and "mmap_mode=" in ast.unparse(node).partition("(")[2])

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
}


def test_final_names_are_written_by_storage_only() -> None:
    def writes(file: Path, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        if name_of(file) in {"core/storage.py", *WRITE_FOR_THEMSELVES}:
            return False
        called = call_name(node).rpartition(".")[2]
        if called in (
            "write_text",
            "write_bytes",
        ):  # Path's takes one, storage's and RunWriter's two
            return len(node.args) < 2
        if called != "open" or "atomic" in ast.unparse(node):
            return False
        texts = [
            a.value
            for a in [*node.args, *(k.value for k in node.keywords)]
            if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        return any(re.fullmatch(r"[wax+][bt+]*|r[bt]*\+[bt]*", text) for text in texts)

    assert nodes_where(writes) == []


# Modules that open files that are no data set's: of the cache, of a run, archives, videos, tables.
OPEN_OTHER_FILES = {
    "data/pixel_file.py",
    "data/split_cache.py",
    "data/vector_store.py",
    "jobs/augment_folder.py",  # its output
    "jobs/export/export.py",
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


def test_files_of_a_data_set_are_opened_without_blocking() -> None:
    """By `read_file`, `open_regular` or `read_head`: a file may have become a FIFO."""
    rooms = ("data", "images", "jobs", "jobs/audit", "jobs/train", "collect", "studio")
    other = r"(os|av|Image|tarfile|archive|webbrowser|.*\.models)\.open"

    def opens(file: Path, node: ast.AST) -> bool:
        called = call_name(node)
        if room_of(file) not in rooms or name_of(file) in OPEN_OTHER_FILES:
            return False
        last = called.rpartition(".")[2]
        return last in ("open", "read_bytes", "read_text") and not re.fullmatch(other, called)

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
