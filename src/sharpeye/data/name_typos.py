"""Find class names that are probably typing errors: `Rose` beside `rose `, `cat` and `cats`."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NameTypo:
    """A class name that is probably a typing error.

    Attributes:
        label: the class.
        other: the class that probably is the same, or empty.
        why: what is wrong, in words.
        serious: whether two classes are probably one.
    """

    label: str
    other: str
    why: str
    serious: bool = False


def find_name_typos(class_names: Sequence[str]) -> list[NameTypo]:
    """The names that are probably typing errors."""
    typos = []
    by_normal_form: dict[str, list[str]] = defaultdict(list)
    for label in class_names:
        by_normal_form[_normalize(label)].append(label)
        if label != label.strip():
            typos.append(NameTypo(label, "", "the name begins or ends with a space"))
        if _visible(label) != label:
            typos.append(NameTypo(label, "", "the name has a character that cannot be seen"))
    for labels in by_normal_form.values():
        for label in labels[1:]:
            why = "the names differ only in case, spaces or signs between the words"
            typos.append(NameTypo(label, labels[0], why, serious=True))
    for form, labels in by_normal_form.items():
        singular = by_normal_form.get(form[:-1])
        if form.endswith("s") and len(form) > 3 and singular:
            why = "one name is the plural of the other"
            typos.append(NameTypo(labels[0], singular[0], why))
    return typos


def _normalize(label: str) -> str:
    folded = unicodedata.normalize("NFKC", _visible(label)).casefold()
    return re.sub(r"[\s_\-.]+", " ", folded).strip()


# Joiners that several scripts, and emoji, need between letters.
_JOINERS = "\u200c\u200d"


def _visible(label: str) -> str:
    """Without control characters, and without joiners where nothing is to be joined."""
    inner = "".join(
        sign for sign in label if sign in _JOINERS or unicodedata.category(sign) not in ("Cc", "Cf")
    )
    return inner.strip(_JOINERS)
