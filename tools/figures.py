"""Put figures of `bench/results/` into pages, each with the commit at which it was measured.

A page quotes a figure in one of four ways; `make docs` writes what stands between the marks:

    <!-- figure: unknown | auroc/ours/mean | .3f -->0.923<!-- / -->      a value in a sentence
    <!-- record: heat_cost -->2 to 4 % ... (1154eb2)<!-- / -->           a single experiment
    <!-- measured: ... --> ... <!-- /measured -->                        a table
    <!-- sources: ... --> ... <!-- /sources -->                          commits of its values

A mark of the first two kinds must not begin a line, where Markdown would take it for a block.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bench.catalogue import FIGURES
from bench.stale import RECORDS, read_result, was_measured
from tools.figure_tables import machine_of, machine_tables

VALUE = re.compile(r"(<!-- figure: ([^|>]+) \| ([^|>]+) \| (\S+) -->)(.*?)(<!-- / -->)", re.S)
_AT_LINE_START = re.compile(r"^(?:[-*] )?<!-- (?:figure|record): .*$", re.M)
RECORD = re.compile(r"(<!-- record: (\S+) -->)(.*?)(<!-- / -->)", re.S)


def with_figures(text: str, blocks: Mapping[str, Iterable[str]]) -> str:
    """A page with its figures as `bench/results/` has them, and with blocks of lines by name.

    Raises:
        ValueError: a mark of a value or of a record begins a line.
    """
    if wrong := _AT_LINE_START.search(text):
        raise ValueError(f"a mark begins this line: {wrong[0]}")
    used = sorted({match[2] for match in VALUE.finditer(text) if was_measured(match[2])})
    blocks = {**blocks, "sources": source_table(used)}
    for name, lines in blocks.items():
        marks = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- /{name} -->)"
        table = "\n".join(lines)
        text = re.sub(
            marks, lambda match, t=table: f"{match[1]}\n{t}\n\n{match[2]}", text, flags=re.S
        )
    text = VALUE.sub(lambda match: match[1] + value_of(*match.group(2, 3, 4)) + match[6], text)
    return RECORD.sub(lambda match: match[1] + record_text(match[2], match[3]) + match[4], text)


def value_of(name: str, path: str, spec: str) -> str:
    """One value of a result; `path` has its keys, `spec` is Python's format (`.0%` has a space)."""
    if not was_measured(name):
        return "?"
    value: Any = read_result(name)
    for key in path.split("/"):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return format(value, spec).replace("%", " %")


def record_text(name: str, before: str) -> str:
    """The text of a single experiment, with its commit; as it was if only line breaks differ."""
    record = read_result(RECORDS)[name]
    text = f"{record['text']} ({record['commit']})"
    return before if before.split() == text.split() else text


def source_table(names: Iterable[str]) -> list[str]:
    """Commit and command of each figure whose values a page quotes, by machine."""
    by_machine: dict[str, list[str]] = {}
    for name in names:
        result = read_result(name)
        command = f"`python -m bench.{FIGURES[name].command}`"
        row = f"| {name} | {command} | {result.get('commit', '?')} | {result['date'][:10]} |"
        by_machine.setdefault(machine_of(result), []).append(row)
    return machine_tables(by_machine, ("figure", "measured by", "commit", "date"))
