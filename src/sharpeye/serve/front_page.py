"""The page at `/`: what is served, and how to call it. It has no scripts and loads nothing."""

from html import escape

from sharpeye.core.version import __version__
from sharpeye.serve.predict_request import ServedModel

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name} - SharpEye</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto }}
pre {{ background: #f3f3f3; color: #222; padding: .8rem; overflow-x: auto }}
td {{ padding: .1rem 1rem .1rem 0 }}
</style></head><body>
<h1>{name}</h1>
<p>An image classifier of {count} classes ({model}, {width} x {height} pixels), served by
SharpEye {version}.</p>
<pre>curl -F file=@picture.jpg {root}v1/predict</pre>
<table>
<tr><td><code>POST /v1/predict</code></td><td>files, base64 or a picture's bytes</td></tr>
<tr><td><code>POST /v1/models/{name}:predict</code></td><td>TensorFlow Serving</td></tr>
<tr><td><code>POST /v2/models/{name}/infer</code></td><td>KServe and Triton</td></tr>
<tr><td><a href="openapi.json"><code>/openapi.json</code></a></td><td>for machines</td></tr>
<tr><td><a href="metrics"><code>/metrics</code></a></td><td>counts for Prometheus</td></tr>
<tr><td><a href="healthz"><code>/healthz</code></a></td><td>whether the server lives</td></tr>
</table>
<h2>Classes</h2>
<p>{class_names}</p>
</body></html>
"""

_MAX_CLASSES = 1000  # that the page lists


def front_page(served: ServedModel, base_url: str) -> str:
    """The page as HTML; `base_url` is the server's URL for the browser, with a slash at its end."""
    model = served.model
    class_names = ", ".join(escape(label) for label in model.labels[:_MAX_CLASSES])
    omitted = len(model.labels) - _MAX_CLASSES
    return _PAGE.format(
        name=escape(served.name),
        count=f"{len(model.labels):,}",
        model=escape(model.manifest.model or "a network"),
        width=model.input.width,
        height=model.input.height,
        version=__version__,
        root=escape(base_url),
        class_names=class_names + (f" and {omitted:,} more" if omitted > 0 else ""),
    )
