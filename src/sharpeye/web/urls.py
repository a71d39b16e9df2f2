"""Check and escape URLs, the first one and those to which redirects lead."""

import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from sharpeye.errors import UsageError
from sharpeye.web.fetch_error import FetchError


def require_http(url: str) -> None:
    """Accept URLs of http and https alone, in the characters that a request can hold.

    Raises:
        UsageError: another scheme, no host, a user or password, or characters that no URL has.
    """
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        _ = parts.port
    except ValueError:
        plain = False
    if not plain or not re.fullmatch(r"[!-~]+", url):
        raise UsageError(
            "a URL must be http://HOST/PATH or https://HOST/PATH without spaces, user or password. "
            f"Received: {without_password(url)}"
        )


def without_password(url: str) -> str:
    """A URL as it may be shown and stored: user and password become `***`."""
    return re.sub(r"^([^:/?#]*:)?//[^/?#]*@", r"\1//***@", url)


def tidy_url(text: str) -> str:
    """Escape the characters that a request cannot hold, as a browser does.

    Raises:
        UsageError: the text is no URL of http or https, or has a user or password in it.
    """
    url = text.strip()
    try:
        parts = urlsplit(url)
        host = parts.netloc
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        path, query = (
            quote(part, safe="!$%&'()*+,/:;=?@[]~") for part in (parts.path, parts.query)
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


def redirect_target(url: str, location: str) -> str:
    """The URL to which the header `Location` of a response leads, as `tidy_url` writes it.

    Raises:
        FetchError: it is no plain URL of http or https, or would leave encryption.
    """
    try:
        target = tidy_url(urljoin(url, location))
    except ValueError:  # UsageError is one
        shown = without_password(location)[:200]
        reason = f"it leads to {shown}, which is no plain http address"
        raise FetchError(reason, refused=True) from None
    if url.startswith("https:") and target.startswith("http:"):
        raise FetchError(f"it leads to {target[:200]}, away from https", refused=True)
    return target
