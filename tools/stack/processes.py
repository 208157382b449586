"""Servers in the background: started once, known by a pid file, stopped by pid and by nothing else."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stack.settings import StackError

# Those this process started, until it stops them: they may outlive it, and one that ends under it must be reaped.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Server:
    """A server that was started, as its pid file tells it.

    `birth` is when the system says its process began: a pid alone is given out again.
    """

    name: str
    pid: int
    birth: str
    port: int


def read(pid_file: Path) -> Server | None:
    """Says which server the pid file names, None when that process is gone."""
    try:
        server = Server(**json.loads(pid_file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return server if _birth(server.pid) == server.birth else None


def start(
    name: str,
    command: Sequence[str],
    *,
    pid_file: Path,
    log: Path,
    port: int,
    environment: Mapping[str, str],
    ready: Callable[[], bool],
    seconds: float = 30,
) -> Server:
    """Starts a server in a session of its own and waits until it answers.

    Args:
        environment: all of it; nothing is inherited, because the local AWS hands its own on to every function.
        ready: asked until it says True.
        seconds: how long to ask.

    Raises:
        StackError: it ended or did not answer in time; the message ends with the last line of its log.
    """
    for folder in (pid_file.parent, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(environment), start_new_session=True
        )
    _children[process.pid] = process
    server = Server(name, process.pid, _birth(process.pid) or "", port)
    pid_file.write_text(json.dumps(vars(server)))
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            pid_file.unlink(missing_ok=True)
            raise StackError(f"{name} ended at once: {_last_line(log)} (log: {log})")
        if time.monotonic() > deadline:
            stop(pid_file, seconds=2)
            raise StackError(f"{name} did not answer within {seconds:.0f} s: {_last_line(log)} (log: {log})")
        time.sleep(0.05)
    return server


def stop(pid_file: Path, *, seconds: float) -> bool:
    """Ends the server the pid file names and waits for it; True when it was there and went by itself.

    A server that is still there after `seconds` is killed.
    """
    server = read(pid_file)
    graceful = False
    if server is not None:
        os.kill(server.pid, signal.SIGTERM)
        graceful = _gone(server, seconds)
        if not graceful:
            os.kill(server.pid, signal.SIGKILL)
            _gone(server, 5)
        if child := _children.pop(server.pid, None):
            child.wait()
    pid_file.unlink(missing_ok=True)
    return graceful


def need_free(ports: Mapping[int, str]) -> None:
    """Sees that nothing listens on these ports of the loopback.

    Raises:
        StackError: a port is taken; the message names it and the setting that moves it.
    """
    for port, setting in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise StackError(f"port {port} is taken by another program: stop it, or choose another with {setting}=PORT") from None


def free_ports(count: int) -> int:
    """Finds the first of so many free ports in a row, free 10000 higher too; below those the system gives out by itself.

    Raises:
        StackError: fifty tries found none.
    """
    for _ in range(50):
        first = random.randrange(12000, 22000 - count)
        try:
            need_free({first + shift + step: "" for step in range(count) for shift in (0, 10000)})
        except StackError:
            continue
        return first
    raise StackError("no free ports were found between 12000 and 32000")


def _gone(server: Server, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _birth(server.pid) == server.birth:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _birth(pid: int) -> str | None:
    """When the process started, in the system's own words; None when there is none, or only its unreaped remains."""
    try:  # Linux: the 22nd field of stat, counted after the command's closing parenthesis; Z is a zombie, a child of ours that has ended
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.split()
        return None if not shown or shown[0].startswith("Z") else " ".join(shown[1:])
    return None if fields[0] == "Z" else fields[19]


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
