"""Training on a Ray cluster that exists: Ray finds the machines, and starts one process of the training on each."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from octavo.base.backend import load
from octavo.base.errors import LostError, OctavoError
from octavo.base.place import WORLD, Place, number
from octavo.base.quiet import quiet

# The variables that the processes get from this one, by the start of their names.
_PASSED_ON = ("KERAS_", "OCTAVO_", "PYTHONPATH", "XLA_")


def on_ray(arguments: list[str]) -> int:
    """Runs a command of Octavo as one process on each machine of the cluster, or as many as ``OCTAVO_WORLD_SIZE`` says.

    Args:
        arguments: Those of the command.

    Returns:
        The exit code: that of the first process that failed, else 0.

    Raises:
        MissingDependencyError: Ray is not installed.
        OctavoError: There is no cluster, or it has no room.
        LostError: A process was lost.
    """
    ray = load("ray")
    try:
        with quiet():
            ray.init(os.environ.get("RAY_ADDRESS", "auto"), logging_level="ERROR")
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise OctavoError(
            f"The Ray cluster cannot be reached: {' '.join(str(error).split())[:300]}.",
            "Set RAY_ADDRESS to that of a cluster, and RAY_AUTH_MODE=token if it was started with a token; or start "
            "one on this machine: ray start --head.",
        ) from error
    nodes = sum(node["Alive"] for node in ray.nodes())
    world = number(os.environ, WORLD) if os.environ.get(WORLD) else nodes
    try:
        return _run(ray, arguments, world)
    finally:
        ray.shutdown()


def _run(ray: Any, arguments: list[str], world: int) -> int:
    total = ray.cluster_resources()
    # Each process computes on the accelerators that Ray gives it, and a CPU of its own feeds it.
    each = {"CPU": 1.0} | ({"GPU": float(total["GPU"] // world)} if total.get("GPU", 0) >= world else {})
    group = ray.util.placement_group([each] * world, strategy="SPREAD")
    if not ray.wait([group.ready()], timeout=60)[0]:
        raise OctavoError(
            f"The Ray cluster has no room for {world} processes of {each}; it has {dict(total)} in all.",
            f"Set {WORLD} to fewer, or wait until other work has ended.",
        )
    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
    part = ray.remote(_Part)
    parts = [
        part.options(
            num_cpus=each["CPU"],
            num_gpus=each.get("GPU", 0),
            scheduling_strategy=strategy(group, placement_group_bundle_index=place),
        ).remote()
        for place in range(world)
    ]
    try:
        address = ray.get(parts[0].address.remote())
        environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        places = [Place(rank, world, address) for rank in range(world)] if world > 1 else [Place()]
        work = [p.run.remote(arguments, str(Path.cwd()), environment, at) for p, at in zip(parts, places, strict=True)]
        done = ray.get(work)
    except ray.exceptions.RayError as error:
        raise LostError(f"A process on the Ray cluster was lost: {' '.join(str(error).split())[:200]}.") from error
    finally:
        ray.util.remove_placement_group(group)
    sys.stdout.write(done[0][1])
    return next((code for code, _ in done if code), 0)


class _Part:
    """One process of the training, as an actor of Ray."""

    def address(self) -> str:
        """Where the others reach this machine, at a port that is free."""
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{load('ray').util.get_node_ip_address()}:{free.getsockname()[1]}"

    def run(self, arguments: list[str], folder: str, environment: dict[str, str], here: Place) -> tuple[int, str]:
        """Runs the command to its end; gives its exit code, and what it wrote on standard output."""
        import tempfile

        from octavo.cli.launch import run

        os.environ.update(environment)
        with tempfile.TemporaryFile("w+") as out:
            try:
                code = run(arguments, here, cwd=folder, stdout=out)
            except LostError as error:
                sys.stderr.write(f"octavo: {error}\n")
                code = error.code
            out.seek(0)
            return code, out.read()
