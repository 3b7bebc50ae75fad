"""The place of a process among those that train together: which one it is, of how many, and where they meet.

A launcher tells it in the environment. Octavo starts no process on another machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from octavo.base.errors import OctavoError

# Octavo's own variables, which go before those of every launcher.
RANK, WORLD, COORDINATOR = "OCTAVO_RANK", "OCTAVO_WORLD_SIZE", "OCTAVO_COORDINATOR"

# Ports above those that systems give out. Two jobs on one machine should not take the same one.
_PORTS = range(61440, 65536)


@dataclass(frozen=True)
class Place:
    """The place of a process among those that train together.

    Args:
        rank: Which process this is, from 0. The process of rank 0 writes all files.
        world: How many processes train together.
        coordinator: ``HOST:PORT`` of the process of rank 0, which listens there. Empty for one process.
        local: Which process of this machine this is, from 0. It trains on the accelerator with this number. None where
            the launcher does not say: then it trains on all that it sees.

    Raises:
        OctavoError: There is no such rank, or the coordinator is not ``HOST:PORT``.

    Example:
        >>> Place(1, 2, "10.0.0.1:6790")
        Place(rank=1, world=2, coordinator='10.0.0.1:6790', local=None)
    """

    rank: int = 0
    world: int = 1
    coordinator: str = ""
    local: int | None = None

    def __post_init__(self) -> None:
        if self.world < 1 or not 0 <= self.rank < self.world:
            raise OctavoError(
                f"There is no process {self.rank} of {self.world}: ranks run from 0 to the number of processes less 1.",
                f"Check {RANK} and {WORLD}, or what the launcher sets.",
            )
        if self.world > 1 and not re.fullmatch(r"\S+:[0-9]{1,5}", self.coordinator):
            raise OctavoError(
                f"The {self.world} processes must know where to meet, and {COORDINATOR} is '{self.coordinator}'.",
                f"Set {COORDINATOR} to HOST:PORT of the process of rank 0, such as 10.0.0.1:6790, for all of them.",
            )

    @property
    def environment(self) -> dict[str, str]:
        """The variables from which `place` reads this place again."""
        local = {} if self.local is None else {"LOCAL_RANK": str(self.local)}
        return {RANK: str(self.rank), WORLD: str(self.world), COORDINATOR: self.coordinator, **local}


def place(environment: Mapping[str, str]) -> Place:
    """Where a launcher has put this process; the place of one process alone if no launcher says otherwise.

    Octavo's own variables go first, then those of torchrun, of MPI (Open MPI, MPICH, Intel MPI) and of Slurm's `srun`.
    Kubernetes counts the pods of an indexed Job (`JOB_COMPLETION_INDEX`), and does not tell a pod how many there are:
    with `OCTAVO_WORLD_SIZE` its index is the rank.

    Args:
        environment: Variables by name, such as `os.environ`.

    Raises:
        OctavoError: A variable is no whole number, a rank is missing, or nothing says where the processes meet.

    Example:
        >>> place({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "6790"})
        Place(rank=1, world=2, coordinator='node1:6790', local=None)
        >>> place({})
        Place(rank=0, world=1, coordinator='', local=None)
    """
    given = {name: value for name, value in environment.items() if value}
    for rank, world, local in _LAUNCHERS:
        if world in given and rank in given:
            if number(given, world) == 1:
                return Place()
            here = number(given, local) if local in given else None
            return Place(number(given, rank), number(given, world), _coordinator(given), here)
    if WORLD in given and number(given, WORLD) > 1:
        raise OctavoError(f"{WORLD} is {given[WORLD]}, and nothing says which of them this is.", f"Set {RANK} from 0.")
    return Place()


# The variables of each launcher: the rank, the number of processes, and the rank on this machine. The first pair that
# is there counts: the launcher that was started last.
_LAUNCHERS = (
    (RANK, WORLD, "LOCAL_RANK"),
    ("JOB_COMPLETION_INDEX", WORLD, "LOCAL_RANK"),
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    # Those of a step, which `srun` starts: a batch script itself is one process, whatever the number of its tasks.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)


def number(given: Mapping[str, str], name: str) -> int:
    """The whole number that a variable holds.

    Raises:
        OctavoError: It holds something else.
    """
    try:
        return int(given[name])
    except ValueError:
        raise OctavoError(f"The variable {name} should be a whole number, and is '{given[name]}'.") from None


def _coordinator(given: Mapping[str, str]) -> str:
    """Where the processes meet, as far as the environment tells."""
    if COORDINATOR in given:
        return given[COORDINATOR]
    if "MASTER_ADDR" in given and "MASTER_PORT" in given:
        # torchrun listens on that port itself, and leaves the next one to what it starts.
        taken = given.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return f"{given['MASTER_ADDR']}:{number(given, 'MASTER_PORT') + taken}"
    nodes = given.get("SLURM_STEP_NODELIST") or given.get("SLURM_JOB_NODELIST")
    if nodes is not None and "SLURM_JOB_ID" in given:
        step = given.get("SLURM_STEP_ID", "0")
        job = number(given, "SLURM_JOB_ID") + (int(step) if step.isdigit() else 0)
        return f"{_first_node(nodes)}:{_PORTS[job % len(_PORTS)]}"
    return ""


def _first_node(nodes: str) -> str:
    """The first machine of a list as Slurm writes it: ``gpu[003-004,7],login`` starts with ``gpu003``."""
    return re.sub(r"\[([^,\-\]]+)[^\]]*\]", r"\1", nodes).partition(",")[0]
