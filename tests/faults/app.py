"""A tiny application with sessions, kept in its cookie: `identifier.user.count`.

It keeps the identifier at login, as most applications do (PROTOCOL.md, "X"), and believes whatever
comes: what it is shown is what the proxy lends.
"""

import json
import secrets
from urllib.parse import parse_qs, urlsplit

from wire import Server

COOKIE = "app_session"


def application():
    """The server; `start()` it."""
    return Server(respond)


def respond(method, target, fields):
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    sid, user, count = read(fields.get("cookie", ""))
    told, status, id_ = [], "200 OK", fields.get("x-session-id")
    # What is shown is what the request brought; for the two that make a session, what they made.
    shown = {"sid": sid, "user": user or None, "n": count, "id": id_}
    if parts.path == "/begin":
        shown |= {"sid": secrets.token_hex(8), "user": None, "n": 0}
        told = [written(shown["sid"], "", 0)]
    elif parts.path == "/login" and method == "POST":
        shown |= {"sid": sid or secrets.token_hex(8), "user": query["user"], "n": 0}
        told = [written(shown["sid"], query["user"], 0), ("Location", "/account/"), ("X-User", query["user"])]
        status = "302 Found"
    elif parts.path == "/write" and method == "POST" and user:
        told = [written(sid, user, int(query["n"]))]
    elif parts.path == "/logout" and method == "POST":
        told = [("Set-Cookie", f"{COOKIE}=; path=/; max-age=0")]
    return status, [("Content-Type", "application/json"), *told], json.dumps(shown).encode()


def written(sid, user, count):
    return "Set-Cookie", f"{COOKIE}={sid}.{user}.{count}; path=/; httponly"


def read(cookies):
    """The session that a Cookie line names, or none."""
    for pair in cookies.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and value.count(".") == 2:
            sid, user, count = value.split(".")
            return sid, user, int(count)
    return None, "", None
