"""Read the class of an image from the beginning of its file's name.

    rose_1.jpg  great dane_12.jpg           up to the first _
    cat.0.jpg                               without _: up to the first .
    cat12.jpg  cat-12.jpg  cat (12).jpg     without both: up to the number at the end

One rule holds for a whole data set: the first one that gives most of its images a class. So a stray
`scan1.jpg` among files such as `rose_1.jpg` makes no class.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from sharpeye.data.file_walk import printable, stem_of

PrefixRule = Callable[[str], str]

_NUMBER = re.compile(r"(.*?)[\s\-–]*\(?\d+\)?", re.S)


def prefix_of(name: str) -> str:
    """What stands before the first _ of a file's name; empty if there is none."""
    prefix, separator, _ = name.rpartition("/")[2].partition("_")
    return printable(prefix) if separator else ""


def _prefix_before_point(name: str) -> str:
    prefix, separator, _ = stem_of(name.rpartition("/")[2]).partition(".")
    return printable(prefix) if separator else ""


def _prefix_before_number(name: str) -> str:
    match = _NUMBER.fullmatch(stem_of(name.rpartition("/")[2]))
    return printable(match[1]) if match else ""


_RULES: Sequence[PrefixRule] = (prefix_of, _prefix_before_point, _prefix_before_number)


def choose_prefix_rule(names: Iterable[str]) -> PrefixRule:
    """The rule by which most of some images have a class in their names; else the first one."""
    names = list(names)
    for rule in _RULES:
        if 2 * sum(bool(rule(name)) for name in names) > len(names):
            return rule
    return prefix_of
