"""Several runs of one recipe with different seeds: each run's models, and the differences over all runs.

    for s in 0 1 2 3 4; do octavo run cifar10 --set quantize.method=qat --set seed=$s --out runs/seed-$s; done
    python bench/seeds.py runs/seed-*
    python bench/seeds.py runs/lite-? --beside runs/mobilenet-?    # other runs with the same seeds, in their order

The runs share the test images. An image's differences are averaged over the runs first, so that the interval is over
the images; it says nothing of other seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pairs import mean, paired, percent, points

from octavo.base.stats import Interval, proportion

Right = dict[str, npt.NDArray[np.bool_]]
PAIRS = (
    ("float", "ptq"),
    ("float", "control"),
    ("control", "int8"),
    ("float", "int8"),
    ("ptq", "int8"),
    ("other float", "float"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories of `octavo run`")
    parser.add_argument("--beside", type=Path, nargs="+", default=[], help="a run to compare with for each of them")
    arguments = parser.parse_args()
    runs = {path.name: right(path) for path in arguments.runs}
    if arguments.beside:
        for found, other in zip(runs.values(), arguments.beside, strict=True):
            found["other float"] = right(other)["float"]
    names = list(next(iter(runs.values())))
    pairs = [pair for pair in PAIRS if {*pair} <= {*names}]
    titles = [f"{after} minus {before}" for before, after in pairs]
    print(f"| run | {' | '.join([*names, *titles])} |")
    print("|---" * (1 + len(names) + len(titles)) + "|")
    for name, found in runs.items():
        shares = [percent(proportion(int(found[each].sum()), len(found[each]))) for each in names]
        gaps = [points(paired(found[before], found[after])) for before, after in pairs]
        print(f"| {name} | {' | '.join([*shares, *gaps])} |")
    means = [f"{np.mean([found[each].mean() for found in runs.values()]):.2%}" for each in names]
    print(f"| mean | {' | '.join([*means, *(points(pooled(list(runs.values()), *pair)) for pair in pairs)])} |")


def right(run: Path) -> Right:
    """Whether each test image is classified right, model by model, in the order of the images' names."""
    with np.load(run / "predictions.npz", allow_pickle=False) as kept:
        order = np.argsort(kept["ids"])
        names = [name for name in kept.files if name not in ("ids", "labels")]
        return {name: (kept[name].argmax(axis=1) == kept["labels"])[order] for name in names}


def pooled(runs: list[Right], before: str, after: str) -> Interval:
    """The mean difference over runs with the same images."""
    return mean(np.mean([found[after].astype(float) - found[before] for found in runs], axis=0))


if __name__ == "__main__":
    main()
