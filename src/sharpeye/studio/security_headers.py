"""The HTTP headers that restrict what a browser does with the studio's responses.

The Content Security Policy (W3C, CSP Level 3) forbids inline scripts, inline styles and `eval`: a
name that became HTML by mistake could not run code.
"""

from sharpeye.serve.access import Headers

CONTENT_SECURITY_POLICY = {
    "default-src": "'none'",  # Everything not listed below: fonts, media, frames, workers, plugins.
    "script-src": "'self'",  # Our modules under /static.
    "style-src": "'self'",  # Our style sheets; scripts set single properties, which CSP allows.
    "img-src": "'self' data:",  # Thumbnails and images; the page Try uses `data:` URLs.
    "connect-src": "'self'",  # The routes under /api.
    "base-uri": "'none'",
    "form-action": "'none'",  # Scripts handle all forms.
    "frame-ancestors": "'none'",
}
# A report is a separate page of `sharpeye train` with inline scripts, styles and images. It
# contains names that other people may have chosen. They are escaped; if that ever fails, the
# sandbox gives the page its own origin, without access to the studio, forms or windows.
REPORT_SECURITY_POLICY = {
    "sandbox": "allow-scripts",
    "default-src": "'none'",
    "img-src": "data:",
    "style-src": "'unsafe-inline'",
    "script-src": "'unsafe-inline'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


def policy_header(policy: dict[str, str]) -> str:
    """The value of the header `Content-Security-Policy`."""
    return "; ".join(f"{directive} {sources}" for directive, sources in policy.items())


HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"content-security-policy", policy_header(CONTENT_SECURITY_POLICY).encode()),
)
