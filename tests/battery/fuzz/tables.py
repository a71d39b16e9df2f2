"""Fuzz the readers of CSV, TOML and JSON; the first byte chooses the reader."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from battery.fuzz.checked_target import check_message
from sharpeye.core.config import Config, load_toml
from sharpeye.core.knobs import parse_value
from sharpeye.core.safe_parse import load_json, parse_json, parse_toml
from sharpeye.core.tables import read_table, read_user_table, write_table
from sharpeye.data.moves import UNDO_COLUMNS, undo_moves
from sharpeye.errors import SharpEyeError
from sharpeye.jobs.audit.relabel import FIX_COLUMNS, dataset_folder, plan_moves
from sharpeye.jobs.sweep.plan import make_plan
from sharpeye.jobs.sweep.plan_text import plan_to_toml, read_plan
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

TOKENS = (
    *(b"path", b"label", b"part", b"sha256", b"group", b"reason", b"from", b"to", b"folder"),
    *(b"suggested", b"train", b"test", b'""', b'"\r\n"', b"\r", b"\0", b"sep=;\n", b"\xef\xbb\xbf"),
    *(
        b"\xff\xfe",
        b"[train]",
        b"[split]",
        b"epochs = ",
        b"seed = 1",
        b"'''",
        b'"""',
        b"[[",
        b"{a=",
    ),
    *(b"inf", b"nan", b"NaN", b"1e999", b"0x", b"1979-05-27T07:32:00Z", b"\\u0000", b"\\ud800"),
    *(b"# format: 2", b'{"test": {', b"[[[[[[[[", b"a.b.c.d", b"null", b"-Infinity"),
)
_FOLDER = Path(tempfile.mkdtemp(prefix="sharpeye-fuzz-"))
_RUN, _PHOTOS, _FILE = _FOLDER / "run", _FOLDER / "photos", _FOLDER / "table"
for _label in ("ash", "birch"):
    (_PHOTOS / _label).mkdir(parents=True)
    Image.new("RGB", (9, 8), (_label == "ash" and "red") or "blue").save(_PHOTOS / _label / "1.png")
_RUN.mkdir()
(_RUN / layout.BUNDLE).write_text("{}")


def _read_own_table(file: Path) -> None:
    """A table that is read is written and read again without a change."""
    rows = read_table(file)
    if rows and len(set(rows[0])) == len(rows[0]):
        write_table(file, list(rows[0]), [list(row.values()) for row in rows])
        assert read_table(file) == rows


def _read_split(file: Path) -> None:
    (_RUN / layout.SPLIT).write_bytes(file.read_bytes())
    Run(_RUN).table(layout.SPLIT)


def _read_run(file: Path) -> None:
    for name in (layout.METRICS, layout.LABELS, layout.CONFIG):
        (_RUN / name).write_bytes(file.read_bytes())
    for read in (lambda run: run.metrics, lambda run: run.labels, lambda run: run.config):
        try:
            read(Run(_RUN))
        except SharpEyeError as error:
            check_message(error)


def _read_config(file: Path) -> None:
    """A configuration that is read is written and read again without a change."""
    config = load_toml(file)
    file.write_text(config.to_toml(), encoding="utf-8")
    assert load_toml(file) == config


def _parse_json(file: Path) -> None:
    load_json(file)
    parse_json(file.read_bytes())


def _parse_text(file: Path) -> None:
    text = file.read_bytes().decode("utf-8", "replace")
    parse_value(text)
    parse_toml(text)


_READERS: tuple[Callable[[Path], object], ...] = (
    _read_own_table,
    read_user_table,
    lambda file: read_user_table(file, ("path", "label")),
    _read_split,
    _read_config,
    _read_run,
    _parse_json,
    _parse_text,
    dataset_folder,
    lambda file: plan_moves(file, _PHOTOS),
    lambda file: undo_moves(file, _PHOTOS),
    read_plan,
)
# Of these, ValueError is declared: their callers turn it into an error of SharpEye's.
_RAISE_VALUE_ERROR = (_read_own_table, _parse_json, _parse_text)


def seeds() -> list[bytes]:
    header, split = ",".join(FIX_COLUMNS), "path,label,part,sha256,group\n"
    fixes = f"{header}\nash/1.png,ash,birch,0.9,x\n".encode()
    undo = f"{','.join(UNDO_COLUMNS)}\nash/9.png,birch/9.png,{_PHOTOS}\n".encode()
    plan = plan_to_toml(make_plan(Config(), {"train.epochs": [1, 2]}, {}, rank_by="loss"))
    texts = (
        b'path,label\n"a ""b"",\r.png",ash\n',
        "path;label\r\nä.png;Käfer\r\n".encode("utf-8-sig"),
        "sep=\t\npath\tlabel\nb.png\tash\n".encode("utf-16"),
        f"{split}a/1.png,a,train,{'0' * 64},\n".encode(),
        Config().to_toml().encode(),
        b'{"test": {"accuracy": 0.5, "per_class": {"ash": {"f1": 1}}}}',
        b'{"a": [1, 2.5e3, null, "\\u00e4"]}',
        b'a.b = 1\n[c]\nd = [0x1f, 1_000, "x"]\n',
        undo,
        fixes,
        undo,
        plan.encode(),
    )
    return [bytes([number]) + text for number, text in enumerate(texts)]


def one_input(data: bytes) -> None:
    read = _READERS[data[0] % len(_READERS)] if data else read_table
    _FILE.write_bytes(data[1:])
    try:
        read(_FILE)
    except SharpEyeError as error:
        check_message(error)
    except ValueError:
        if read not in _RAISE_VALUE_ERROR:
            raise
