"""One round of load on one proxy, and the tables of the medians."""

import json
import os
import re
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from processes import LOAD_CORE, fail
from proxies import BIG_BYTES, BODY, FILE_BYTES, Proxy, redis_commands

HERE = Path(__file__).resolve().parent
NGINX, CONTROL, HAPROXY, BARE, VAULT = "nginx", "nginx again", "HAProxy", "no session", "vault + Redis"
H2_CONNECTIONS, H2_STREAMS = 8, 10
NEW_AT_A_TIME = 256
ROUTED = "/shop/books/17"
# With more, bodies on their way fill the processor's caches, and memory is what is measured.
BIG_CONNECTIONS = 8
# So far nginx may move against itself, as a ratio, before its table says nothing.
CONTROL_MAX = 1.10


@dataclass
class Variant:
    name: str
    proxy: Proxy
    secure: bool
    redis: int | None = None
    allocations: float | None = None
    rounds: list = field(default_factory=list)

    @property
    def url(self):
        return f"{'https' if self.secure else 'http'}://localhost:{self.proxy.port(self.secure)}"

    def median(self, key):
        values = [one[key] for one in self.rounds]
        return None if None in values else statistics.median(values)


# ---------------------------------------------------------------------------------------- load


def on_load_core(command, variant, **options):
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *map(str, command)], capture_output=True, text=True, **options,
    )
    if done.returncode != 0:
        fail(f"{command[0]} on {variant.name}: {done.stdout}{done.stderr}")
    return done.stdout


def wrk(path, connections=None, body_bytes=0):
    """Load by wrk, on so many connections (else `--connections`) that stay open."""

    def drive(variant, cookies, arguments, seconds):
        shown = on_load_core(
            ["wrk", "-t1", f"-c{connections or arguments.connections}", f"-d{seconds}s", "-s", HERE / "load.lua", variant.url],
            variant, env={**os.environ, "COOKIES": str(cookies), "LOAD_PATH": path, "BODY_BYTES": str(body_bytes)},
        )
        results = [line for line in shown.splitlines() if line.startswith("RESULT ")]
        if not results:
            fail(f"wrk on {variant.name}: {shown}")
        return json.loads(results[0].removeprefix("RESULT "))

    return drive


def h2(variant, cookies, _, seconds):
    """Load by h2load. A browser's connection has one session: all requests carry the same Cookie line."""
    cookie = cookies.read_text().splitlines()[0]
    return read_h2load(on_load_core(
        ["h2load", "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", "-D", seconds, "-H", f"cookie: {cookie}",
         f"{variant.url}/"],
        variant,
    ), seconds)


def new_connections(variant, cookies, _, seconds):
    """Bursts of connections with one request each. Each is a client of its own, so that none can resume."""
    cookie = cookies.read_text().splitlines()[0]
    total, deadline = {"requests": 0, "us": 0, "errors": 0}, time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        one = read_h2load(on_load_core(
            ["h2load", "--h1", "-t1", f"-c{NEW_AT_A_TIME}", f"-n{NEW_AT_A_TIME}", "-m1", "-H", "connection: close",
             "-H", f"cookie: {cookie}", f"{variant.url}/"],
            variant,
        ), 0)
        one["us"] = (time.monotonic() - began) * 1e6
        total = {key: total[key] + one[key] for key in total}
    return total


def read_h2load(shown, seconds):
    def count(name):
        return int(re.search(rf"(\d+) {name}", shown).group(1))

    good = count("2xx")
    bad = sum(map(count, ("3xx", "4xx", "5xx", "failed", "errored", "timeout")))
    return {"requests": good, "us": seconds * 1e6, "errors": bad}


def measure(drive, variant, cookies, arguments, seconds):
    """One round: what the load saw, and what the proxy spent on it."""
    child = variant.proxy.child
    asked = redis_commands(variant.redis) if variant.redis else 0
    before, began = child.usage(), time.monotonic()
    result = drive(variant, cookies, arguments, seconds)
    spent, took = child.usage() - before, time.monotonic() - began
    requests = result["requests"]
    if result["errors"] or not requests:
        fail(f"{variant.name}: {result['errors']} errors in {requests} requests\n{child.log.read_text()}")
    return {
        "requests": requests,
        "redis": redis_commands(variant.redis) - asked if variant.redis else 0,
        "per_sec": requests / (result["us"] / 1e6),
        "cpu_us": (spent.user_secs + spent.system_secs) / requests * 1e6,
        "user_us": spent.user_secs / requests * 1e6,
        "switches": spent.switches / requests,
        "busy": (spent.user_secs + spent.system_secs) / took,
        "p50_ms": result["p50_us"] / 1000 if "p50_us" in result else None,
        "p99_ms": result["p99_us"] / 1000 if "p99_us" in result else None,
        "rss_mib": child.rss_kib() / 1024,
    }


@dataclass
class Part:
    """One table: what is loaded how, and whether a session has a row in it."""

    title: str
    drive: object
    secure: bool
    session: bool = False
    # 1 KiB answers to GET on connections that are kept: where allocations can be counted alike.
    plain_requests: bool = False
    # nginx and Cloakroom with one file of nginx's; what is asked for first, and how long its answer is.
    same_file: tuple | None = None


PARTS = {
    "http": Part("HTTP", wrk("/"), secure=False, plain_requests=True),
    "https": Part("HTTPS", wrk("/"), secure=True, session=True, plain_requests=True),
    "h2": Part(f"HTTP/2, {H2_CONNECTIONS} connections × {H2_STREAMS} streams", h2, secure=True, session=True),
    "down": Part(f"1 MiB down, HTTP, {BIG_CONNECTIONS} connections", wrk("/down", BIG_CONNECTIONS), secure=False),
    "up": Part(f"1 MiB up, HTTP, {BIG_CONNECTIONS} connections", wrk("/up", BIG_CONNECTIONS, BIG_BYTES), secure=False),
    "routed": Part("three patterns, a rewrite, two fields, a log", wrk(ROUTED), secure=False, same_file=(ROUTED, len(BODY))),
    "file": Part("10 MiB file, HTTP", wrk("/file", BIG_CONNECTIONS), secure=False, same_file=("/file", FILE_BYTES)),
    "files": Part("10 MiB file, HTTPS", wrk("/file", BIG_CONNECTIONS), secure=True, same_file=("/file", FILE_BYTES)),
    "tls": Part("new TLS connections, one request each, none resumed", new_connections, secure=True),
}


# -------------------------------------------------------------------------------------- tables


def moved(nginx, control):
    """Why a table cannot be read, or nothing: nginx has to agree with itself."""
    ratio = control / nginx
    if 1 / CONTROL_MAX <= ratio <= CONTROL_MAX:
        return None
    return f"unreadable: nginx again took {ratio:.2f} × what nginx took in the same rounds"


def table(variants):
    """The medians as a Markdown table, or why there is none."""
    cpu = {variant.name: variant.median("cpu_us") for variant in variants}
    reason = moved(cpu[NGINX], cpu[CONTROL])
    if reason:
        return reason, False
    lines = [
        "| proxy | requests/s | processor µs/request (user) | × nginx | × no session | switches/request "
        "| allocations/request | p50 ms | p99 ms | core busy | RSS MiB |",
        "| --- |" + " ---: |" * 10,
    ]

    def shown(value, form):
        return "–" if value is None else format(value, form)

    for variant in variants:
        lines.append(
            f"| {variant.name} | {variant.median('per_sec'):,.0f} "
            f"| {cpu[variant.name]:.1f} ({variant.median('user_us'):.1f}) "
            f"| {cpu[variant.name] / cpu[NGINX]:.2f} | {cpu[variant.name] / cpu[BARE]:.2f} "
            f"| {variant.median('switches'):.3f} | {shown(variant.allocations, '.1f')} "
            f"| {shown(variant.median('p50_ms'), '.2f')} | {shown(variant.median('p99_ms'), '.2f')} "
            f"| {variant.median('busy'):.0%} | {variant.median('rss_mib'):.1f} |"
        )
    return "\n".join(lines), True


def idle_table(kib):
    """KiB for each idle connection, by transport and proxy."""
    for of in kib.values():
        reason = moved(of[NGINX], of[CONTROL])
        if reason:
            return reason, False
    lines = ["| proxy | KiB/connection, HTTP | × nginx | KiB/connection, HTTPS | × nginx |", "| --- |" + " ---: |" * 4]
    for name in kib["HTTP"]:
        cells = [f"{of[name]:.1f} | {of[name] / of[NGINX]:.2f}" for of in kib.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines), True
