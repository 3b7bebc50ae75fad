"""Runs int8 models on LiteRT for ARM64, under QEMU, and compares every output code with this machine's.

python scripts/arm64.py int8.tflite --root .arm64                    # synthetic images
python scripts/arm64.py int8.tflite --root .arm64 --data photos/     # test images
python scripts/arm64.py int8.tflite --root .arm64 --cpu cortex-a53   # another processor than the Cortex-A76

The folder ROOT is filled at the first run and used again at later ones: Debian's Python for ARM64, and the wheels of
ai-edge-litert and NumPy in the versions that are installed here. Nothing outside of it is changed, and no rights are
needed beyond the user's own. Needs qemu-user-static (or qemu-user), and Debian's apt-get and dpkg-deb.

Must be equal to the last bit: the reference kernels, and XNNPACK where it takes every op. An op that it leaves runs in
a built-in kernel, which may be another one on ARM, as Softmax is; so a model that ends in Softmax is compared without
it too. Exit code 1: what must be equal is not, or a model gives one output for all images, which would hide
differences. 2: something is missing or wrong.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from octavo.base.errors import MissingDependencyError, ModelError, OctavoError
from octavo.base.files import write_json
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.split import draw_test
from octavo.rewrite.equality import pictures
from octavo.rewrite.strip import logits
from octavo.runtime.benchmark import undelegated
from octavo.runtime.litert import Model
from octavo.source.load import Loaded, load_model, preprocess_for
from octavo.tflite.graph import Graph

PACKAGES = ("ai-edge-litert", "numpy")
DEBIAN = ("python3", "libstdc++6")
# Part numbers of Arm's, as /proc/cpuinfo has them. LiteRT believes them: with the wrong one it takes instructions that
# the processor lacks. QEMU 7.2 computes SVE wrongly, which of these only `max` has.
CPUS = {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b", "neoverse-n1": "0xd0c", "max": "0xd0b"}
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 0

"""
HEAD = """\
| model | kernels | must be equal | images | different outputs | images that differ | largest, codes |
|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Row:
    """What two machines said of the same images on one kernel family.

    Args:
        family: The kernel family.
        must: Whether they have to be equal.
        images: How many images.
        distinct: How many different outputs this machine gave.
        differing: How many images got another output on the other machine.
        largest: The largest difference, in codes.
    """

    family: str
    must: bool
    images: int
    distinct: int
    differing: int
    largest: int

    @property
    def proved(self) -> bool:
        """Whether what must be equal is: one output for all images would hide differences."""
        return not self.must or (self.differing == 0 and self.distinct > 1)


def compare(here: dict[str, np.ndarray], there: dict[str, np.ndarray], must: tuple[str, ...]) -> list[Row]:
    """Output codes ``(images, outputs)`` of each kernel family, on two machines; `must` names the families to equal."""
    rows = []
    for family, codes in here.items():
        apart = np.abs(codes.astype(np.int64) - there[family])
        distinct, differing = len(np.unique(codes, axis=0)), int(np.any(apart, axis=1).sum())
        rows.append(Row(family, family in must, len(codes), distinct, differing, int(apart.max())))
    return rows


def emulator() -> str:
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        if found := shutil.which(name):
            return found
    raise MissingDependencyError(
        "QEMU for programs of ARM64 is missing.", "Install it: apt-get install qemu-user-static"
    )


def call(command: list[str], what: str) -> str:
    """Runs a command; its last words become the error's where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise OctavoError(f"{what}: {last}")
    return done.stdout


def set_up(root: Path) -> Path:
    """Fills the folder, unless it holds what is wanted already; returns its Python."""
    wanted = {name: version(name) for name in PACKAGES}
    stamp, system = root / "arm64.json", root / "system"
    if stamp.is_file():
        held = json.loads(stamp.read_text("utf-8"))
        if held.get("packages") == wanted:
            return root / held["python"]
    elif root.exists() and any(root.iterdir()):
        raise OctavoError(f"'{root}' holds other things than this script's.", "Name a folder that is new or empty.")
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingDependencyError(f"{tool} is missing.", "Run this on Debian: Python for ARM64 is Debian's.")
    root.mkdir(parents=True, exist_ok=True)
    write_json(stamp, {"packages": None})
    for name in ("system", "packages", "apt"):
        shutil.rmtree(root / name, ignore_errors=True)
    print(f"Fetching Python, LiteRT and NumPy for ARM64 into '{root}' (200 MB, about a minute) ...", file=sys.stderr)
    unpack(root / "apt", system)
    python = next((system / "usr/bin").glob("python3.[0-9]*[0-9]"))
    install(root / "packages", python.name.removeprefix("python"), wanted)
    shutil.rmtree(root / "apt")
    write_json(stamp, {"packages": wanted, "python": str(python.relative_to(root))})
    return python


def unpack(apt: Path, system: Path) -> None:
    """Debian's Python for ARM64 with all that it needs, by an apt of its own beside the system's."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
        "Dir::State": apt,
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
    }
    command = ["apt-get", *(f"-o{key}={value}" for key, value in settings.items())]
    missing = "Debian's packages for ARM64 could not be had"
    call([*command, "update"], missing)
    call([*command, "install", "--yes", "--download-only", "--no-install-recommends", *DEBIAN], missing)
    for archive in sorted((apt / "cache/archives").glob("*.deb")):
        call(["dpkg-deb", "--extract", str(archive), str(system)], f"{archive.name} could not be unpacked")


def install(folder: Path, python: str, wanted: dict[str, str]) -> None:
    """The wheels, for another machine than this one."""
    # Every platform of a wheel that glibc 2.36 (Debian 12) can load.
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, 37)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"--target={folder}"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
    command += [f"--abi=cp{python.replace('.', '')}", "--platform=manylinux2014_aarch64"]
    call([*command, *(f"{name}=={found}" for name, found in wanted.items())], "The wheels for ARM64 could not be had")


def inputs_of(loaded: Loaded, data: Path | None, count: int) -> np.ndarray:
    """Raw inputs of a model."""
    model = Model(loaded.graph, workers=1)
    if model.input.dtype == "float32":
        raise ModelError(f"{loaded.graph.name} takes floats.", "Give an int8 model: `octavo quantize`.")
    preprocess = preprocess_for(loaded)
    if not isinstance(preprocess, Preprocess):
        raise ModelError(f"{loaded.graph.name} does not take one image.", "Give an image classifier.")
    if data is None:
        pixels = pictures(preprocess.shape, count)
    else:
        pixels = preprocess.resize(draw_test(open_dataset("path", data), count, 0).images)
    return model.input.encode(preprocess.normalize(pixels))


def versions(graph: Graph) -> dict[str, Graph]:
    """The model, and the model without its final Softmax where it has one."""
    try:
        return {"": graph, " without Softmax": logits(graph)}
    except ModelError:
        return {"": graph}


def run(command: list[str], folder: Path, where: str) -> dict[str, np.ndarray]:
    """Output codes of each kernel family, by `codes.py`, of the model and inputs in a folder."""
    files = [folder / name for name in ("model.tflite", "inputs.npy", "codes.npz")]
    call(
        [*command, *map(str, (Path(__file__).with_name("codes.py"), *files))], f"The model could not be run on {where}"
    )
    with np.load(files[-1]) as found:
        return dict(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--root", type=Path, required=True, help="folder for ARM64's Python and LiteRT; kept")
    parser.add_argument("--data", type=Path, help="images; synthetic ones by default")
    parser.add_argument("--images", type=int, default=16, help="how many")
    parser.add_argument("--cpu", choices=CPUS, default="cortex-a76", help="the processor that QEMU plays")
    given = parser.parse_args()
    try:
        found = compared(given.models, given.root.absolute(), given.data, given.images, given.cpu)
    except OctavoError as error:
        print(f"arm64: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0 if all(row.proved for row in found) else 1


def compared(models: list[Path], root: Path, data: Path | None, images: int, cpu: str) -> list[Row]:
    """Runs every model on both machines; prints the table."""
    if images < 2:
        raise OctavoError(f"--images is {images}; two are the fewest that can differ.")
    qemu = emulator()
    loaded = [load_model(model) for model in models]
    raw = [inputs_of(one, data, images) for one in loaded]
    python = set_up(root)
    system = root / "system"
    (system / "proc").mkdir(exist_ok=True)
    (system / "proc/cpuinfo").write_text(CPUINFO.format(part=CPUS[cpu]), "ascii")
    settings = {"PYTHONHOME": system / "usr", "PYTHONPATH": root / "packages", "PYTHONDONTWRITEBYTECODE": 1}
    guest = [qemu, "-L", str(system), "-cpu", cpu]
    guest += [part for key, value in settings.items() for part in ("-E", f"{key}={value}")] + [str(python)]
    kind = call([*guest, "-c", "import platform; print(platform.machine())"], "QEMU could not run Python").strip()
    if kind != "aarch64":
        raise OctavoError(f"The root's Python says it runs on {kind}, not aarch64.", f"Remove '{root}', and try again.")
    emulated = call([qemu, "--version"], "QEMU").split("version ")[1].split()[0]
    print(
        f"ai-edge-litert {version('ai-edge-litert')}, NumPy {version('numpy')}; {platform.machine()} beside ARM64: "
        f"{cpu} of QEMU {emulated}, Python {python.name.removeprefix('python')} of Debian\n\n{HEAD}",
        flush=True,
    )
    found = []
    for path, one, inputs in zip(models, loaded, raw, strict=True):
        for what, graph in versions(one.graph).items():
            must = ("reference",) if undelegated(graph) else ("reference", "xnnpack")
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                (folder / "model.tflite").write_bytes(graph.content)
                np.save(folder / "inputs.npy", inputs)
                here = run([sys.executable], folder, "this machine")
                rows = compare(here, run(guest, folder, f"ARM64 ({cpu})"), must)
            for row in rows:
                cells = path.name + what, row.family, "yes" if row.must else "no", row.images, row.distinct
                print("|", " | ".join(map(str, (*cells, row.differing, row.largest))), "|", flush=True)
            found += rows
    return found


if __name__ == "__main__":
    sys.exit(main())
