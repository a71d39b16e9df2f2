"""Schemas of request bodies and responses for `/openapi.json`; FastAPI cannot infer them here."""

from typing import Any

from fastapi import FastAPI

DESCRIPTION = (
    "Predicts what images show. `/v1/predict` is SharpEye's own; `/v1/models/...` speaks "
    "TensorFlow Serving's REST protocol, `/v2/...` the Open Inference Protocol of KServe and "
    'Triton. Every error is `{"error": text}`.'
)

_TEXT = {"type": "string"}
_BASE64 = {"type": "string", "format": "byte", "description": "an image's file as base64"}
_SCORE = {"type": "number", "minimum": 0, "maximum": 1}
_RANKED = {"type": "object", "properties": {"label": _TEXT, "score": _SCORE}}
_BOX = {
    "type": ["array", "null"],
    "items": {"type": "number"},
    "description": "xmin, ymin, xmax, ymax in pixels of the image; null but for a localizer",
}
_RESULT = {
    "type": "object",
    "description": "a prediction; or a name and an error",
    "properties": {
        "name": _TEXT,
        "label": _TEXT,
        "score": _SCORE,
        "top": {"type": "array", "items": _RANKED},
        "box": _BOX,
        "box_score": _SCORE,
        "unknown": {"type": ["boolean", "null"]},
        "unknown_score": {"anyOf": [_SCORE, {"type": "null"}]},
        "error": _TEXT,
    },
    "required": ["name"],
}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _errors(**more: str) -> dict[str, Any]:
    errors = {
        "400": "not a valid request",
        "401": "a token is needed",
        "408": "the body did not arrive in time",
        "413": "over a limit",
        "415": "a compressed body",
        "503": "too many requests; try again later",
        "504": "no answer in time",
        **more,
    }
    content = _json(_object(error=_TEXT))
    return {status: {"description": text, "content": content} for status, text in errors.items()}


def _operation(body: dict[str, Any], response: dict[str, Any], **errors: str) -> dict[str, Any]:
    ok = {"description": "the predictions", "content": _json(response)}
    return {
        "requestBody": {"required": True, "content": body},
        "responses": {"200": ok, **_errors(**errors)},
    }


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_TOP = {"type": "integer", "minimum": 1, "default": 5, "description": "how many classes to name"}
_FILE_BYTES = {"schema": {"type": "string", "format": "binary"}}

PREDICT = _operation(
    {
        "multipart/form-data": {"schema": _object(file=_FILES, top=_TOP)},
        **_json(_object(image=_BASE64, images={"type": "array", "items": _BASE64}, top=_TOP)),
        "image/*": _FILE_BYTES,
        "application/octet-stream": _FILE_BYTES,
    },
    _object(predictions={"type": "array", "items": _RESULT}),
    **{"422": "none of the images can be read"},
) | {"parameters": [{"name": "top", "in": "query", "required": False, "schema": _TOP}]}

_INSTANCE = {"description": '{"b64": text}, or pixels as nested lists [H][W][3] of 0..255'}
_PROBS = {"type": "array", "items": _SCORE, "description": "a probability a class"}

INSTANCES = _operation(
    _json(_object(instances={"type": "array", "items": _INSTANCE}, inputs={})),
    _object(predictions={"type": "array", "items": _PROBS}, outputs={}),
    **{"404": "no such model"},
)


def _tensors(*datatypes: str) -> dict[str, Any]:
    tensor = _object(
        name=_TEXT,
        datatype={"type": "string", "enum": list(datatypes)},
        shape={"type": "array", "items": {"type": "integer"}},
        data={"type": "array", "items": {}},
    )
    return {"type": "array", "items": tensor}


INFER = _operation(
    _json(_object(id=_TEXT, inputs=_tensors("BYTES", "UINT8"))),
    _object(model_name=_TEXT, id=_TEXT, outputs=_tensors("FP32", "BYTES")),
    **{"404": "no such model"},
)


def require_token(app: FastAPI) -> None:
    """Declare in the description that requests need a token."""
    build_description = app.openapi

    def with_token() -> dict[str, Any]:
        description = build_description()
        components = description.setdefault("components", {})
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"bearer": []}]
        return description

    app.openapi = with_token  # type: ignore[method-assign]
