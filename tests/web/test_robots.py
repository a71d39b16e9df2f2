"""Rules of robots.txt and X-Robots-Tag headers."""

import time

import pytest

from sharpeye.web.robots import RobotsRules, unwanted_tag


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/a", True),
        ("User-agent: *\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow:", "/a", True),
        ("user-agent:*\ndisallow:/a # all of it", "/abc", False),
        ("User-agent: *\nDisallow: /a", "/b/a", True),
        ("User-agent: other\nDisallow: /", "/a", True),
        ("User-agent: SharpEye/1.0\nDisallow: /\n\nUser-agent: *\nAllow: /", "/a", False),
        ("User-agent: *\nDisallow: /\nUser-agent: sharpeye\nAllow: /", "/a", True),
        ("User-agent: one\nUser-agent: sharpeye\nDisallow: /a", "/a", False),
        ("User-agent: sharpeyes\nDisallow: /a", "/a", True),
        ("User-agent: *\nDisallow: /a\nUser-agent: *\nDisallow: /b", "/b", False),
        # the longest rule decides, and of equals the one that allows
        ("User-agent: *\nDisallow: /\nAllow: /img/", "/img/1.jpg", True),
        ("User-agent: *\nAllow: /\nDisallow: /img/private", "/img/private/1.jpg", False),
        ("User-agent: *\nDisallow: /x\nAllow: /x", "/x", True),
        # wildcards
        ("User-agent: *\nDisallow: /*.jpg$", "/a/b.jpg", False),
        ("User-agent: *\nDisallow: /*.jpg$", "/a/b.jpg?x", True),
        ("User-agent: *\nDisallow: /*.jpg", "/a/b.jpg?x", False),
        ("User-agent: *\nDisallow: /a*b*c$", "/a1b2bc", False),
        ("User-agent: *\nDisallow: /a*b$", "/ab", False),
        ("User-agent: *\nDisallow: /ab*b$", "/ab", True),
        ("User-agent: *\nDisallow: /a$", "/a", False),
        ("User-agent: *\nDisallow: /a$", "/ab", True),
        ("User-agent: *\nDisallow: *", "/a", False),
        # spelling
        ("User-agent: *\nDisallow: /ü", "/%C3%BC/1", False),
        ("User-agent: *\nDisallow: /%7Ejoe", "/~joe/1", False),
        ("User-agent: *\nDisallow: /?q=", "/?q=1", False),
        ("User-agent: *\nDisallow: /a/b", "/a%2Fb", True),
        ("\ufeffUser-agent: *\r\nDisallow: /a\r\n", "/a", False),
        ("<html>not found</html>", "/a", True),
        ("Disallow: /", "/a", True),
        # other records interfere with nothing, RFC 9309, 2.2.4
        ("User-agent: *\nSitemap: x\nDisallow: /a", "/a", False),
        ("User-agent: sharpeye\nUnknown: x\nUser-agent: other\nDisallow: /a", "/a", False),
        # names must agree as a whole
        ("User-agent: sharp\nDisallow: /a", "/a", True),
        ("User-agent: sharp\nAllow: /\nUser-agent: *\nDisallow: /a", "/a", False),
        ("Useragent sharpeye # ours\nDisalow /a", "/a", False),
    ],
)
def test_rules(text: str, path: str, allowed: bool) -> None:
    rules = RobotsRules(text.encode())
    assert rules.allow(f"http://host{path}") is allowed


def test_a_delay_is_read_and_bounded() -> None:
    assert RobotsRules(b"User-agent: *\nCrawl-delay: 1.5").delay_seconds == 1.5
    assert RobotsRules(b"User-agent: *\nCrawl-delay: 86400").delay_seconds == 30
    assert RobotsRules(b"User-agent: *\nCrawl-delay: nan").delay_seconds == 0


def test_a_hostile_file_takes_no_time() -> None:
    begin = time.monotonic()
    rules = RobotsRules(b"User-agent: *\nDisallow: /" + b"*a" * 100_000 + b"$\n")
    rules.allow("http://host/" + "a" * 8000)
    RobotsRules(bytes(range(256)) * 4000)
    names = b"".join(b"User-agent: bot%d\n" % number for number in range(10_000))
    RobotsRules(names * 2 + b"Disallow: /a\n" * 10_000)
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    ("headers", "wish"),
    [
        ([], ""),
        (["noindex"], ""),
        (["noai"], "noai"),
        (["NOINDEX, NoImageAI"], "noimageai"),
        (["sharpeye: noai"], "noai"),
        (["*: noai"], "noai"),
        (["otherbot: noai"], ""),
        (["otherbot: noai", "noimageai"], "noimageai"),
        (["max-image-preview: large, noai"], "noai"),
        (["noai, max-snippet: 5"], "noai"),
        (["all"], ""),
    ],
)
def test_tags(headers: list[str], wish: str) -> None:
    assert unwanted_tag(headers) == wish
