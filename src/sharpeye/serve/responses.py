"""Build JSON responses."""

import json
from typing import Any

from starlette.responses import Response

from sharpeye.serve.limits import RequestRefused


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """JSON in ASCII: names may hold lone surrogates, which UTF-8 cannot encode."""
    text = json.dumps(content, separators=(",", ":"))
    return Response(text, status, headers, media_type="application/json")


def refusal_response(refusal: RequestRefused) -> Response:
    """The response to a request that is refused."""
    return json_response({"error": refusal.message}, refusal.status, refusal.headers)
