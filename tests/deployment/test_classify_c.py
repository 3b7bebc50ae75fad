"""The C program of a deployed folder, built and run: its codes are Python's, and it refuses what is no image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import ai_edge_litert
import numpy as np
import pytest
from oneop import convert, weights
from smallnet import SHAPE, batch, small_tflite
from test_deploy import variants
from tiny import CLASSES, SIZE, tiny_int8

from octavo.analysis.tasks.task import gives_probabilities
from octavo.data.preprocess import Preprocess
from octavo.deployment import carray
from octavo.deployment.folder import deploy
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.rewrite.equality import pictures
from octavo.runtime.litert import Kernels, Model
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph

pytestmark = pytest.mark.slow

LITERT = Path(ai_edge_litert.__path__[0])
LIBRARY = LITERT / "libLiteRt.so"
FAMILIES: tuple[Kernels, Kernels] = ("xnnpack", "reference")
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


def built(folder: Path, graph: Graph, preprocess: Preprocess, classes: tuple[str, ...] = CLASSES) -> Path:
    """A deployed folder with its program built as the program's own first lines say, but for warnings."""
    if shutil.which("gcc") is None or shutil.which("g++") is None:
        pytest.skip("no gcc and g++ to build the program with")
    if not LIBRARY.is_file():
        pytest.skip("the wheel of ai-edge-litert for this kind of machine has no libLiteRt.so")
    folder.mkdir()
    (folder / "int8.tflite").write_bytes(graph.content)
    Sidecar(preprocess, classes).write(folder / "int8.tflite")
    made = deploy(folder / "int8.tflite", folder / "out").folder
    lines = (made / "classify.c").read_text("utf-8").splitlines()
    command = next(line[2:].strip() for line in lines if line.startswith("//     gcc"))
    command = command.replace("gcc", " ".join(("gcc", *STRICT))).replace("$LITERT", str(LITERT))
    subprocess.run(command, shell=True, check=True, cwd=made)
    return made


def classify(folder: Path, *images: Path) -> subprocess.CompletedProcess[str]:
    command = [str(folder / "classify"), *map(str, images)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def answers(folder: Path, image: Path) -> dict[str, tuple[float, int]]:
    """Probability and output code of each class, in the program's order."""
    done = classify(folder, image)
    assert done.returncode == 0, done.stderr
    found = [re.fullmatch(r" *([\d.]+)% +(-?\d+)  (.*)", line) for line in done.stdout.splitlines()]
    return {match[3]: (float(match[1]) / 100, int(match[2])) for match in found if match}


def ppm(path: Path, pixels: np.ndarray) -> Path:
    """A binary PPM or PGM image, with a comment as many programs write one."""
    height, width, channels = pixels.shape
    header = f"P{6 if channels == 3 else 5}\n# made here\n{width} {height}\n255\n".encode()
    path.write_bytes(header + pixels.tobytes())
    return path


def agrees(folder: Path, graph: Graph, preprocess: Preprocess, images: np.ndarray, labels: tuple[str, ...]) -> None:
    """Compares codes and probabilities with those of LiteRT's Python interpreter on XNNPACK."""
    model = Model(graph, "xnnpack", workers=1)
    raw: dict[int, np.ndarray] = {}
    inputs = model.input.encode(preprocess.apply(images))
    model.each(inputs, lambda place, outputs: raw.__setitem__(place, outputs[0].ravel().copy()))
    assert len(np.unique(np.stack(list(raw.values())), axis=0)) > len(images) // 2
    for place, image in enumerate(images):
        found = answers(folder, ppm(folder / "image.ppm", image))
        (folder / "image.raw").write_bytes(image.tobytes())
        assert answers(folder, folder / "image.raw") == found
        real = model.outputs[0].decode(raw[place]).astype(np.float64)
        if not gives_probabilities(graph):
            real = np.exp(real) / np.exp(real).sum()
        codes = raw[place].tolist()
        if len(codes) == 1:
            codes, real = codes * 2, np.array([1 - real[0], real[0]])
        assert [found[label][1] for label in labels] == codes
        assert np.allclose([found[label][0] for label in labels], real, rtol=0, atol=1e-6)
        shares = [share for share, _ in found.values()]
        assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("name", ["int8", "logits", "uint8", "bgr"])
def test_its_codes_are_those_of_pythons_xnnpack(tmp_path: Path, name: str) -> None:
    graph, preprocess = variants()[name]
    folder = built(tmp_path / "here", graph, preprocess)
    agrees(folder, graph, preprocess, pictures((SIZE, SIZE, 3), 12), CLASSES)


def quantized(content: bytes, images: np.ndarray) -> Graph:
    graph = Graph(content)
    return Graph(quantize(graph, calibrate(graph, images)).content)


def test_the_codes_of_a_deeper_network_are_those_of_pythons_xnnpack(tmp_path: Path) -> None:
    graph, preprocess = quantized(small_tflite(), batch()), Preprocess(SHAPE[1:3])
    labels = (*CLASSES, "a fourth")
    folder = built(tmp_path / "here", graph, preprocess, labels)
    images = pictures(SHAPE[1:], 12)
    agrees(folder, graph, preprocess, images, labels)
    # Kernel families differ on these images: the program is seen to run XNNPACK, and not the reference kernels.
    seen, reference = (Model(graph, name, workers=1).predict(preprocess.apply(images)) for name in FAMILIES)
    assert not np.array_equal(seen, reference)


def test_gray_images_and_one_sigmoid(tmp_path: Path) -> None:
    import tensorflow as tf

    def network(x):  # type: ignore[no-untyped-def]
        return tf.sigmoid(
            tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 1, 1, seed=3), 1, "SAME")), [1, 2]) * 8
        )

    preprocess, images = Preprocess((8, 8), channels="gray"), pictures((8, 8, 1), 12)
    graph = quantized(convert(network, (1, 8, 8, 1)), preprocess.apply(images))
    folder = built(tmp_path / "here", graph, preprocess, ("no", "yes"))
    agrees(folder, graph, preprocess, images, ("no", "yes"))


def test_labels_of_any_letters_come_out_as_they_are(tmp_path: Path) -> None:
    labels = ('a "quoted" \\ one', "Bär ??/ 熊", "%s%d")
    folder = built(tmp_path / "here", tiny_int8(), Preprocess((SIZE, SIZE)), labels)
    assert set(answers(folder, ppm(folder / "a.ppm", pictures((SIZE, SIZE, 3), 1)[0]))) == set(labels)


def test_it_compiles_as_cplusplus_too(tmp_path: Path) -> None:
    folder = built(tmp_path / "here", tiny_int8(), Preprocess((SIZE, SIZE)))
    command = ["g++", "-x", "c++", *STRICT[:2], "-Werror", "-fsyntax-only", str(folder / "classify.c")]
    subprocess.run(command, check=True)


def test_what_is_no_image_of_the_models_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = built(tmp_path / "here", tiny_int8(), Preprocess((SIZE, SIZE)))
    whole = ppm(tmp_path / "whole.ppm", pictures((SIZE, SIZE, 3), 1)[0]).read_bytes()
    pixels = whole[-SIZE * SIZE * 3 :]
    cases = {
        "is neither a binary PPM image (P6) nor 192 raw bytes": [
            b"",
            b"P6",
            pixels[1:],
            b"\x89PNG" + pixels,
            b"P5" + whole,
        ],
        "is 9 pixels wide and 8 high; the model takes 8 and 8": [whole.replace(b"8 8", b"9 8", 1)],
        "is 4000 pixels wide and 3000 high": [b"P6 4000 3000 255 " + bytes(100_000)],
        "has values up to 65535": [whole.replace(b"255", b"65535", 1)],
        "has less than the 192 bytes": [whole[:-1]],
        "has more than the 192 bytes": [whole + b"\n"],
        "The header of": [b"P6\n8", b"P6\n8 x", b"P6\n-8 8 255\n", b"P6\n8 8 255", b"P6\n# only a comment"],
    }
    for message, contents in cases.items():
        for content in contents:
            (tmp_path / "image").write_bytes(content)
            done = classify(folder, tmp_path / "image")
            assert (done.returncode, done.stdout) == (2, "")
            assert message in done.stderr and len(done.stderr.splitlines()) == 1
    os.mkfifo(tmp_path / "pipe")
    odd = {tmp_path / "none.ppm": "No such file", tmp_path: "Is a directory", tmp_path / "pipe": "no regular file"}
    for image, message in odd.items():
        done = classify(folder, image)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert classify(folder).returncode == 2


def compiled(folder: Path) -> None:
    command = f"gcc -o classify classify.c model_data.cc {LIBRARY} -Wl,-rpath,{LITERT} -lm"
    subprocess.run(command, shell=True, check=True, cwd=folder)


def test_fewer_labels_than_outputs_are_noticed(tmp_path: Path) -> None:
    folder = built(tmp_path / "here", tiny_int8(), Preprocess((SIZE, SIZE)))
    image, facts = ppm(folder / "a.ppm", pictures((SIZE, SIZE, 3), 1)[0]), folder / "model_facts.h"
    whole = facts.read_text("utf-8")
    # One label less, and one class less.
    for text in (
        whole.replace('    "red",\n', ""),
        whole.replace('    "red",\n', "").replace("CLASSES 3", "CLASSES 2"),
    ):
        assert text != whole
        facts.write_text(text, "utf-8")
        compiled(folder)
        done = classify(folder, image)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "classify: model_facts.h is damaged: it names fewer labels than the model has outputs.\n"
        )


def test_damaged_models_are_one_sentence_or_an_answer(tmp_path: Path) -> None:
    folder = built(tmp_path / "here", tiny_int8(), Preprocess((SIZE, SIZE)))
    image, rng, codes = ppm(folder / "a.ppm", pictures((SIZE, SIZE, 3), 1)[0]), np.random.default_rng(0), []
    for _ in range(20):
        content = bytearray(tiny_int8().content)
        for place in rng.integers(0, len(content), rng.integers(1, 3)):
            content[place] = rng.integers(0, 256)
        (folder / "model_data.cc").write_text(carray.source(bytes(content)), "utf-8")
        compiled(folder)
        done = classify(folder, image)
        codes.append(done.returncode)
        assert done.returncode in (0, 1), done
        # LiteRT has notices of its own.
        said = [line for line in done.stderr.splitlines() if line.startswith("classify: ")]
        assert len(said) == done.returncode, done
    assert set(codes) == {0, 1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_answer_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    folder = built(tmp_path / "here", tiny_int8(), Preprocess((SIZE, SIZE)))
    image = ppm(folder / "a.ppm", pictures((SIZE, SIZE, 3), 1)[0])
    for redirection, said in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        command = ["bash", "-c", f"'{folder / 'classify'}' {image} {redirection}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == f"classify: The answer could not be written: {said}."


def test_facts_of_another_model_are_noticed(tmp_path: Path) -> None:
    folder = built(tmp_path / "here", tiny_int8(), Preprocess((SIZE, SIZE)))
    facts = folder / "model_facts.h"
    facts.write_text(facts.read_text("utf-8").replace("MODEL_OUTPUTS 3", "MODEL_OUTPUTS 2"), "utf-8")
    compiled(folder)
    done = classify(folder, ppm(folder / "a.ppm", pictures((SIZE, SIZE, 3), 1)[0]))
    assert done.returncode == 1 and "model_facts.h is of another model" in done.stderr
