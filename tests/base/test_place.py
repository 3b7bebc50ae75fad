"""Which process of several this is, from what launchers set."""

from __future__ import annotations

import pytest

from octavo.base.errors import OctavoError
from octavo.base.place import Place, place

OWN = {"OCTAVO_RANK": "1", "OCTAVO_WORLD_SIZE": "3", "OCTAVO_COORDINATOR": "10.0.0.1:6790"}
TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "node1", "MASTER_PORT": "29400"}
# As `srun -n 4` in a job of two machines sets it.
SLURM = {
    "SLURM_JOB_ID": "41",
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Place()),
        (OWN, Place(1, 3, "10.0.0.1:6790")),
        (TORCHRUN, Place(2, 4, "node1:29400", 0)),
        ({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"}, Place(2, 4, "node1:29401", 0)),
        (SLURM, Place(3, 4, "gpu07:61483", 1)),
        ({**OPEN_MPI, "OCTAVO_COORDINATOR": "[::1]:6790"}, Place(1, 2, "[::1]:6790", 1)),
        # Under Slurm, mpirun starts one step with a task per machine, and Slurm tells where the first machine is.
        ({**SLURM, **OPEN_MPI, "SLURM_STEP_NUM_TASKS": "1"}, Place(1, 2, "gpu07:61483", 1)),
        ({**MPICH, "OCTAVO_COORDINATOR": "head:1"}, Place(1, 2, "head:1", 0)),
        (
            {"JOB_COMPLETION_INDEX": "1", "OCTAVO_WORLD_SIZE": "2", "OCTAVO_COORDINATOR": "train-0.train:6790"},
            Place(1, 2, "train-0.train:6790"),
        ),
        # What is set by hand goes before what a launcher sets.
        ({**TORCHRUN, **SLURM, **OWN, "LOCAL_RANK": ""}, Place(1, 3, "10.0.0.1:6790")),
        # An indexed Job whose pods do not train together, a batch script with several tasks, a stray variable.
        ({"JOB_COMPLETION_INDEX": "4"}, Place()),
        ({"SLURM_JOB_ID": "41", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Place()),
        ({"RANK": "3"}, Place()),
        ({"RANK": "0", "WORLD_SIZE": "1"}, Place()),
    ],
)
def test_the_place_that_a_launcher_gives(environment: dict[str, str], wanted: Place) -> None:
    assert place(environment) == wanted


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({**OWN, "OCTAVO_RANK": "3"}, "no process 3 of 3"),
        ({**OWN, "OCTAVO_RANK": "first"}, "OCTAVO_RANK should be a whole number, and is 'first'"),
        ({**OWN, "OCTAVO_RANK": ""}, "Set OCTAVO_RANK"),
        ({**OWN, "OCTAVO_COORDINATOR": "10.0.0.1"}, "HOST:PORT"),
        (OPEN_MPI, "OCTAVO_COORDINATOR is ''"),
    ],
)
def test_an_environment_that_does_not_say_enough(environment: dict[str, str], said: str) -> None:
    with pytest.raises(OctavoError, match=said.replace("(", r"\(")):
        place(environment)


@pytest.mark.parametrize("nodes", ["n1", "n1,n2", "n[1-4]", "n[1,3-4],login"])
def test_the_first_machine_of_slurms_list(nodes: str) -> None:
    assert place({**SLURM, "SLURM_STEP_NODELIST": nodes}).coordinator.partition(":")[0] == "n1"


def test_a_place_is_read_again_from_what_it_sets() -> None:
    for made in (Place(1, 2, "a:1"), Place(0, 2, "a:1", 0)):
        assert place({**TORCHRUN, "LOCAL_RANK": "", **made.environment}) == made
