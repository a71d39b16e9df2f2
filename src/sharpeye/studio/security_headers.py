"""The HTTP headers that restrict what a browser does with the studio's responses.

The Content Security Policy (W3C, CSP Level 3) allows no inline script or style and no `eval`: a
name that became HTML by mistake could run nothing.
"""

from sharpeye.serve.access import Headers

CONTENT_SECURITY_POLICY = {
    "default-src": "'none'",  # All that is not named below: fonts, media, frames, workers, plugins.
    "script-src": "'self'",  # Our modules under /static.
    "style-src": "'self'",  # Our style sheets; scripts set single properties, which CSP allows.
    "img-src": "'self' data:",  # Thumbnails and images; the page Try gets its images as `data:`.
    "connect-src": "'self'",  # The routes under /api.
    "base-uri": "'none'",
    "form-action": "'none'",  # Scripts handle all forms.
    "frame-ancestors": "'none'",
}
# A report is a page of its own with inline scripts, styles and images, which `sharpeye train`
# wrote. It holds names that other people may have chosen. They are escaped; should that ever fail,
# the sandbox gives the page an origin of its own: no access to the studio, no forms, no windows.
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
