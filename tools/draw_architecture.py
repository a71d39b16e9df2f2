"""Draw the rooms of the source and what they import: `docs/architecture.svg`.

A room is a package or a module directly below `sharpeye`; a room stands one floor above the highest
room that it imports. Its line of text is the first line of its docstring. An arrow that follows
from two others is left out. `--check` fails if the drawing is stale.
"""

import argparse
import ast
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "sharpeye"
DRAWING = ROOT / "docs" / "architecture.svg"

WIDTH, MARGIN, GAP = 960, 24, 24
BOX_HEIGHT, FLOOR_HEIGHT = 46, 96
# The public names and the two entry points import from everywhere and belong to no floor.
ENTRY_POINTS = {"__init__", "__main__"}

Imports = dict[str, set[str]]


def read_imports() -> tuple[Imports, dict[str, str]]:
    """What each room imports, and what its docstring says of it."""
    imports: Imports = {}
    subjects: dict[str, str] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        room = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room in ENTRY_POINTS:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imports.setdefault(room, set()).update(_rooms_imported(tree) - {room})
        if file in (SOURCE / room / "__init__.py", SOURCE / f"{room}.py"):
            subjects[room] = (ast.get_docstring(tree) or "").partition("\n")[0].rstrip(".")
    return imports, subjects


def _rooms_imported(tree: ast.AST) -> set[str]:
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sharpeye"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("sharpeye.")]
        else:
            continue
        rooms.update(name.split(".")[1] for name in names)
    return {room for room in rooms if (SOURCE / room).exists() or (SOURCE / f"{room}.py").exists()}


def floors_of(imports: Mapping[str, set[str]]) -> dict[str, int]:
    """The floor of each room; SystemExit if rooms import each other in a circle."""
    floors: dict[str, int] = {}
    while len(floors) < len(imports):
        ready = [r for r, used in imports.items() if r not in floors and used <= floors.keys()]
        if not ready:
            raise SystemExit(f"rooms import each other: {sorted(set(imports) - set(floors))}")
        floors |= {r: 1 + max((floors[used] for used in imports[r]), default=-1) for r in ready}
    return floors


def without_implied(imports: Mapping[str, set[str]]) -> Imports:
    """The transitive reduction: an import that another room makes on the way is left out."""

    def reached(room: str) -> set[str]:
        return set().union(*({used} | reached(used) for used in imports[room]))

    return {
        room: {used for used in all_used if not any(used in reached(r) for r in all_used - {used})}
        for room, all_used in imports.items()
    }


def draw(imports: Imports, subjects: Mapping[str, str]) -> str:
    """The drawing as SVG text."""
    floors = floors_of(imports)
    top = max(floors.values())
    boxes: dict[str, tuple[float, float, float]] = {}
    for floor in range(top + 1):
        rooms = sorted(room for room in floors if floors[room] == floor)
        width = min(280.0, (WIDTH - 2 * MARGIN - GAP * (len(rooms) - 1)) / len(rooms))
        left = (WIDTH - width * len(rooms) - GAP * (len(rooms) - 1)) / 2
        for number, room in enumerate(rooms):
            y = MARGIN + (top - floor) * FLOOR_HEIGHT
            boxes[room] = (left + number * (width + GAP), y, width)
    height = 2 * MARGIN + top * FLOOR_HEIGHT + BOX_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" role="img">',
        "<title>The rooms of SharpEye; an arrow leads from a room to one that it imports</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#5f6c85"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    parts += [_box(room, subjects[room], *boxes[room]) for room in sorted(boxes)]
    for room, used in sorted(without_implied(imports).items()):
        ends = sorted(boxes[other] for other in used)
        for number, end in enumerate(ends, start=1):
            parts.append(_arrow(boxes[room], end, number / (len(ends) + 1)))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float], share: float) -> str:
    """An arrow from the bottom of one box, `share` of its width from the left, to another's top."""
    x1, y1 = start[0] + start[2] * share, start[1] + BOX_HEIGHT
    x2, y2 = end[0] + end[2] * (0.25 + 0.5 * share), end[1] - 2
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} '
        f'{x2:.0f} {y2:.0f}" fill="none" stroke="#5f6c85" stroke-opacity="0.7" '
        'stroke-width="1.4" marker-end="url(#tip)"/>'
    )


def _box(room: str, subject: str, x: float, y: float, width: float) -> str:
    middle = x + width / 2
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="8" '
        'fill="#eef4ff" stroke="#3b6fd4"/>'
        f'<text x="{middle:.0f}" y="{y + 20:.0f}" text-anchor="middle" font-size="15" '
        f'font-weight="600" fill="#16233b">{escape(room)}</text>'
        f'<text x="{middle:.0f}" y="{y + 36:.0f}" text-anchor="middle" font-size="10.5" '
        f'fill="#56617a">{escape(subject)}</text>'
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the drawing is stale")
    check = parser.parse_args().check
    drawing = draw(*read_imports())
    if check and (not DRAWING.is_file() or DRAWING.read_text(encoding="utf-8") != drawing):
        print(f"{DRAWING.relative_to(ROOT)} is stale; run: make docs", file=sys.stderr)
        return 1
    if not check:
        DRAWING.write_text(drawing, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
