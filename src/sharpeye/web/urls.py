"""Check and escape URLs and the targets of redirects."""

import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from sharpeye.errors import UsageError
from sharpeye.web.fetch_error import FetchError


def require_http(url: str) -> None:
    """Accept only http and https URLs in characters that a request can contain.

    Raises:
        UsageError: another scheme, no host, a user or password, or invalid characters.
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
    """A URL to show and store: user and password become `***`."""
    return re.sub(r"^([^:/?#]*:)?//[^/?#]*@", r"\1//***@", url)


def tidy_url(text: str) -> str:
    """Escape characters that a request cannot contain, as a browser does.

    Raises:
        UsageError: the text is not an http or https URL, or contains a user or password.
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
    """Scheme, host and port: the scope of a robots.txt."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def redirect_target(url: str, location: str) -> str:
    """The URL to which the header `Location` of a response leads, as `tidy_url` writes it.

    Raises:
        FetchError: it is not a valid http or https URL, or would drop encryption.
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
