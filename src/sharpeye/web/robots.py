"""What a site's robots.txt allows (RFC 9309): the group of our name, else that of everyone.

The longest rule that matches decides, and of equals the one that allows. `*` stands for anything
and `$` for the end. Python's own parser knows neither, and takes the first rule that matches.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

AGENT = "sharpeye"
MAX_BYTES = 500 * 1024  # RFC 9309 asks for as much at least; what follows is not looked at
_MAX_DELAY_SECONDS = 30.0

# Wishes in an X-Robots-Tag header that an image be not used so.
_TAGS = frozenset({"noai", "noimageai"})
# Wishes that have a colon themselves, which is none after a name.
_WITH_VALUE = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}


@dataclass(frozen=True, slots=True)
class RobotsRules:
    """The rules of one group.

    Attributes:
        paths: (pattern, allowed), in the file's order.
        delay_seconds: what Crawl-delay asks to wait between two requests.
    """

    paths: tuple[tuple[str, bool], ...] = ()
    delay_seconds: float = 0.0

    def allow(self, url: str) -> bool:
        """Whether a URL of this site may be asked for."""
        parts = urlsplit(url)
        path = _plain((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        fitting = [(len(p), allowed) for p, allowed in self.paths if _matches(p, path)]
        return max(fitting, default=(0, True))[1]


def parse_robots(data: bytes, agent: str = AGENT) -> RobotsRules:
    """The rules for an agent; whatever is no rule is passed over."""
    ours, all_others, found = _Group(), _Group(), False
    current: list[_Group] = []
    in_names = False
    for line in data[:MAX_BYTES].decode("utf-8", "replace").lstrip("\ufeff").splitlines():
        key, _, value = line.partition("#")[0].partition(":")
        key, value = key.strip().casefold(), value.strip()
        if key == "user-agent":
            if not in_names:
                current, in_names = [], True
            name = re.match(r"[a-zA-Z_-]*", value)
            if value == "*":
                current.append(all_others)
            elif name and name[0].casefold() == agent:
                current.append(ours)
                found = True
        elif key in ("allow", "disallow", "crawl-delay"):
            in_names = False
            for group in current:
                group.take(key, value)
    return (ours if found else all_others).rules()


def unwanted_tag(headers: Sequence[str], agent: str = AGENT) -> str:
    """The X-Robots-Tag wish that speaks against taking an image; empty if none does.

    Args:
        headers: `noai, noindex` for everyone, or `agent: noai` for one.
    """
    for header in headers:
        named = re.match(r"\s*([\w*-]+)\s*:", header)
        if named and named[1].casefold() not in _WITH_VALUE:
            if named[1].casefold() not in (agent, "*"):
                continue
            header = header[named.end() :]
        wishes = {wish.strip().casefold() for wish in header.split(",")}
        if wishes & _TAGS:
            return min(wishes & _TAGS)
    return ""


class _Group:
    def __init__(self) -> None:
        self._paths: list[tuple[str, bool]] = []
        self._delay = 0.0

    def take(self, key: str, value: str) -> None:
        if key == "crawl-delay":
            if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
                self._delay = min(float(value), _MAX_DELAY_SECONDS)
        elif value:  # an empty Disallow forbids nothing
            self._paths.append((_plain(value), key == "allow"))

    def rules(self) -> RobotsRules:
        return RobotsRules(tuple(self._paths), self._delay)


def _plain(path: str) -> str:
    """One spelling: escaped characters become themselves."""
    return unquote_to_bytes(path).decode("utf-8", "surrogateescape")


def _matches(pattern: str, path: str) -> bool:
    """Whether a path begins as a pattern says; piece by piece, as a regex could take forever."""
    to_end = pattern.endswith("$")
    first, *pieces = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    for number, piece in enumerate(pieces, 1):
        if to_end and number == len(pieces):
            return len(path) - len(piece) >= place and path.endswith(piece)
        place = path.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return not to_end or place == len(path)
