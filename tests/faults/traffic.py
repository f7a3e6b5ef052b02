"""Clients: people with two devices each, visitors of public pages, an operator who revokes.

Each device behaves as a browser: one request after the other, now to this node, now to that, at times
two at once, and always with the newest ticket that it was given.
"""

import asyncio
import itertools
import json
import random
from dataclasses import dataclass

from history import BEFORE, COPY
from nodes import HOST, LEASE_SECS, TICKET
from wire import Connection

DEVICES = 48
THINK_SECS = 0.3
PUBLIC_EVERY_SECS = 0.05
REVOKE_EVERY_SECS = 0.4
#: The first second of a fault is the one in which a node may still believe what it has.
REVOKE_EVERY_AT_FIRST_SECS = 0.1
#: Before a revocation its session is asked for at every node, so that each has it at hand.
WARM_SECS = 0.15
#: A dead ticket is presented this often until the lease is over, and now and then afterwards.
WATCH_EVERY_SECS = 0.08
WATCH_SECS = LEASE_SECS + 0.6
DEAD_EVERY_SECS = 0.08
DEAD_MAX = 150


@dataclass
class Session:
    """What a browser knows of its session."""

    sid: str
    owner: str
    ticket: str
    id: str = None  # as workers see it in X-Session-Id
    value: int = 0  # the last that was written, acknowledged or not
    ending: bool = False
    gone: bool = False


class Traffic:
    def __init__(self, nodes, history, seed):
        self.nodes = nodes
        self.history = history
        self.random = random.Random(seed)
        self.sessions = {}  # by number of the device, those that are logged in
        self.tainted = set()  # names that a revocation may yet come for
        self.dead = []  # (session, ticket, op)
        self.tasks = []
        self.watchers = set()
        self.running = True
        self.busy = asyncio.Event()
        self.lag = 0.0

    # ------------------------------------------------------------------------------- its course

    async def start(self):
        """Starts everything, and waits until every device is logged in."""
        self.tasks = [asyncio.create_task(self._device(number)) for number in range(DEVICES)]
        self.tasks += [asyncio.create_task(self._public(node)) for node in self.nodes]
        self.tasks += [asyncio.create_task(self._dead()), asyncio.create_task(self._lag())]
        for _ in range(600):
            if len(self.sessions) == DEVICES:
                break
            self._raise()
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(f"only {len(self.sessions)} of {DEVICES} devices could log in")
        self.tasks.append(asyncio.create_task(self._operator()))

    async def stop(self):
        """Lets what is under way end, then asks for every session and every dead ticket once more."""
        self.running = False
        await asyncio.wait(self.tasks, timeout=15)
        if self.watchers:
            await asyncio.wait(self.watchers, timeout=15)
        self._raise()
        for task in [*self.tasks, *self.watchers]:
            task.cancel()
        await asyncio.sleep(LEASE_SECS + 0.2)
        for node in self.nodes:
            connection = Connection.tcp(node.port)
            for session in self.sessions.values():
                if not session.ending:
                    await self._own(session, node, connection, "read", "GET", "/whoami")
            for session, ticket, op in self.dead:
                await self._present(session, ticket, op, node, connection)
            connection.close()

    def _raise(self):
        """A client that failed by a mistake of ours ends the run."""
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception():
                raise task.exception()

    # --------------------------------------------------------------------------------- requests

    async def _ask(self, connection, method, target, ticket=None):
        fields = [("Host", HOST), ("X-Forwarded-Proto", "https")]
        if ticket:
            fields.append(("Cookie", f"{TICKET}={ticket}"))
        return await connection.ask(method, target, fields)

    def _note(self, begin, node, op, answer, session=None, value=None):
        shown = json.loads(answer.content) if answer.status in (200, 302) else {}
        event = self.history.add(
            begin=begin, node=node.number, op=op, status=answer.status, value=value,
            session=session.sid if session else None, owner=session.owner if session else None,
            sid=shown.get("sid"), user=shown.get("user"), n=shown.get("n"),
            set_cookie=bool(answer.all("set-cookie")),
        )
        return event, shown

    async def _own(self, session, node, connection, op, method, target, value=None):
        """A request with the browser's own ticket; it takes the one that the answer brings."""
        begin = self.history.now()
        answer = await self._ask(connection, method, target, session.ticket)
        event, shown = self._note(begin, node, op, answer, session, value)
        if ticket := ticket_of(answer):
            session.ticket = ticket
        if event.user is not None:
            session.id = shown["id"]
        elif event.status == 200:
            session.gone = True
        return event

    async def _present(self, session, ticket, op, node, connection):
        begin = self.history.now()
        answer = await self._ask(connection, "GET", "/whoami", ticket)
        event, _ = self._note(begin, node, op, answer, session)
        return event

    # ---------------------------------------------------------------------------------- devices

    async def _device(self, number):
        connections = [Connection.tcp(node.port) for node in self.nodes]
        await asyncio.sleep(self.random.random() * THINK_SECS)
        try:
            while self.running:
                session = await self._log_in(number, connections)
                if session is None:
                    await asyncio.sleep(0.3)
                    continue
                self.sessions[number] = session
                while self.running and not session.ending and not session.gone:
                    await self._step(session, connections)
                    await asyncio.sleep(THINK_SECS * (0.5 + self.random.random()))
                if session.gone or session.ending:
                    self.sessions.pop(number, None)
        finally:
            for connection in connections:
                connection.close()

    def _pick(self, connections):
        number = self.random.randrange(len(self.nodes))
        return self.nodes[number], connections[number]

    def _name(self, person):
        """Of whoever uses two devices."""
        for life in itertools.count():
            if (name := f"person-{person}-{life}") not in self.tainted:
                return name

    async def _log_in(self, number, connections):
        """An anonymous visit, then a login; at which node is left to chance."""
        owner = self._name(number // 2)
        node, connection = self._pick(connections)
        begin = self.history.now()
        answer = await self._ask(connection, "GET", "/begin")
        event, _ = self._note(begin, node, "begin", answer)
        before = ticket_of(answer)
        if before is None:
            return None
        session = Session(event.sid, owner, before)
        node, connection = self._pick(connections)
        begin = self.history.now()
        answer = await self._ask(connection, "POST", f"/login?user={owner}", before)
        if answer.status == 302:
            # Another one than before where the store has lost the anonymous session.
            session.sid = json.loads(answer.content)["sid"]
        self._note(begin, node, "login", answer, session)
        self._bury(session, before, BEFORE)
        session.ticket = ticket_of(answer)
        return session if session.ticket else None

    async def _step(self, session, connections):
        node, connection = self._pick(connections)
        chance = self.random.random()
        if chance < 0.02:
            session.ending = True
            await self._own(session, node, connection, "logout", "POST", "/logout")
            self._watch(session)
        elif chance < 0.4:
            session.value += 1
            target = f"/write?n={session.value}"
            await self._own(session, node, connection, "write", "POST", target, session.value)
        elif chance < 0.5:
            both = zip(self.nodes, connections)
            await asyncio.gather(*(self._own(session, *one, "read", "GET", "/whoami") for one in both))
        else:
            await self._own(session, node, connection, "read", "GET", "/whoami")

    # ------------------------------------------------------------------------- ends of sessions

    async def _operator(self):
        """Ends all sessions of a person, or one of them, and says so until it is acknowledged."""
        for turn in range(1_000_000):
            is_new = self.history.fault and self.history.now() < self.history.fault + LEASE_SECS
            await asyncio.sleep(REVOKE_EVERY_AT_FIRST_SECS if is_new else REVOKE_EVERY_SECS)
            if not self.running:
                return
            known = [one for one in self.sessions.values() if one.id and not one.ending]
            if not known:
                continue
            chosen = self.random.choice(known)
            asked, sid, ended = {"session": chosen.id}, chosen.sid, [chosen]
            if turn // 2 % 2:
                asked, sid = {"subject": chosen.owner}, None
                ended = [one for one in known if one.owner == chosen.owner]
            for session in ended:
                session.ending = True
                self._watch(session)
            # A node that refuses holds up nobody else's revocation.
            self._watcher(self._revoke(self.nodes[turn % len(self.nodes)], asked, sid, chosen.owner))

    async def _revoke(self, node, asked, sid, owner):
        await asyncio.sleep(WARM_SECS)
        for _ in range(40):
            begin = self.history.now()
            answer = await node.ask_admin("POST", "/sessions/revoke", asked)
            self.history.add(
                begin=begin, node=node.number, op="revoke", status=answer.status, session=sid, owner=owner
            )
            # 404: nobody knows the session, and what a store has lost may come back.
            if answer.status in (200, 404) or not self.running:
                return
            if sid is None:
                # What was not acknowledged may yet be carried out: they come back as somebody else.
                self.tainted.add(owner)
            await asyncio.sleep(0.25)

    def _watch(self, session):
        """Presents the ticket of an ending session at every node, for as long as it may be good."""
        self._bury(session, session.ticket, COPY)
        for node in self.nodes:
            self._watcher(self._watched(session, node))

    def _watcher(self, steps):
        task = asyncio.create_task(steps)
        self.watchers.add(task)
        task.add_done_callback(self.watchers.discard)

    async def _watched(self, session, node):
        connection = Connection.tcp(node.port)
        until, user = self.history.now() + WATCH_SECS, None
        while self.history.now() < until or (user and self.running):
            user = (await self._present(session, session.ticket, COPY, node, connection)).user
            await asyncio.sleep(WATCH_EVERY_SECS)
        connection.close()

    def _bury(self, session, ticket, op):
        self.dead.append((session, ticket, op))
        while len(self.dead) > DEAD_MAX:
            self.dead.pop(self.random.randrange(DEAD_MAX // 2))

    async def _dead(self):
        """Dead tickets stay dead, whatever happens to the store."""
        connections = [Connection.tcp(node.port) for node in self.nodes]
        while self.running:
            await asyncio.sleep(DEAD_EVERY_SECS)
            if self.dead:
                node, connection = self._pick(connections)
                await self._present(*self.random.choice(self.dead), node, connection)
        for connection in connections:
            connection.close()

    # ------------------------------------------------------------------------------- the others

    async def _public(self, node):
        connection = Connection.tcp(node.port)
        while self.running:
            begin = self.history.now()
            answer = await self._ask(connection, "GET", "/public/")
            self._note(begin, node, "public", answer)
            await asyncio.sleep(PUBLIC_EVERY_SECS)
        connection.close()

    async def _lag(self):
        """How late this process itself is: a busy machine shows here."""
        while self.running:
            began = self.history.now()
            await asyncio.sleep(0.02)
            self.lag = max(self.lag, self.history.now() - began - 0.02)


def ticket_of(answer):
    """The ticket that an answer sets; None where it sets none or takes it away."""
    for cookie in answer.all("set-cookie"):
        name, _, value = cookie.split(";")[0].partition("=")
        if name == TICKET and value:
            return value
    return None
