"""Several hosts on one machine: network namespaces, each with its own processes, address and loopback.

    python scripts/hosts.py --count 2 --on 1 -- python -c "import socket; print(socket.gethostname())"

It needs root and iproute2. The hosts are joined by a switch in a namespace of its own, so that the machine's own
network is neither changed nor reached. They share its disk, as hosts of a cluster share one. All of it is gone
afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Host:
    """One host.

    Args:
        name: The name of its namespace.
        address: Its address, which the other hosts reach.
        plug: The name of its link at the switch.
        switch: The name of the switch's namespace.
    """

    name: str
    address: str
    plug: str
    switch: str
    _started: list[subprocess.Popen[str]] = field(default_factory=list, repr=False)

    def run(
        self, command: Sequence[object], env: Mapping[str, str] | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on this host, to its end.

        Args:
            command: The command and its arguments.
            env: What is added to the environment.
            timeout: Seconds.
        """
        return subprocess.run(
            self.inside(command), capture_output=True, text=True, env=_environment(env), timeout=timeout, check=False
        )

    def start(
        self, command: Sequence[object], log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Starts a command on this host. It is killed, with its children, when the hosts go.

        Args:
            command: The command and its arguments.
            log: The file that gets what it prints.
            env: What is added to the environment.
        """
        with log.open("w") as stream:
            made = subprocess.Popen(
                self.inside(command),
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                env=_environment(env),
                start_new_session=True,
            )
        self._started.append(made)
        return made

    def named(self, command: Sequence[object], table: Path) -> list[str]:
        """The command with a host name of its own, which stands for its address, as Gloo wants it.

        Args:
            command: The command and its arguments.
            table: A file that is written, and that the command sees as /etc/hosts.
        """
        table.write_text(f"127.0.0.1 localhost\n{self.address} {self.plug}\n")
        before = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
        return ["unshare", "--uts", "--mount", "sh", "-c", before, "sh", self.plug, str(table), *map(str, command)]

    def cut(self) -> None:
        """Pulls its plug: packets go nowhere, as when a cable breaks, and nobody is told."""
        _ip("-n", self.switch, "link", "set", self.plug, "nomaster")

    def join(self) -> None:
        """Puts the plug back."""
        _ip("-n", self.switch, "link", "set", self.plug, "master", "switch")

    def end(self) -> None:
        """Kills what was started, and what those processes started in their turn."""
        for each in self._started:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)
            each.wait(30)
        # Servers leave their session. Nobody else has processes in this namespace.
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        for pid in map(int, found.stdout.split()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def inside(self, command: Sequence[object]) -> list[str]:
        """The command that runs a command on this host."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Some hosts, for the time of the block.

    Args:
        count: How many, from 1 to 200.

    Raises:
        RuntimeError: They cannot be made here; see `missing`.
    """
    if why := missing():
        raise RuntimeError(why)
    mark = f"octavo-{os.getpid()}"
    switch = f"{mark}-switch"
    made: list[Host] = []
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        for number in range(1, count + 1):
            host = Host(f"{mark}-{number}", f"10.77.0.{number}", f"plug{number}", switch)
            _ip("netns", "add", host.name)
            made.append(host)
            _ip(*f"link add {host.plug} netns {switch} type veth peer name eth0 netns {host.name}".split())
            _ip("-n", switch, "link", "set", host.plug, "master", "switch", "up")
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", host.name, "link", "set", link, "up")
        yield made
    finally:
        for host in made:
            host.end()
        for name in (*(host.name for host in made), switch):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def missing() -> str:
    """Why no hosts can be made here; empty if they can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    trial = f"octavo-{os.getpid()}-trial"
    made = subprocess.run(["ip", "netns", "add", trial], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "delete", trial], capture_output=True, check=False)
    return "" if made.returncode == 0 else f"network namespaces need root: {made.stderr.strip() or made.returncode}"


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(more or {})}


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2, help="how many hosts")
    parser.add_argument("--on", type=int, default=1, help="the host that runs the command, from 1")
    parser.add_argument("command", nargs="+", help="the command, after --")
    given = parser.parse_args()
    if not 1 <= given.on <= given.count <= 200:
        parser.error("--on should be from 1 to --count, and that from 1 to 200")
    try:
        with hosts(given.count) as made:
            for host in made:
                print(f"{host.name}  {host.address}", file=sys.stderr)
            return subprocess.run(made[given.on - 1].inside(given.command), check=False).returncode
    except RuntimeError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
