"""Runs docs/notebook.ipynb from top to bottom in an empty folder, and writes it with its outputs.

.venv-tools/bin/python scripts/run_notebook.py .venv/bin/python docs/notebook.ipynb

nbclient and the kernel are in the tools' environment, Octavo in its own: the kernel runs on Octavo's Python, which
finds there what it lacks. Octavo's own processes do not, so matplotlib must not draw with the notebook's backend.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"
START = "import sys; sys.path.append({tools!r}); from ipykernel.kernelapp import launch_new_instance as go; go()"


def run(python: str) -> nbformat.NotebookNode:
    """The notebook with its outputs, but for what libraries log.

    Args:
        python: The Python of an environment with Octavo, of the same version as this one.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as name:
        kernel = Path(name) / "kernels" / "octavo"
        kernel.mkdir(parents=True)
        command = [python, "-c", START.format(tools=sysconfig.get_path("purelib")), "-f", "{connection_file}"]
        environment = {"MPLBACKEND": "agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
        spec = {"argv": command, "display_name": "Octavo", "language": "python", "env": environment}
        (kernel / "kernel.json").write_text(json.dumps(spec))
        os.environ["JUPYTER_PATH"] = name
        folder = Path(name) / "work"
        folder.mkdir()
        client = NotebookClient(
            notebook, timeout=300, kernel_name="octavo", record_timing=False, resources={"metadata": {"path": folder}}
        )
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                # Pillow gives each picture twice.
                output.get("data", {}).pop("image/jpeg", None)
    # What nbclient found of the kernel, its Python's version among it, would change with every machine.
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    # An absolute path, but not of what a link leads to: that would leave the environment.
    nbformat.write(run(str(Path(sys.argv[1]).absolute())), sys.argv[2])
