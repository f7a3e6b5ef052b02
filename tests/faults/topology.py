"""Stores of every kind, and how each is reached by the nodes. This file: what they share, one Redis.

A topology starts real servers. A node reaches them through `links[node]` alone.
"""

import asyncio
import secrets

import resp
from links import Links
from process import Child, free_port, until

NODES = 2


class Redis:
    """A Redis server that keeps port and directory over restarts."""

    def __init__(self, name, directory, arguments=(), password=None, keeps="always"):
        self.port = free_port()
        self.password = password
        self.home = directory / name
        self.home.mkdir()
        command = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", keeps, "--dir", self.home]
        if password:
            command += ["--requirepass", password]
        self.child = Child(name, [*command, *arguments], directory)

    async def start(self):
        """Starts it, and waits until it serves."""
        self.child.start()
        await until(self.child.name, self.is_up, [self.child])

    async def is_up(self):
        return await self.answers("PING") == "PONG"

    async def ask(self, *words):
        return await resp.command(self.port, *words, password=self.password)

    async def answers(self, *words):
        return await resp.answers(self.port, *words, password=self.password)

    async def is_master(self):
        role = await self.answers("ROLE")
        return bool(role) and role[0] == "master"

    async def replicas(self):
        """How many replicas are connected and in step."""
        role = await self.answers("ROLE")
        return len(role[2]) if role and role[0] == "master" else 0

    def kill9(self):
        self.child.kill9()


class Topology:
    """What every kind has."""

    name = ""
    #: Further keys of the mapping `store:`, by fault.
    extra = ""

    def __init__(self, directory):
        self.directory = directory
        self.links = [Links("AB"[node]) for node in range(NODES)]

    async def start(self):
        raise NotImplementedError

    def url(self, node):
        """What a node's `store` says."""
        raise NotImplementedError

    def store(self, node):
        """The value of a node's key `store`, in YAML."""
        if not self.extra:
            return self.url(node)
        return f"{{ url: '{self.url(node)}', {self.extra} }}"

    def children(self):
        """The processes that are frozen, killed and started again as the server."""
        raise NotImplementedError

    async def stop(self):
        for links in self.links:
            links.stop()
        for child in self.children():
            child.kill9()


class Standalone(Topology):
    name = "standalone"

    async def start(self):
        self.server = Redis("redis", self.directory)
        await self.server.start()
        for links in self.links:
            await links.add(self.server.port)

    def url(self, node):
        return f"redis://127.0.0.1:{self.links[node].port(self.server.port)}/0"

    def children(self):
        return [self.server.child]

    async def kill(self):
        self.server.kill9()

    async def start_again(self):
        await self.server.start()

    async def disconnect_clients(self):
        await self.server.ask("CLIENT", "KILL", "TYPE", "normal")


class WithPassword(Standalone):
    """A server that asks for a password, which each node reads from a file."""

    async def start(self):
        self.password = secrets.token_hex(8)
        self.file = self.directory / "redis.password"
        self.write_password(self.password)
        self.server = Redis("redis", self.directory, password=self.password)
        await self.server.start()
        for links in self.links:
            await links.add(self.server.port)

    @property
    def extra(self):
        return f"password_file: '{self.file}'"

    def write_password(self, password):
        self.file.write_text(password + "\n")
        self.file.chmod(0o600)


class Sentinel(Topology):
    """A master, two replicas, three sentinels.

    They know each other by the links of `backbone`, so that a server can be cut off from the others
    and still be reached by a node.
    """

    name = "sentinel"
    MASTER = "cloakroom"
    #: Twice what a sentinel takes to connect to a master that it has only just been told of.
    DOWN_AFTER_MS = 2000

    async def start(self):
        self.backbone = Links("backbone")
        self.servers, self.sentinels = [], []
        for number in range(3):
            server = Redis(f"redis-{number}", self.directory)
            link = await self.backbone.add(server.port)
            server.known_as = link.port
            server.child.command += ["--replica-announce-ip", "127.0.0.1"]
            server.child.command += ["--replica-announce-port", str(link.port)]
            server.child.command += ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
            server.child.command += ["--repl-backlog-size", "16mb"]
            if number:
                server.child.command += ["--replicaof", "127.0.0.1", str(self.servers[0].known_as)]
            self.servers.append(server)
            await server.start()
        await until("replicas", self._are_in_step, self.children())
        for number in range(3):
            self.sentinels.append(await self._start_sentinel(number))
        await until("sentinels that know each other", self._is_watched, self.sentinels)
        for links in self.links:
            for server in self.servers:
                await links.add(server.port, server.known_as)
            for sentinel in self.sentinels:
                await links.add(sentinel.port)
            links.rewrite_addresses()

    async def _are_in_step(self):
        return await self.servers[0].replicas() == 2

    async def _start_sentinel(self, number):
        port = free_port()
        config = self.directory / f"sentinel-{number}.conf"
        config.write_text(f"""\
port {port}
bind 127.0.0.1
dir {self.directory}
sentinel monitor {self.MASTER} 127.0.0.1 {self.servers[0].known_as} 2
sentinel down-after-milliseconds {self.MASTER} {self.DOWN_AFTER_MS}
sentinel failover-timeout {self.MASTER} 6000
sentinel parallel-syncs {self.MASTER} 2
""")
        child = Child(f"sentinel-{number}", ["redis-server", config, "--sentinel"], self.directory)
        child.start()
        child.port = port
        return child

    async def _is_watched(self):
        for sentinel in self.sentinels:
            told = await resp.answers(sentinel.port, "SENTINEL", "MASTER", self.MASTER)
            told = dict(zip(told[::2], told[1::2])) if told else {}
            if told.get("num-other-sentinels") != "2" or told.get("num-slaves") != "2":
                return False
        return True

    def url(self, node):
        hosts = ",".join(f"127.0.0.1:{self.links[node].port(one.port)}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.MASTER}/0"

    def children(self):
        return [*(server.child for server in self.servers), *self.sentinels]

    async def master(self):
        """The server that most sentinels call master, if it agrees."""
        named = []
        for sentinel in self.sentinels:
            address = await resp.answers(
                sentinel.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.MASTER
            )
            named += [int(address[1])] if address else []
        for server in self.servers:
            if named.count(server.known_as) >= 2 and await server.is_master():
                return server
        return None

    async def fail_over(self):
        await resp.command(self.sentinels[0].port, "SENTINEL", "FAILOVER", self.MASTER)

    async def another_master(self, old):
        """Waits until another server than `old` is master."""

        async def is_there():
            master = await self.master()
            return master if master not in (None, old) else None

        return await until("another master", is_there)

    async def rejoin(self, server):
        """Starts a server again, and waits until it follows the present master."""
        if not server.child.is_running():
            await server.start()

        async def follows():
            master = await self.master()
            return master is not server and master is not None and await master.replicas() == 2

        await until("the old master as a replica", follows, patience=60)

    async def disconnect_clients(self):
        await (await self.master()).ask("CLIENT", "KILL", "TYPE", "normal")

    async def stop(self):
        self.backbone.stop()
        await super().stop()


class GuardedSentinel(Sentinel):
    """Writes that matter want a replica's word."""

    extra = "require_replicas: 1"
