"""Links between one party and the servers that it reaches: they can fall silent, or be cut.

A party (a node, or the servers among themselves) sees every server at a port of its own, where a
`Link` listens. Servers that name each other's addresses (Sentinel, Cluster) are rewritten on the
way, so that the party goes on through its links to whatever address it finds out. All ports have
five digits, so that no length changes.
"""

import asyncio

CHUNK = 64 * 1024


class Link:
    """Forwards TCP to one server."""

    def __init__(self, links, target):
        self.links = links
        self.target = target
        self.port = None
        self.server = None
        self.streams = set()
        self.tasks = set()
        self.forth = asyncio.Event()
        self.back = asyncio.Event()
        self.forth.set()
        self.back.set()

    async def start(self):
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _accept(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        far, pumps = None, []
        self.streams.add(writer)
        try:
            # A link that lets nothing through does not let a connection through either; the kernel
            # has accepted it for us, as it would be with a server that hangs.
            await self.forth.wait()
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target, limit=CHUNK)
            self.streams.add(far)
            pumps = [
                asyncio.create_task(self._pump(reader, far, self.forth, False)),
                asyncio.create_task(self._pump(far_reader, writer, self.back, True)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            for stream in (writer, far):
                if stream is not None:
                    self.streams.discard(stream)
                    stream.transport.abort()
            self.tasks.discard(asyncio.current_task())

    async def _pump(self, reader, writer, flow, is_back):
        try:
            while data := await reader.read(CHUNK):
                await flow.wait()
                if is_back:
                    data = self.links.rewritten(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        # Its end takes as long as data would.
        await flow.wait()

    def silence(self, forth=True):
        """Nothing comes back, and with `forth` nothing arrives; connections stay open."""
        self.back.clear()
        if forth:
            self.forth.clear()

    def heal(self):
        """What was held back arrives late, as TCP's resending would have it."""
        self.forth.set()
        self.back.set()

    def cut(self):
        """Resets every connection."""
        for stream in list(self.streams):
            stream.transport.abort()

    def stop(self):
        self.server.close()
        self.cut()
        for task in list(self.tasks):
            task.cancel()


class Links:
    """All links of one party, by the port of the server as others name it."""

    def __init__(self, name):
        self.name = name
        self.by_port = {}
        self.rewrites = []

    async def add(self, target, known_as=None):
        """A link to the server at port `target`; addresses name it by `known_as`."""
        link = Link(self, target)
        await link.start()
        self.by_port[known_as or target] = link
        return link

    def rewrite_addresses(self):
        """From now on answers name our links in place of what they lead to."""
        self.rewrites = []
        for port, link in self.by_port.items():
            old, new = str(port).encode(), str(link.port).encode()
            self.rewrites += [
                (before + old + after, before + new + after)
                for before, after in (
                    (b"$5\r\n", b"\r\n"),  # a string of its own
                    (b":", b"\r\n"),  # a number in CLUSTER SLOTS, an address at an error's end
                    (b"127.0.0.1:", b"@"),  # CLUSTER NODES
                    (b"127.0.0.1 ", b""),  # +switch-master
                )
            ]

    def rewritten(self, data):
        for old, new in self.rewrites:
            if old in data:
                data = data.replace(old, new)
        return data

    def port(self, known_as):
        return self.by_port[known_as].port

    def each(self):
        return list(self.by_port.values())

    def silence(self, forth=True):
        for link in self.each():
            link.silence(forth)

    def heal(self):
        for link in self.each():
            link.heal()

    def stop(self):
        for link in self.each():
            link.stop()
