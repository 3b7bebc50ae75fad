"""The web page's own arithmetic, run by Node, against the Python packages that it stands for."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

PAGE = Path(__file__).parents[2] / "src" / "octavo" / "deployment" / "page"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
# Source and target: equal, larger, smaller, one side only, and tall ones, which Pillow 13 takes columns first.
SIZES = [(24, 24, 24, 24), (24, 31, 96, 80), (121, 83, 32, 32), (31, 40, 96, 40), (61, 130, 32, 32), (7, 200, 20, 24)]


def node(script: str, given: Any) -> Any:
    """Runs a module that reads one JSON value and prints another."""
    read = "let text = ''; for await (const part of process.stdin) text += part;\nconst given = JSON.parse(text);\n"
    command = ["node", "--input-type=module", "-e", read + script]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_the_page_resizes_as_pillow_does_bit_for_bit(interpolation: str) -> None:
    if int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("Pillow resizes tall images otherwise before version 13")
    rng = np.random.default_rng(0)
    given, wanted = [], []
    for width, height, new_width, new_height in SIZES:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        data = base64.b64encode(np.dstack([image, np.full((height, width), 255, np.uint8)]).tobytes()).decode()
        for channels in ("rgb", "bgr", "gray"):
            picture = Image.fromarray(image).convert("L" if channels == "gray" else "RGB")
            resized = np.asarray(picture.resize((new_width, new_height), Image.Resampling[interpolation.upper()]))
            wanted.append(resized[..., ::-1] if channels == "bgr" else resized)
            preprocess = {"size": [new_height, new_width], "interpolation": interpolation, "channels": channels}
            given.append({"width": width, "height": height, "data": data, "preprocess": preprocess})
    script = f"""
        import {{ toPixels }} from {json.dumps(PAGE.joinpath("resize.js").as_uri())};
        const encode = (bytes) => Buffer.from(bytes).toString("base64");
        const one = (item) => encode(toPixels({{ ...item, data: Buffer.from(item.data, "base64") }}, item.preprocess));
        console.log(JSON.stringify(given.map(one)));
    """
    for found, resized in zip(node(script, given), wanted, strict=True):
        pixels = np.frombuffer(base64.b64decode(found), np.uint8)
        assert np.array_equal(pixels, resized.ravel())
