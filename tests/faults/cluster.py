"""Redis Cluster: three masters, a replica each, one network of links for each node."""

import asyncio

import resp
from process import free_port, run, until, Broken
from topology import Redis, Topology

MASTERS = 3
SLOTS = 16384
NODE_TIMEOUT_MS = 1000


class Cluster(Topology):
    name = "cluster"

    async def start(self):
        self.servers = []
        for number in range(2 * MASTERS):
            server = Redis(f"cluster-{number}", self.directory)
            server.child.command += [
                "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
                # As docs/operations/redis.md recommends.
                "--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no",
                "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
            ]
            self.servers.append(server)
            await server.start()
        addresses = [f"127.0.0.1:{server.port}" for server in self.servers]
        status, said = await run(
            ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", 1, "--cluster-yes"],
            patience=60,
        )
        if status != 0:
            raise Broken(f"redis-cli --cluster create: {said}")
        await until("the cluster", self.is_whole, self.children())
        for links in self.links:
            for server in self.servers:
                await links.add(server.port)
            links.rewrite_addresses()

    def url(self, node):
        hosts = ",".join(f"127.0.0.1:{self.links[node].port(one.port)}" for one in self.servers[:3])
        return f"redis+cluster://{hosts}"

    def children(self):
        return [server.child for server in self.servers]

    def running(self):
        return [server for server in self.servers if server.child.is_running()]

    async def is_well(self, servers=None):
        """Whether these servers see a cluster that serves all slots."""
        for server in servers or self.running():
            info = await server.answers("CLUSTER", "INFO")
            if not info or "cluster_state:ok" not in info or f"cluster_slots_ok:{SLOTS}" not in info:
                return False
        return True

    async def is_whole(self):
        """The same, and each master has a replica in step."""
        masters = [server for server in self.running() if await server.is_master()]
        in_step = [await server.replicas() for server in masters]
        return len(masters) == MASTERS and all(count == 1 for count in in_step) and await self.is_well()

    async def masters(self):
        return [server for server in self.running() if await server.is_master()]

    async def one(self):
        """A master, and its replica."""
        master = (await self.masters())[0]
        [(_, port, _)] = (await master.ask("ROLE"))[2]
        [replica] = [server for server in self.servers if server.port == int(port)]
        return master, replica

    async def taken_over(self, replica, without):
        """Waits until `replica` is master and all but `without` serve again."""

        async def is_over():
            others = [server for server in self.running() if server is not without]
            return await replica.is_master() and await self.is_well(others)

        await until("the replica as a master", is_over)

    async def rejoin(self, server):
        if not server.child.is_running():
            await server.start()
        await until("the cluster as a whole", self.is_whole, patience=60)

    async def disconnect_clients(self):
        for server in await self.masters():
            await server.ask("CLIENT", "KILL", "TYPE", "normal")

    async def used_slots(self, server, limit):
        """Slots that hold keys of this server."""
        cursor, slots = "0", set()
        while len(slots) < limit:
            cursor, keys = await server.ask("SCAN", cursor, "COUNT", 200)
            if keys:
                asked = [("CLUSTER", "KEYSLOT", key) for key in keys]
                slots.update(await resp.pipeline(server.port, asked))
            if cursor == "0":
                break
        return sorted(slots)[:limit]

    async def migrate(self, slot, source, target):
        """Moves one slot as `redis-cli --cluster reshard` does, with a moment in between."""
        source_id, target_id = await source.ask("CLUSTER", "MYID"), await target.ask("CLUSTER", "MYID")
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        await asyncio.sleep(0.02)
        while keys := await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
            await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 2000, "KEYS", *keys)
            await asyncio.sleep(0.005)
        for server in [target, source, *await self.masters()]:
            await server.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)
