"""Parse the permissions in a site's robots.txt (RFC 9309) and X-Robots-Tag headers.

Protego evaluates the rules: the longest match decides, and between equal ones the one that allows;
`*` matches anything and `$` the end. Its input is normalized to the RFC. An agent is letters, `_`
and `-`, compared completely: Protego alone would apply a group `sharp` to `sharpeye`, and ignore
`sharpeye/1.0`. Other records must not end a group, as they would for Protego. This also bounds the
number of groups in a hostile file.
"""

import re
from collections.abc import Sequence

from sharpeye.errors import MissingExtra

AGENT = "sharpeye"
MAX_BYTES = 500 * 1024  # RFC 9309's minimum; the rest is ignored
_MAX_DELAY_SECONDS = 30.0

_USER_AGENT = re.compile(r"\s*user[- ]?agent(?:\s*:|\s|$)\s*(\*$|[a-z_-]*)", re.IGNORECASE)
# Protego also accepts misspelt forms of Disallow.
_RULE = re.compile(r"\s*(?:di\w+|allow|crawl[- ]delay)\b", re.IGNORECASE)
# Values of an X-Robots-Tag header that forbid this use of an image.
_UNWANTED_TAGS = frozenset({"noai", "noimageai"})
# Values with a colon, which does not end the name of an agent there.
_TAGS_WITH_COLON = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}


class RobotsRules:
    """The rules of a robots.txt for SharpEye, or else for all agents; other lines are ignored.

    Attributes:
        delay_seconds: the pause between two requests by Crawl-delay, 0..30.

    Raises:
        MissingExtra: Protego is not installed.
    """

    def __init__(self, data: bytes = b"") -> None:
        try:
            from protego import Protego
        except ImportError:
            raise MissingExtra("protego", "collect", "reading robots.txt") from None
        text = data[:MAX_BYTES].decode("utf-8", "replace").lstrip("\ufeff")
        self._rules = Protego.parse("\n".join(map(_plain_line, text.splitlines())))
        self.delay_seconds = min(self._rules.crawl_delay(AGENT) or 0.0, _MAX_DELAY_SECONDS)

    def allow(self, url: str) -> bool:
        """Whether a URL of this site may be requested."""
        return self._rules.can_fetch(url, AGENT)


def _plain_line(line: str) -> str:
    """A rule unchanged, an agent as `*`, `sharpeye` or `another`; any other line is dropped."""
    line = line.partition("#")[0].rstrip()
    if agent := _USER_AGENT.match(line):
        name = agent[1].casefold()
        return f"User-agent: {name if name in ('*', AGENT) else 'another'}"
    return line if _RULE.match(line) else ""


def unwanted_tag(headers: Sequence[str]) -> str:
    """The value of X-Robots-Tag headers that forbids the use of an image; empty if none does.

    A header reads `noai, noindex` for all agents, or `agent: noai` for one agent.
    """
    for header in headers:
        agent = re.match(r"\s*([\w*-]+)\s*:", header)
        if agent and agent[1].casefold() not in _TAGS_WITH_COLON:
            if agent[1].casefold() not in (AGENT, "*"):
                continue
            header = header[agent.end() :]
        tags = {tag.strip().casefold() for tag in header.split(",")}
        if tags & _UNWANTED_TAGS:
            return min(tags & _UNWANTED_TAGS)
    return ""
