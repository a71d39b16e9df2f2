"""The source as the tests read it: its modules, their syntax trees, and the room of each."""

import ast
from collections.abc import Callable
from pathlib import Path, PurePosixPath

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
