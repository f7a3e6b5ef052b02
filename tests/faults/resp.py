"""Talks to a Redis server, one command or a pipeline on a connection of its own."""

import asyncio

TIMEOUT_SECS = 5


class Refused(Exception):
    """An error that the server answered with."""


def encoded(words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def read_answer(reader):
    line = (await reader.readline())[:-2]
    if not line:
        raise EOFError("closed")
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        return Refused(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        if int(rest) < 0:
            return None
        return (await reader.readexactly(int(rest) + 2))[:-2].decode(errors="replace")
    if kind == b"*":
        return [await read_answer(reader) for _ in range(max(int(rest), 0))]
    raise EOFError(f"no answer of Redis: {line!r}")


async def pipeline(port, commands, password=None, timeout=TIMEOUT_SECS):
    """The answers to commands, errors among them as `Refused`."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            login = [("AUTH", password)] if password else []
            writer.write(b"".join(encoded(words) for words in [*login, *commands]))
            answers = [await read_answer(reader) for _ in [*login, *commands]]
            return answers[len(login):]
        finally:
            writer.close()


async def command(port, *words, password=None, timeout=TIMEOUT_SECS):
    """The answer to one command.

    # Raises
    `Refused`, `OSError`, `EOFError`, `TimeoutError`.
    """
    [answer] = await pipeline(port, [words], password, timeout)
    if isinstance(answer, Refused):
        raise answer
    return answer


async def answers(port, *words, password=None):
    """The answer to one command, or None while there is none."""
    try:
        return await command(port, *words, password=password, timeout=1)
    except (Refused, OSError, EOFError, TimeoutError):
        return None
