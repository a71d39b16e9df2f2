"""The tutorial notebook: it runs completely, and its stored output is reproducible."""

import os
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def outputs(notebook: object) -> str:
    """The text that all code cells print or show."""
    texts = []
    for cell in notebook.cells:  # type: ignore[attr-defined]
        for output in cell.get("outputs", ()):
            texts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(texts)


def test_the_stored_output_is_complete_and_names_no_machine() -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in codes)
    assert not any(output.output_type == "error" for cell in codes for output in cell.outputs)
    text = outputs(notebook)
    assert "test images are right" in text and "digits.sharpeye" in text
    assert str(Path.home()) not in text and "/tmp/" not in text


@pytest.mark.slow
def test_the_tutorial_leads_from_a_folder_to_a_model(
    tmp_path: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    kernelspec = pytest.importorskip("jupyter_client.kernelspec")
    # The notebook's kernel is this Python, whatever kernels the machine has.
    spec = kernelspec.KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    )
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", lambda *_: spec)
    scripts = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SHARPEYE_CACHE", str(session_cache))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert (tmp_path / "digits.sharpeye").is_file()
    assert "test images are right" in outputs(notebook)
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()
