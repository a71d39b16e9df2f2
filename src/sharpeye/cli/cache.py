"""`sharpeye cache info` and `sharpeye cache clear`."""

import shutil

from typer import Typer

from sharpeye.cli import console
from sharpeye.core.storage import cache_root, os_errors_at
from sharpeye.data import thumbnail
from sharpeye.data.pixel_file import iter_pixel_sets
from sharpeye.data.vector_store import iter_vector_folders

app = Typer(help="Show or clear the cache.", add_completion=False, rich_markup_mode=None)


@app.command()
def info() -> None:
    """Show the cache's folder, contents and size."""
    root = cache_root()
    print(f"cache: {console.show(str(root))}")
    total = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    for folder, key, size in iter_vector_folders():
        text = f"{key.get('backbone', '?')}, view {key.get('view', '?')}"
        print(f"  features  {_mebibytes(size):>10}  {text}  ({folder.name})")
    for folder, key, size in iter_vector_folders(root / thumbnail.FOLDER):
        text = "ranges of brightness" if "range" in key else "thumbnails for finding copies"
        print(f"  looks     {_mebibytes(size):>10}  {text}  ({folder.name})")
    for file, header, size in iter_pixel_sets():
        spec = header.get("input", {})
        text = f"{header.get('pictures', '?')} images"
        text += f", {spec.get('width', '?')} x {spec.get('height', '?')} px"
        print(f"  pixels    {_mebibytes(size):>10}  {text}  ({file.stem})")
    for file in sorted((root / "backbones").glob("*.onnx")):
        print(f"  backbone  {_mebibytes(file.stat().st_size):>10}  {file.name}")
    print(f"  all       {_mebibytes(total):>10}")


@app.command()
def clear() -> None:
    """Delete the cache; later commands compute its content again."""
    root = cache_root()
    folders = ("features", thumbnail.FOLDER, "pixels", "backbones", "splits", "downloads")
    for name in (*folders, "weights", "studio"):  # studio: thumbnails of its lists
        with os_errors_at(root / name):
            if (root / name).exists():
                shutil.rmtree(root / name)
    print(f"cleared {console.show(str(root))}")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
