"""Schemas of request bodies and responses for `/openapi.json`; FastAPI cannot infer them here."""

from typing import Any

from fastapi import FastAPI

from sharpeye.images.array_image import DATA_FORMATS
from sharpeye.serve.tensor_values import DTYPES

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


def _errors(**texts: str) -> dict[int | str, dict[str, Any]]:
    """Responses by status, as routes of FastAPI declare them."""
    content = _json(_object(error=_TEXT))
    return {int(code): {"description": text, "content": content} for code, text in texts.items()}


# Any request can get these: for its header, its body, or the state of the server.
COMMON_ERRORS = _errors(
    **{
        "400": "not a valid request",
        "403": "from a page of another server",
        "408": "the body arrives too slowly",
        "413": "over a limit",
        "415": "a compressed body",
        "421": "to another name than this server's",
        "500": "a bug in SharpEye",
        "503": "too many requests; try again later",
    }
)
MODEL_ERRORS = _errors(**{"404": "no such model, or no such version of it"})
_TOKEN_ERROR = _errors(**{"401": "a token is needed"})


def _operation(
    body: dict[str, Any], response: dict[str, Any], *, query: list[Any], **errors: str
) -> dict[str, Any]:
    """The options of a route that predicts."""
    errors = {
        "431": "a form's part has too long a header",
        "504": "no answer in time",
        **errors,
    }
    ok = {200: {"description": "the predictions", "content": response}}
    extra = {"requestBody": {"required": True, "content": body}, "parameters": query}
    return {"responses": {**ok, **_errors(**errors)}, "openapi_extra": extra}


_FILE = {"type": "string", "format": "binary"}
_FILES = {"type": "array", "items": _FILE, "minItems": 1}
_TOP = {"type": "integer", "minimum": 1, "default": 5, "description": "how many classes to name"}
_FILE_BYTES = {"schema": _FILE}
_BASE64_LIST = {"type": "array", "items": _BASE64, "minItems": 1}
_VALUE_RANGE = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 2,
    "description": "the pixels' values of black and white: [0, 1] or [0, 255]",
}
_DATA_FORMAT = {"type": "string", "enum": [*DATA_FORMATS], "default": DATA_FORMATS[0]}
_PIXEL_PARAMETERS = {"value_range": _VALUE_RANGE, "data_format": _DATA_FORMAT}

PREDICT = _operation(
    {
        "multipart/form-data": {
            "schema": _object(file=_FILES, top=_TOP) | {"required": ["file"]},
        },
        **_json(
            _object(image=_BASE64, images=_BASE64_LIST, top=_TOP)
            | {"oneOf": [{"required": ["image"]}, {"required": ["images"]}]}
        ),
        "image/*": _FILE_BYTES,
        "application/octet-stream": _FILE_BYTES,
    },
    _json(_object(predictions={"type": "array", "items": _RESULT})),
    query=[{"name": "top", "in": "query", "required": False, "schema": _TOP}],
    **{"422": "none of the images can be read"},
)

_INSTANCE = {"description": '{"b64": text}, or pixels as nested lists [H][W][3]'}
_PROBS = {"type": "array", "items": _SCORE, "description": "a probability a class"}

INSTANCES = _operation(
    _json(
        _object(instances={"type": "array", "items": _INSTANCE}, inputs={}, **_PIXEL_PARAMETERS)
        | {"oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}]}
    ),
    _json(_object(predictions={"type": "array", "items": _PROBS}, outputs={})),
    query=[],
)


def _tensors(*datatypes: str) -> dict[str, Any]:
    tensor = _object(
        name=_TEXT,
        datatype={"type": "string", "enum": list(datatypes)},
        shape={"type": "array", "items": {"type": "integer"}},
        data={"type": "array", "items": {}},
        parameters={"type": "object"},
    )
    return {"type": "array", "items": tensor}


INFER = _operation(
    _json(
        _object(
            id=_TEXT,
            inputs=_tensors("BYTES", *DTYPES) | {"minItems": 1, "maxItems": 1},
            parameters=_object(**_PIXEL_PARAMETERS),
        )
        | {"required": ["inputs"]}
    ),
    _json(_object(model_name=_TEXT, id=_TEXT, outputs=_tensors("FP32", "BYTES")))
    | {"application/octet-stream": {"schema": _FILE}},
    query=[],
)


def require_token(app: FastAPI) -> None:
    """Declare in the description that requests need a token."""
    build_description = app.openapi

    def with_token() -> dict[str, Any]:
        description = build_description()
        components = description.setdefault("components", {})
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"bearer": []}]
        for operations in description["paths"].values():
            for operation in operations.values():
                operation["responses"] |= {"401": _TOKEN_ERROR[401]}
        return description

    app.openapi = with_token  # type: ignore[method-assign]
