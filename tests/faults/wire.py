"""HTTP/1.1, as little as is needed: connections that are kept, and the origin's end of them."""

import asyncio
from typing import NamedTuple

TIMEOUT_SECS = 5
HEAD_BYTES_MAX = 64 * 1024


class Answer(NamedTuple):
    status: int  # 0: none came
    fields: list  # (lower-case name, value)
    content: bytes

    def all(self, name):
        return [value for field, value in self.fields if field == name]


NOTHING = Answer(0, [], b"")


def read_head(head):
    """The first line and the fields."""
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = []
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields.append((name.strip().lower(), value.strip()))
    return first, fields


async def read_body(reader, fields):
    fields = dict(fields)
    if fields.get("transfer-encoding", "").lower() == "chunked":
        pieces = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        while (await reader.readline()).strip():
            pass
        return b"".join(pieces)
    return await reader.readexactly(int(fields.get("content-length", 0)))


class Connection:
    """To one server; opened when it is needed, kept as long as the server keeps it."""

    def __init__(self, open_stream):
        self.open_stream = open_stream
        self.stream = None

    @classmethod
    def tcp(cls, port):
        return cls(lambda: asyncio.open_connection("127.0.0.1", port, limit=HEAD_BYTES_MAX))

    @classmethod
    def unix(cls, path):
        return cls(lambda: asyncio.open_unix_connection(path, limit=HEAD_BYTES_MAX))

    async def ask(self, method, target, fields=(), content=b"", timeout=TIMEOUT_SECS):
        """Asks once; a failure of any kind is `NOTHING`, and closes the connection."""
        try:
            async with asyncio.timeout(timeout):
                return await self._ask(method, target, fields, content)
        except (OSError, EOFError, ValueError, IndexError, TimeoutError, asyncio.LimitOverrunError):
            self.close()
            return NOTHING
        except asyncio.CancelledError:
            self.close()
            raise

    async def _ask(self, method, target, fields, content):
        if self.stream is None:
            self.stream = await self.open_stream()
        reader, writer = self.stream
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        if content or method == "POST":
            lines.append(f"Content-Length: {len(content)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            first, answered = read_head(head)
            status = int(first.split(" ")[1])
            if status >= 200:
                break
        body = b"" if status in (204, 304) else await read_body(reader, answered)
        if ("connection", "close") in [(name, value.lower()) for name, value in answered]:
            self.close()
        return Answer(status, answered, body)

    def close(self):
        if self.stream is not None:
            self.stream[1].close()
            self.stream = None


class Server:
    """Answers with what `respond(method, target, fields)` returns: status, fields, content."""

    def __init__(self, respond):
        self.respond = respond
        self.server = None
        self.port = None

    async def start(self):
        self.server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX, backlog=1024
        )
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        try:
            while True:
                first, fields = read_head(await reader.readuntil(b"\r\n\r\n"))
                method, target, _ = first.split(" ")
                await read_body(reader, fields)
                status, answered, content = self.respond(method, target, dict(fields))
                lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}"]
                lines += [f"{name}: {value}" for name, value in answered]
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        except (OSError, EOFError, ValueError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def stop(self):
        self.server.close()
