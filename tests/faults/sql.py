"""PostgreSQL, MariaDB and SQLite as stores."""

import glob
import grp
import os
import pwd
import shutil
import signal
import sqlite3
import asyncio

from process import Broken, Child, free_port, run, until
from topology import Topology

PASSWORD = "cloakroom"


def found(name, *places):
    """A program that need not be in the path."""
    for place in places:
        for folder in sorted(glob.glob(place), reverse=True):
            if os.access(f"{folder}/{name}", os.X_OK):
                return f"{folder}/{name}"
    return shutil.which(name) or name


def as_user(name, path):
    """What to put before a command that refuses root; `path` becomes that user's."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(name)
    for folder, _, files in os.walk(path):
        os.chown(folder, user.pw_uid, user.pw_gid)
        for file in files:
            os.chown(f"{folder}/{file}", user.pw_uid, user.pw_gid)
    group = grp.getgrgid(user.pw_gid).gr_name
    return ["setpriv", "--reuid", name, "--regid", group, "--clear-groups", "--pdeathsig", "KILL"]


class Sql(Topology):
    """A database server behind a link for each node."""

    def prepare(self):
        """Where it lives: searchable by the user that it runs as."""
        self.port = free_port()
        self.home = self.directory / self.name
        self.home.mkdir(mode=0o700)
        self.directory.chmod(0o711)

    async def start(self):
        self.prepare()
        await self.make()
        await self.start_again()
        await self.make_user()
        for links in self.links:
            await links.add(self.port)

    def children(self):
        return [self.child]

    async def kill(self):
        self.child.kill9()

    async def start_again(self):
        self.child.start()
        await until(self.name, self.is_up, [self.child], patience=60)

    async def restart(self):
        await self.child.stop(self.STOP)
        await self.start_again()


class Postgres(Sql):
    name = "postgres"
    STOP = signal.SIGINT  # "fast"

    async def make(self):
        bin_ = "/usr/lib/postgresql/*/bin"
        self.psql = found("psql", bin_)
        user = as_user("postgres", self.home)
        status, said = await run(
            [*user, found("initdb", bin_), "-D", self.home / "data", "-U", "postgres", "-A", "trust",
             "-E", "UTF8", "--no-sync"],
            directory=self.home, patience=120,
        )
        if status != 0:
            raise Broken(f"initdb: {said}")
        self.child = Child(
            "postgres-server",
            [*user, found("postgres", bin_), "-D", self.home / "data", "-p", self.port,
             "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.home}",
             # What a process has written survives its death; only the machine's needs a sync.
             "-c", "shared_buffers=32MB", "-c", "fsync=off"],
            self.directory,
        )

    def _psql(self, database, text):
        return [self.psql, "-X", "-q", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres",
                "-d", database, "-v", "ON_ERROR_STOP=1", "-c", text]

    async def is_up(self):
        status, _ = await run(self._psql("postgres", "SELECT 1"))
        return status == 0

    async def make_user(self):
        for text in (f"CREATE ROLE cloakroom LOGIN PASSWORD '{PASSWORD}'",
                     "CREATE DATABASE cloakroom OWNER cloakroom"):
            status, said = await run(self._psql("postgres", text))
            if status != 0:
                raise Broken(f"psql: {said}")

    def url(self, node):
        port = self.links[node].port(self.port)
        return f"postgres://cloakroom:{PASSWORD}@127.0.0.1:{port}/cloakroom"


class MariaDb(Sql):
    name = "mariadb"
    STOP = signal.SIGTERM
    options = ["--skip-log-bin"]

    async def make(self):
        user = as_user("mysql", self.home)
        status, said = await run(
            [*user, found("mariadb-install-db"), "--no-defaults", f"--datadir={self.home}/data",
             "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"],
            directory=self.home, patience=120,
        )
        if status != 0:
            raise Broken(f"mariadb-install-db: {said}")
        self.child = Child(
            f"{self.name}-server",
            [*user, found("mariadbd", "/usr/sbin"), "--no-defaults", f"--datadir={self.home}/data",
             f"--socket={self.home}/socket", f"--port={self.port}", "--bind-address=127.0.0.1",
             f"--pid-file={self.home}/pid", "--innodb-buffer-pool-size=32M", *self.options],
            self.directory,
        )

    def _client(self, text):
        return [found("mariadb"), "--no-defaults", "-N", "-B", "-u", "root",
                f"--socket={self.home}/socket", "-e", text]

    async def ask(self, text):
        """What the administrator is told."""
        status, said = await run(self._client(text))
        if status != 0:
            raise Broken(f"mariadb: {said}")
        return said.strip()

    async def is_up(self):
        status, _ = await run(self._client("SELECT 1"))
        return status == 0

    async def make_user(self):
        await self.ask(
            f"CREATE DATABASE cloakroom; CREATE USER cloakroom@'%' IDENTIFIED BY '{PASSWORD}'; "
            "GRANT ALL ON cloakroom.* TO cloakroom@'%'"
        )

    def url(self, node):
        port = self.links[node].port(self.port)
        return f"mysql://cloakroom:{PASSWORD}@127.0.0.1:{port}/cloakroom"


class MariaDbReplica(MariaDb):
    name = "mariadb-replica"
    options = ["--server-id=2", "--log-bin", "--log-slave-updates", "--read-only"]


class MariaDbPair(MariaDb):
    """A server with a replica; nodes reach whichever has the address."""

    options = ["--server-id=1", "--log-bin"]

    async def start(self):
        await super().start()
        self.replica = MariaDbReplica(self.directory)
        self.replica.prepare()
        await self.replica.make()
        await self.replica.start_again()
        await self.ask(
            f"CREATE USER replica@'%' IDENTIFIED BY '{PASSWORD}'; "
            "GRANT REPLICATION SLAVE ON *.* TO replica@'%'"
        )
        await self.replica.ask(
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={self.port}, "
            f"MASTER_USER='replica', MASTER_PASSWORD='{PASSWORD}', MASTER_USE_GTID=slave_pos; START SLAVE"
        )
        await self.replica_is_in_step()

    async def replica_is_in_step(self):
        """Waits until the replica has all that the server has."""
        position = await self.ask("SELECT @@gtid_binlog_pos")
        if await self.replica.ask(f"SELECT MASTER_GTID_WAIT('{position}', 20)") != "0":
            raise Broken("the replica does not follow")

    async def fail_over(self):
        """The old server takes no more writes and lives on; the address is the new one's from now on.

        Connections that are open stay where they are.
        """
        await self.ask("SET GLOBAL read_only = 1")
        await self.replica_is_in_step()
        await self.replica.ask("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0")
        for links in self.links:
            links.by_port[self.port].target = self.replica.port

    def children(self):
        return [self.child, self.replica.child]


class Sqlite(Topology):
    """One file; both nodes are processes of one machine."""

    name = "sqlite"

    async def start(self):
        self.file = self.directory / "sessions.db"

    def url(self, node):
        return f"sqlite:{self.file}"

    def children(self):
        return []

    async def hold_lock(self, seconds):
        """Holds the file's write lock, as a backup or an administrator's shell might."""
        connection = sqlite3.connect(self.file, isolation_level=None, timeout=5)
        try:
            connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()
