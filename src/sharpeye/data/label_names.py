"""Class names that look like slips: `Rose` beside `rose `, `cat` beside `cats`."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence


def slips(labels: Sequence[str]) -> list[tuple[str, str, str]]:
    """(class, other class or "", what is wrong) for each name that is probably a slip."""
    found = []
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[_plain(label)].append(label)
        if label != label.strip():
            found.append((label, "", "the name begins or ends with a space"))
    for names in alike.values():
        for other in names[1:]:
            why = "the names differ only in case, spaces or signs between the words"
            found.append((other, names[0], why))
    singular = {plain: names[0] for plain, names in alike.items()}
    for plain, names in alike.items():
        if plain.endswith("s") and len(plain) > 3 and plain[:-1] in singular:
            found.append((names[0], singular[plain[:-1]], "one name is the plural of the other"))
    return found


def _plain(label: str) -> str:
    folded = unicodedata.normalize("NFKC", label).casefold()
    return re.sub(r"[\s_\-.]+", " ", folded).strip()
