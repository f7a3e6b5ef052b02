"""Processes of ours: started, signalled and stopped by their number, and none outlives us."""

import asyncio
import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_SECS = 30
_started = []


class Broken(Exception):
    """The stage could not be set up: says nothing about what is tested."""


def free_port():
    """A port of 127.0.0.1 that was free a moment ago; five digits, which `links` relies on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port >= 10000:
                return port


_prctl = ctypes.CDLL(None).prctl
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """In the child: killed when we are, however that happens."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A process, its log in a file of its own."""

    def __init__(self, name, command, directory, environment=None):
        self.name = name
        self.command = [str(word) for word in command]
        self.log = Path(directory) / f"{name}.log"
        self.environment = environment
        self.process = None
        _started.append(self)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(self.environment or {})},
                start_new_session=True, preexec_fn=end_with_parent,
            )

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def tail(self):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-20:])

    def family(self):
        """The process and its children, theirs included: a database works in those."""
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    waiting += map(int, tasks.read_text().split())
                except OSError:
                    pass
        return found

    def signal_all(self, number):
        """Signals the process and its children. Stopped or killed parents make no new ones."""
        for pid in self.family():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def freeze(self):
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def kill9(self):
        """Kills it with its children, and waits for its end."""
        if self.is_running():
            self.signal_all(signal.SIGKILL)
            self.process.wait()

    async def stop(self, number=signal.SIGTERM, patience=PATIENCE_SECS):
        """Asks it to end; kills it if it does not."""
        if self.is_running():
            self.process.send_signal(number)
            deadline = time.monotonic() + patience
            while self.is_running() and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            self.kill9()


async def until(what, answers, children=(), patience=PATIENCE_SECS):
    """Asks `answers()` until it says something true, which is returned."""
    deadline = time.monotonic() + patience
    while True:
        try:
            answer = await answers()
            if answer:
                return answer
            problem = "not yet"
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            problem = repr(error)
        for child in children:
            if not child.is_running():
                raise Broken(f"{child.name} ended, waiting for {what}:\n{child.tail()}")
        if time.monotonic() > deadline:
            logs = "".join(f"\n{child.name}: {child.tail()}" for child in children)
            raise Broken(f"waited in vain for {what}: {problem}{logs}")
        await asyncio.sleep(0.02)


async def run(command, directory=None, patience=PATIENCE_SECS, environment=None):
    """Runs a command to its end: its status and what it said."""
    child = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=directory,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(child.communicate(), patience)
    except asyncio.TimeoutError:
        child.kill()
        await child.wait()
        raise Broken(f"{command[0]} takes more than {patience} s") from None
    return child.returncode, said.decode(errors="replace")


def stop_all():
    """Whatever is left. Frozen ones too."""
    for child in reversed(_started):
        child.kill9()
    _started.clear()


atexit.register(stop_all)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: sys.exit(128 + number))
