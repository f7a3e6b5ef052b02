"""Two nodes of Cloakroom: one key ring, one configuration but for the way to the store."""

import json
import signal
import struct
import urllib.parse
from pathlib import Path

from process import Broken, Child, free_port, run, until
from wire import Connection

HERE = Path(__file__).resolve().parent
HOST = "shop.example.com"
TICKET = "__Host-shop"
#: Served by no node later than this after a revocation was acknowledged.
LEASE_SECS = 1.0


class Unsupported(Exception):
    """This binary takes no such configuration."""


class Node:
    """A process with its port, its admin socket and, if the fault wants it, its own clock."""

    def __init__(self, number, binary, directory, own_clock=None):
        self.number = number
        self.name = "AB"[number]
        self.binary = binary
        self.home = directory / f"node-{self.name}"
        self.home.mkdir()
        self.config = self.home / "cloakroom.yaml"
        self.admin = self.home / "admin.sock"
        environment = {"RUST_BACKTRACE": "1"}
        if own_clock:
            self.clock = self.home / "clock"
            self.step_clock(0)
            environment |= {"LD_PRELOAD": str(own_clock), "CLOCK_FILE": str(self.clock)}
        self.child = Child(f"node-{self.name}", [binary, "-c", self.config], directory, environment)

    def configure(self, text):
        self.port = free_port()
        self.config.write_text(
            text.replace("PORT", str(self.port)).replace("HOME", str(self.home))
        )

    async def check(self):
        status, said = await run([self.binary, "check", "-c", self.config])
        if status != 0:
            raise Unsupported(said.strip())

    async def start(self):
        self.child.start()
        await until(f"node {self.name}", self.is_up, [self.child])

    async def is_up(self):
        """Whether it is ready: it has reached its store."""
        return (await self.ask_admin("GET", "/readyz")).status == 200

    async def ask_admin(self, method, target, value=None, timeout=5):
        fields = [("Host", "localhost"), ("Connection", "close")]
        content = b""
        if value is not None:
            fields.append(("Content-Type", "application/json"))
            content = json.dumps(value).encode()
        connection = Connection.unix(self.admin)
        try:
            return await connection.ask(method, target, fields, content, timeout)
        finally:
            connection.close()

    async def listed(self, subject):
        """How many live sessions of a subject this node sees; None if it cannot say."""
        answer = await self.ask_admin("GET", f"/sessions?subject={urllib.parse.quote(subject)}")
        return len(json.loads(answer.content)["sessions"]) if answer.status == 200 else None

    def reload(self):
        self.child.process.send_signal(signal.SIGHUP)

    def step_clock(self, seconds):
        """Moves the wall clock to `seconds` from the true one."""
        content = struct.pack("=q", int(seconds * 1e9))
        if self.clock.exists():
            with open(self.clock, "r+b") as file:
                file.write(content)
        else:
            self.clock.write_bytes(content)


def configuration(store, keyring, origin_port, policy):
    """A node's configuration. Clients speak plain HTTP to it, as behind a balancer with TLS."""
    return f"""\
workers: 1
state_directory: 'HOME'
listeners:
  - address: 127.0.0.1:PORT
limits: {{ keepalive_requests: 100000000 }}
trusted_proxies: [127.0.0.0/8]
admin: {{ address: 'unix:HOME/admin.sock' }}
store: {store}
keyring: {keyring}
sessions:
  shop:
    mode: vault
    cookie: {{ name: shop, same_site: lax }}
    app_cookies: [app_session]
    timeouts: {{ idle: 12h, absolute: 24h, renew_every: 4s, grace: 4s }}
    login:
      - {{ request: POST /login, success: {{ status: [302], location: /account/ }}, subject: {{ header: X-User }} }}
    logout:
      - {{ request: POST /logout }}
    anonymous_per_minute: 1000000
    {policy}
upstreams:
  origin:
    endpoints: [{{ address: 127.0.0.1:{origin_port} }}]
servers:
  - names: [{HOST}]
    routes:
      - {{ path: /, upstream: origin, session: shop }}
      - {{ path: /public/, upstream: origin }}
log: {{ level: info, access: false }}
"""


async def start_nodes(topology, binary, directory, origin_port, own_clock=None, policy=""):
    """Starts the nodes.

    # Raises
    `Unsupported` where the binary takes no such store.
    """
    keyring = directory / "keyring.json"
    status, said = await run([binary, "keys", "new", keyring])
    if status != 0:
        raise Broken(f"keys new: {said}")
    nodes = []
    for number in range(len(topology.links)):
        node = Node(number, binary, directory, own_clock)
        node.configure(configuration(topology.store(number), keyring, origin_port, policy))
        nodes.append(node)
    await nodes[0].check()
    for node in nodes:
        await node.start()
    return nodes


async def build_clock(directory):
    """Compiles the clock that a node is given, and returns the library."""
    library = directory / "clock.so"
    status, said = await run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "clock.c", "-ldl"])
    if status != 0:
        raise Broken(f"cc clock.c: {said}")
    return library
