"""URLs on the way to an image: the first one, and where redirects lead."""

import contextlib
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from sharpeye.errors import UsageError
from sharpeye.web.connection import require_http, without_password
from sharpeye.web.deadline import NoAnswer


def tidy_url(text: str) -> str:
    """A URL as a request can hold it: characters that it may not hold are escaped.

    Raises:
        UsageError: it is no URL of http or https, or has a user or password in it.
    """
    url = text.strip()
    try:
        parts = urlsplit(url)
        host = parts.netloc
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        path, query = (
            quote(each, safe="!$%&'()*+,/:;=?@[]~") for each in (parts.path, parts.query)
        )
        url = urlunsplit((parts.scheme, host, path, query, ""))
    except ValueError:  # UnicodeError is one
        pass
    require_http(url)
    return url


def origin_of(url: str) -> str:
    """Scheme, host and port: what a robots.txt is for."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def require_hop(url: str, seen: set[str], redirects: int) -> None:
    """Raise NoAnswer if a request may not go on to a URL.

    Args:
        seen: the URLs on the way to it.
        redirects: so many at most.
    """
    try:
        require_http(url)
    except UsageError:
        reason = f"it leads to {without_password(url)[:200]}, which is no plain http address"
        raise NoAnswer(reason, refused=True) from None
    if url in seen:
        raise NoAnswer("its redirects go in a circle")
    if len(seen) > redirects:
        raise NoAnswer(f"it has more than {redirects} redirects")


def next_hop(url: str, location: str) -> str:
    """Where a redirect leads, in the spelling of `tidy_url` if it is a URL at all."""
    if not location:
        raise NoAnswer("it redirects to nowhere")
    try:
        # http.client reads headers as Latin-1; what is in them is UTF-8 if it is not ASCII.
        target = urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
    except ValueError:
        raise NoAnswer("it redirects to what is no address") from None
    with contextlib.suppress(UsageError):
        target = tidy_url(target)
    if url.startswith("https:") and target.startswith("http:"):
        raise NoAnswer(f"it leads to {target[:200]}, away from https", refused=True)
    return target
