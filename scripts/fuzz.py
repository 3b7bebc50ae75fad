"""Gives damaged files to the command line, and counts what it does with them.

python scripts/fuzz.py --seed 1 --count 300                 # every kind in turn
python scripts/fuzz.py --seed 1 --count 10000 --workers 4   # as in `make nightly`
python scripts/fuzz.py --seed 1 --only tflite-fields:17     # one case again, with what it prints
python scripts/fuzz.py --seed 1 --count 50 --kinds keras    # some kinds; TensorFlow makes `keras` slow
python scripts/fuzz.py --seed 1 --count 20 --started        # child processes are started anew, not forked
python scripts/fuzz.py --seed 1 --count 10000 --kept FILE   # if it is stopped, the same command goes on from FILE

A case is clean if the command ends with exit code 0, or with 2 and one message (1 where it says that files differ, or
that a limit is broken); within 30 seconds; within 4 GB of
resident memory, its child processes included. Every case runs in a process forked from this one, which has everything
imported, and so do the child processes of Octavo: starting Python anew would take most of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from forks import work_and_exit
from fuzzing.cases import KINDS, allowed, plan, undamaged
from fuzzing.good import make, make_keras

from octavo.base import child
from octavo.cli.app import UNFORESEEN

SECONDS, BYTES = 30.0, 4 << 30


@dataclass(frozen=True)
class Result:
    """What became of a case: its exit code, or minus the signal that killed it; empty `bad` if that is as it should."""

    kind: str
    number: int
    command: list[str]
    code: int
    seconds: float
    memory: int
    said: str
    bad: str = ""


def _forked(command: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """`octavo.base.child.run`, with a fork of this process in place of a new one."""
    if not command[2].endswith("child.py"):
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=seconds)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code, _ = _waited(_fork(command, (0, out.fileno(), err.fileno())), seconds)
        if code is None:
            raise subprocess.TimeoutExpired(command, seconds or 0)
        out.seek(0), err.seek(0)
        texts = [stream.read().decode("utf-8", "replace") for stream in (out, err)]
        return subprocess.CompletedProcess(command, code, *texts)


class _Forked:
    """`octavo.base.child.start`, with a fork of this process in place of a new one."""

    def __init__(self, command: list[str], errors: BinaryIO) -> None:
        (its_in, my_out), (my_in, its_out) = os.pipe(), os.pipe()
        self._pid = _fork(command, (its_in, its_out, errors.fileno()), (my_in, my_out))
        os.close(its_in), os.close(its_out)
        self.stdin, self.stdout = os.fdopen(my_out, "w"), os.fdopen(my_in)
        self._code: int | None = None

    def kill(self) -> None:
        if self._code is None:
            os.kill(self._pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int | None:
        if self._code is None:
            self._code, _ = _waited(self._pid, timeout)
        return self._code


def _fork_children() -> None:
    """From now on, the children of this process are forks of it."""
    child.run, child.start = _forked, _Forked


def _fork(command: list[str], streams: tuple[int, int, int], others: tuple[int, ...] = ()) -> int:
    """Runs a command of `octavo.base.child.module_command` in a fork of this process.

    Args:
        command: The command.
        streams: The files that become its standard streams.
        others: Files that it closes: the other ends of pipes.
    """
    sys.stdout.flush(), sys.stderr.flush()

    def work() -> None:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for other in others:
            os.close(other)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.argv = command[3:]
        runpy.run_module(command[3], run_name="__main__", alter_sys=False)

    if (pid := os.fork()) == 0:
        work_and_exit(work)
    return pid


def _waited(pid: int, seconds: float | None) -> tuple[int | None, int]:
    """The exit code of a process, None if it had to be killed; and the most memory that it or its children took."""
    end = None if seconds is None else time.monotonic() + seconds
    pause = 0.001
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024
        if end is not None and time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            _, _, used = os.wait4(pid, 0)
            return None, used.ru_maxrss * 1024
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def check_good(good: Path) -> None:
    """Ends the script unless every command works on undamaged files."""
    wrong = []
    for words in undamaged(good):
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            command, said = [str(word) for word in words(here)], here / ".said"
            if (pid := os.fork()) == 0:
                work_and_exit(partial(_case_here, command, said, False))
            if _waited(pid, None)[0] not in allowed(command[0]):
                wrong.append(f"octavo {' '.join(command)}\n{said.read_text('utf-8', 'replace')}")
    if wrong:
        raise SystemExit("These commands do not work on good files:\n" + "\n".join(wrong))


def run_case(name: str, number: int, seed: int, good: Path, started: bool, shown: bool = False) -> Result:
    """Makes one case and gives it to the command line, in a process of its own."""
    random = np.random.default_rng([seed, list(KINDS).index(name), number])
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        command = [str(part) for part in KINDS[name].case(good, here, random)]
        said = here / ".said"
        begin = time.perf_counter()
        if (pid := os.fork()) == 0:
            work_and_exit(partial(_case_here, command, said, started))
        # A little more, so that what takes too long is seen to.
        code, memory = _waited(pid, SECONDS + 15)
        seconds = time.perf_counter() - begin
        text = said.read_text("utf-8", "replace") if said.exists() else ""
        if shown:
            print(text)
            for file in here.iterdir():
                if file.is_file() and file != said:
                    shutil.copyfile(file, Path.cwd() / f"case-{file.name}")
    bad = (
        "killed after 45 s"
        if code is None
        else f"signal {signal.Signals(-code).name}"
        if code < 0
        else "traceback"
        if "Traceback (most recent call last)" in text or UNFORESEEN in text
        else f"exit code {code}"
        if code not in (*allowed(command[0]), 2)
        else "no message"
        if code == 2 and not text.strip()
        else f"{seconds:.0f} s"
        if seconds > SECONDS
        else f"{memory / 1e9:.1f} GB"
        if memory > BYTES
        else ""
    )
    return Result(name, number, command, -99 if code is None else code, seconds, memory, text, bad)


def _case_here(command: list[str], said: Path, started: bool) -> None:
    """The work of the process of one case."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (3 * BYTES, 3 * BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    err, out = os.open(said, os.O_CREAT | os.O_WRONLY), os.open(os.devnull, os.O_WRONLY)
    os.dup2(err, 2), os.dup2(out, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    from octavo.cli.entry import main

    if not started:
        _fork_children()
    sys.argv = ["octavo", *command]
    main()


def table(results: list[Result]) -> str:
    """Tried, clean and bad, for each kind, with the largest time and memory."""
    lines = ["| kind | tried | refused | ran | bad | longest | most memory |", "|---|---|---|---|---|---|---|"]
    for name in [*(name for name in KINDS if any(result.kind == name for result in results)), "all"]:
        mine = [result for result in results if name in (result.kind, "all")]
        refused, ran, bad = (
            sum(test(result) for result in mine)
            for test in (
                lambda result: not result.bad and result.code == 2,
                lambda result: not result.bad and result.code != 2,
                lambda result: bool(result.bad),
            )
        )
        most = max(result.memory for result in mine) / 1e9
        longest = max(result.seconds for result in mine)
        lines.append(f"| {name} | {len(mine):,} | {refused:,} | {ran:,} | {bad:,} | {longest:.1f} s | {most:.2f} GB |")
    return "\n".join(lines)


def _import_all(keras: bool) -> None:
    """Imports what cases need, so that their processes need not."""
    import importlib
    import pkgutil

    import octavo

    heavy = ("octavo.simulate", "octavo.training", "octavo.runs", "octavo.__main__", "octavo.deployment.predict")
    for module in pkgutil.walk_packages(octavo.__path__, "octavo."):
        if not module.name.startswith(heavy) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in (
        "ai_edge_litert.interpreter",
        "matplotlib.pyplot",
        "sklearn.metrics",
        "scipy.stats",
        "scipy.optimize",
        "yaml",
    ):
        importlib.import_module(name)
    importlib.import_module("octavo.runs.stages")
    if keras:
        importlib.import_module("tensorflow"), importlib.import_module("keras"), importlib.import_module("h5py")


def _in_fork(work: Callable[[], None]) -> None:
    """Runs a function in a process of its own: this one must hold no threads when it forks."""
    if (pid := os.fork()) == 0:
        _fork_children()
        work_and_exit(work)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("The good files could not be made.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--kinds", help="some of " + ", ".join(KINDS))
    parser.add_argument("--only", help="KIND:NUMBER")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kept", type=Path, help="a file that takes every result, to go on from")
    parser.add_argument("--started", action="store_true", help="start child processes anew instead of forking")
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    only = arguments.kinds.split(",") if arguments.kinds else None
    keras = "keras" in (only or ()) or (arguments.only or "").startswith("keras")
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder)
        _import_all(keras)
        _in_fork(lambda: make(good))
        if keras:
            _in_fork(lambda: make_keras(good))
        if arguments.only:
            name, _, number = arguments.only.partition(":")
            print(run_case(name, int(number), arguments.seed, good, arguments.started, shown=True))
            return 0
        if keras is False:
            check_good(good)
        cases = plan(arguments.count, only)
        order = np.random.default_rng(arguments.seed).permutation(len(cases))
        with Kept(arguments.kept or good / "kept", arguments.seed) as kept:
            known = {(result.kind, result.number) for result in kept.results}
            rest = [cases[place] for place in order if cases[place] not in known]
            _all(rest, arguments.seed, good, arguments.started, arguments.workers, kept)
            results = [result for result in kept.results if (result.kind, result.number) in set(cases)]
    print(f"\nseed {arguments.seed}, {len(results):,} inputs, {time.perf_counter() - begin:.0f} s\n\n{table(results)}")
    return int(len(results) != len(cases) or any(result.bad for result in results))


class Kept:
    """The results of a campaign in a file, one JSON object a line: those of earlier processes, then new ones.

    Args:
        file: It need not exist. The last line of a killed process may be cut off; that case is tried again.
        seed: That of the campaign. A file of another seed ends the script.
    """

    def __init__(self, file: Path, seed: int) -> None:
        self.results: list[Result] = []
        self._seed, self._one_at_a_time = seed, Lock()
        lines = file.read_text("utf-8").splitlines(keepends=True) if file.exists() else []
        for line in (line for line in lines if line.endswith("\n")):
            values = json.loads(line)
            if values.pop("seed") != seed:
                raise SystemExit(f"{file} holds results of another seed.")
            self.results.append(Result(**values))
        file.write_text("".join(line for line in lines if line.endswith("\n")), "utf-8")
        self._stream = file.open("a", encoding="utf-8")

    def add(self, result: Result) -> None:
        with self._one_at_a_time:
            self.results.append(result)
            self._stream.write(json.dumps({"seed": self._seed, **vars(result)}) + "\n")
            self._stream.flush()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()


def _all(cases: list[tuple[str, int]], seed: int, good: Path, started: bool, workers: int, kept: Kept) -> None:
    """Adds the results of all cases, from some processes that each take their share."""

    def share(worker: int, pipe: int) -> None:
        with os.fdopen(pipe, "w") as stream:
            for name, number in cases[worker::workers]:
                result = run_case(name, number, seed, good, started)
                stream.write(json.dumps(vars(result)) + "\n")
                stream.flush()

    pipes = []
    for worker in range(workers):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            work_and_exit(partial(share, worker, write))
        os.close(write)
        pipes.append(read)

    def gathered(pipe: int) -> int:
        count = 0
        with os.fdopen(pipe) as stream:
            for count, line in enumerate(stream, 1):  # noqa: B007
                kept.add(result := Result(**json.loads(line)))
                if result.bad:
                    last = (result.said.strip().splitlines()[-1:] or [""])[0][:300]
                    command = " ".join(result.command)
                    print(f"bad: {result.kind}:{result.number} {result.bad}: octavo {command}\n     {last}", flush=True)
        return count

    with ThreadPoolExecutor(workers) as pool:
        done = sum(pool.map(gathered, pipes))
    if done != len(cases):
        print(f"{len(cases) - done} cases have no result: the script itself failed")


if __name__ == "__main__":
    sys.exit(main())
