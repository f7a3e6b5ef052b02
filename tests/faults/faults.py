"""Faults, and on which topologies each makes sense.

A fault is a coroutine that gets the `Stage`. It says `stage.begins()` when it strikes and
`stage.is_well()` when the store would serve again, seen from beside it and not through Cloakroom;
what comes then is the nodes' own time. It leaves the store as it should be.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Callable

import cluster
import sql
import topology
from nodes import LEASE_SECS
from process import until

AWAY_SECS = 1.5
FROZEN_SECS = 5.0
SILENT_SECS = 5.0
#: Longer than any node waits before it removes what it takes for garbage.
REAPED_SECS = 92
#: How long the old master and the new one both serve.
SPLIT_SECS = 8.0


@dataclass
class Stage:
    topology: object
    nodes: list
    history: object
    notes: list = field(default_factory=list)

    def begins(self):
        self.history.fault = self.history.now()

    def is_well(self):
        self.history.healthy = self.history.now()


@dataclass(frozen=True)
class Scenario:
    """One row of the table. What may go wrong is said here, and in docs/operations/outages.md why."""

    fault: str
    topology: Callable
    strike: Callable
    may_lose_sessions: bool = False
    may_lose_writes: bool = False
    may_serve_late: bool = False
    may_fail_public: bool = False
    own_clock: bool = False
    recovers_within: float = 2.0
    policy: str = ""  # a line of the session policy
    lease: float = LEASE_SECS  # so long a node may not know what was acknowledged

    @property
    def name(self):
        return f"{self.topology.name}/{self.fault}"


# ---------------------------------------------------------------------------------- the server


async def kill(stage):
    """SIGKILL, and up again."""
    stage.begins()
    await stage.topology.kill()
    await asyncio.sleep(AWAY_SECS)
    await stage.topology.start_again()
    stage.is_well()


async def freeze(stage):
    """SIGSTOP: connections stay open, and nothing answers."""
    [server] = stage.topology.children()
    stage.begins()
    server.freeze()
    await asyncio.sleep(FROZEN_SECS)
    server.thaw()
    stage.is_well()


async def restart(stage):
    """An orderly end, and up again."""
    stage.begins()
    await stage.topology.restart()
    stage.is_well()


async def disconnect(stage):
    """Every connection of a client is closed by the server."""
    stage.begins()
    await stage.topology.disconnect_clients()
    stage.is_well()


# --------------------------------------------------------------------------------------- links


async def half_open(stage):
    """Node A's requests reach the store; no answer, and no invalidation, comes back."""
    await silence(stage, forth=False)


async def silent(stage):
    """Nothing passes between node A and the store, and nobody is told; later everything arrives."""
    await silence(stage, forth=True)


async def silence(stage, forth):
    """What both have in common."""
    links = stage.topology.links[0]
    stage.begins()
    links.silence(forth)
    await asyncio.sleep(SILENT_SECS)
    links.heal()
    stage.is_well()


# ------------------------------------------------------------------------- what a server is told


async def fill_memory(stage):
    """`maxmemory` is reached: every write is refused, whatever is there can be read."""
    server = stage.topology.server
    stage.begins()
    await server.ask("CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(3)
    await server.ask("CONFIG", "SET", "maxmemory", "0")
    stage.is_well()


async def flush(stage):
    """FLUSHALL: everything is gone, at once."""
    stage.begins()
    await stage.topology.server.ask("FLUSHALL")
    stage.is_well()


async def wrong_password(stage):
    """The file has a wrong password; HUP, and the server closes all connections."""
    store = stage.topology
    stage.begins()
    store.write_password("not-the-password")
    for node in stage.nodes:
        node.reload()
    await asyncio.sleep(1)
    await store.disconnect_clients()
    await asyncio.sleep(2)
    store.write_password(store.password)
    for node in stage.nodes:
        node.reload()
    stage.is_well()


def clock(seconds, lasts=6):
    """Node A's wall clock goes wrong by so much for so long, and right again."""

    async def step(stage):
        stage.begins()
        stage.nodes[0].step_clock(seconds)
        await asyncio.sleep(lasts)
        stage.nodes[0].step_clock(0)
        stage.is_well()

    return step


async def hold_lock(stage):
    """Another process holds the file's write lock."""
    stage.begins()
    await stage.topology.hold_lock(3)
    stage.is_well()


async def fail_over(stage):
    """Another server takes over the address; the old one lives on, and takes no writes."""
    stage.begins()
    await stage.topology.fail_over()
    stage.is_well()
    await asyncio.sleep(SILENT_SECS)


async def kill_node(stage):
    """SIGKILL of node A, and up again."""
    node = stage.nodes[0]
    stage.begins()
    node.child.kill9()
    await asyncio.sleep(AWAY_SECS)
    await node.start()
    stage.is_well()


# ------------------------------------------------------------------------------------- Sentinel


async def sentinel_kill(stage):
    """SIGKILL of the master; the sentinels make another."""
    store = stage.topology
    old = await store.master()
    stage.begins()
    old.kill9()
    await store.another_master(old)
    stage.is_well()
    await asyncio.sleep(2)
    await store.rejoin(old)


async def sentinel_freeze(stage):
    """SIGSTOP of the master: another is made, and then the old one is back and thinks it is one."""
    store = stage.topology
    old = await store.master()
    stage.begins()
    began = time.monotonic()
    old.child.freeze()
    await store.another_master(old)
    stage.is_well()
    await asyncio.sleep(max(0.0, FROZEN_SECS - (time.monotonic() - began)))
    old.child.thaw()
    await store.rejoin(old)


async def sentinel_failover(stage):
    """`SENTINEL FAILOVER`: for a second or two there are two masters, and the old one is not told.

    Nodes hear of it beforehand, and write to neither meanwhile.
    """
    store = stage.topology
    old = await store.master()
    stage.begins()
    await store.fail_over()
    await store.another_master(old)
    stage.is_well()
    await store.rejoin(old)


async def split_brain(stage):
    """The master and node A are cut off from everybody else, who make another master."""
    store = stage.topology
    old = await store.master()
    link = store.backbone.by_port[old.port]
    lost = [way for name, way in store.links[0].by_port.items() if name != old.known_as]
    stage.begins()
    link.silence()
    for other in lost:
        other.silence()
    began = time.monotonic()
    await store.another_master(old)
    promoted = time.monotonic() - began
    await asyncio.sleep(max(0.0, SPLIT_SECS - promoted))
    for other in lost:
        other.heal()
    link.heal()
    link.cut()
    stage.is_well()
    await store.rejoin(old)


# -------------------------------------------------------------------------------------- Cluster


async def cluster_kill(stage):
    """SIGKILL of a master; its replica takes over."""
    store = stage.topology
    old, replica = await store.one()
    stage.begins()
    old.kill9()
    await store.taken_over(replica, old)
    stage.is_well()
    await asyncio.sleep(2)
    await store.rejoin(old)


async def cluster_freeze(stage):
    """SIGSTOP of a master; its replica takes over, and then the old one is back."""
    store = stage.topology
    old, replica = await store.one()
    stage.begins()
    began = time.monotonic()
    old.child.freeze()
    await store.taken_over(replica, old)
    stage.is_well()
    await asyncio.sleep(max(0.0, FROZEN_SECS - (time.monotonic() - began)))
    old.child.thaw()
    await store.rejoin(old)


async def cluster_failover(stage):
    """`CLUSTER FAILOVER` at a replica."""
    store = stage.topology
    old, replica = await store.one()
    stage.begins()
    await replica.ask("CLUSTER", "FAILOVER")
    await store.taken_over(replica, None)
    stage.is_well()
    await store.rejoin(old)


async def migrate(stage):
    """Slots with sessions in them move from one master to another, key by key."""
    store = stage.topology
    source, target = (await store.masters())[:2]
    slots = await store.used_slots(source, 40)
    stage.begins()
    for slot in slots:
        await store.migrate(slot, source, target)
    await until("all slots", store.is_well)
    stage.is_well()
    stage.notes.append(f"{len(slots)} slots")


# ------------------------------------------------------------------------------------ the table

SCENARIOS = [
    Scenario("kill -9", topology.Standalone, kill),
    Scenario("SIGSTOP 5 s", topology.Standalone, freeze),
    Scenario("CLIENT KILL", topology.Standalone, disconnect),
    Scenario("half-open link", topology.Standalone, half_open),
    Scenario("silent link", topology.Standalone, silent),
    Scenario(
        "silent link, on_store_down: stale", topology.Standalone, silent,
        policy="on_store_down: { stale: 4s }", lease=4.0,
    ),
    Scenario("maxmemory", topology.Standalone, fill_memory),
    Scenario("FLUSHALL", topology.Standalone, flush, may_lose_sessions=True, may_lose_writes=True),
    Scenario("wrong password", topology.WithPassword, wrong_password),
    Scenario("clock +5 s", topology.Standalone, clock(5), own_clock=True),
    Scenario("clock -5 s", topology.Standalone, clock(-5), own_clock=True),
    Scenario("clock +1 h", topology.Standalone, clock(3600), own_clock=True, may_lose_sessions=True),
    Scenario("clock -1 h", topology.Standalone, clock(-3600), own_clock=True, may_lose_sessions=True),
    Scenario("kill -9", topology.Sentinel, sentinel_kill, may_lose_writes=True),
    Scenario("SIGSTOP 5 s", topology.Sentinel, sentinel_freeze, may_lose_writes=True),
    Scenario("CLIENT KILL", topology.Sentinel, disconnect),
    Scenario("failover", topology.Sentinel, sentinel_failover),
    Scenario("half-open link", topology.Sentinel, half_open),
    Scenario(
        "split brain", topology.Sentinel, split_brain,
        may_lose_sessions=True, may_lose_writes=True, may_serve_late=True,
    ),
    Scenario(
        "split brain, require_replicas: 1", topology.GuardedSentinel, split_brain, may_lose_writes=True
    ),
    Scenario("kill -9", cluster.Cluster, cluster_kill, may_lose_writes=True),
    Scenario("SIGSTOP 5 s", cluster.Cluster, cluster_freeze, may_lose_writes=True),
    Scenario("CLIENT KILL", cluster.Cluster, disconnect),
    Scenario("failover", cluster.Cluster, cluster_failover, may_lose_writes=True),
    Scenario("slot migration", cluster.Cluster, migrate),
    Scenario("half-open link", cluster.Cluster, half_open),
    Scenario("kill -9", sql.Postgres, kill),
    Scenario("SIGSTOP 5 s", sql.Postgres, freeze),
    Scenario("restart", sql.Postgres, restart),
    Scenario("half-open link", sql.Postgres, half_open),
    Scenario("clock +1 h", sql.Postgres, clock(3600, REAPED_SECS), own_clock=True),
    Scenario("kill -9", sql.MariaDb, kill),
    Scenario("SIGSTOP 5 s", sql.MariaDb, freeze),
    Scenario("restart", sql.MariaDb, restart),
    Scenario("half-open link", sql.MariaDb, half_open),
    Scenario("failover, the old server read-only", sql.MariaDbPair, fail_over),
    Scenario("clock +1 h", sql.MariaDb, clock(3600, REAPED_SECS), own_clock=True),
    Scenario("write lock 3 s", sql.Sqlite, hold_lock),
    Scenario("clock +1 h", sql.Sqlite, clock(3600, REAPED_SECS), own_clock=True),
    Scenario("node killed", sql.Sqlite, kill_node, may_fail_public=True),
]
