"""Processes that we start, pinned to a core, and what the kernel counts of them."""

import atexit
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROXY_CORE, LOAD_CORE = 0, 1
PATIENCE_SECS = 15
TICK = os.sysconf("SC_CLK_TCK")


def fail(text):
    sys.exit(f"load: {text}")


def note(text):
    print(f"load: {text}", file=sys.stderr)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Usage:
    """What a proxy has spent so far."""

    user_secs: float = 0
    system_secs: float = 0
    switches: int = 0

    def __sub__(self, before):
        return Usage(
            self.user_secs - before.user_secs,
            self.system_secs - before.system_secs,
            self.switches - before.switches,
        )


class Child:
    """A process that we started, pinned to a core; it ends with us."""

    def __init__(self, name, core, command, directory, port):
        self.name = name
        self.log = directory / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        atexit.register(self.stop)
        self.wait_for(port)

    def wait_for(self, port):
        deadline = time.monotonic() + PATIENCE_SECS
        while True:
            if self.process.poll() is not None:
                fail(f"{self.name} ended with status {self.process.returncode}:\n{self.log.read_text()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    fail(f"{self.name} does not listen:\n{self.log.read_text()}")
                time.sleep(0.02)

    def pids(self):
        """The process and its children: nginx works in those."""
        pids = [self.process.pid]
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            pids += map(int, task.read_text().split())
        return pids

    def usage(self):
        """Processor time and context switches so far."""
        usage = Usage()
        for pid in self.pids():
            # The command's name may hold blanks; the last `)` ends it.
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            usage.user_secs += int(fields[11]) / TICK
            usage.system_secs += int(fields[12]) / TICK
            for status in Path(f"/proc/{pid}/task").glob("*/status"):
                usage.switches += sum_of(status, ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))
        return usage

    def rss_kib(self):
        return sum(sum_of(Path(f"/proc/{pid}/status"), ("VmRSS",)) for pid in self.pids())

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def sum_of(status, names):
    """The sum of these fields of a `status` file of /proc; 0 for a thread that has just ended."""
    try:
        lines = status.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = (line.split(":", 1) for line in lines)
    return sum(int(value.split()[0]) for name, value in fields if name in names)
