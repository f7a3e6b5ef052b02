"""Single requests: logins before the rounds, idle connections, allocations counted."""

import http.client
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import time

from processes import fail
from proxies import APP_COOKIE

IDLE_CONNECTIONS = 6000
COUNTED_REQUESTS = 200
ALLOCATORS = (
    "mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned", "__libc_malloc", "__libc_calloc", "__libc_realloc",
)


def connect(port, secure):
    if secure:
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    return http.client.HTTPConnection("localhost", port, timeout=10)


def exchange(connection, method, path, cookie=None, body=None):
    """One request: status, Set-Cookie lines, content."""
    headers = {"Cookie": cookie} if cookie else {}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read().decode()
    return response.status, response.headers.get_all("Set-Cookie") or [], content


def ask(port, secure, method, path, cookie=None, body=None):
    """One request on a connection of its own."""
    connection = connect(port, secure)
    answer = exchange(connection, method, path, cookie, body)
    connection.close()
    return answer


def log_in(port, count, stand_in):
    """Logs `count` users in and returns their Cookie lines, each presented once and checked."""
    lines = []
    for number in range(count):
        status, cookies, _ = ask(port, True, "POST", "/login", body=f"username=user{number}&password=x")
        names = [cookie.split("=", 1)[0] for cookie in cookies]
        expected = [APP_COOKIE] if stand_in else ["__Host-bench"]
        if status != 302 or names != expected:
            fail(f"login {number} answered {status} and set {names}, not {expected}")
        line = cookies[0].split(";", 1)[0]
        status, _, seen = ask(port, True, "GET", "/seen", cookie=line)
        if status != 200 or not seen.startswith(f"{APP_COOKIE}="):
            fail(f"the session of login {number} is not live: {status}, the origin saw {len(seen)} bytes of cookies")
        lines.append(line)
    return lines


def idle_kib(proxy, secure):
    """KiB by which a fresh proxy grows for each connection that waits after one request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE_CONNECTIONS + 200
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            fail(f"idle needs {needed} open files, and the limit is {hard}: ulimit -n {needed}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))

    def open_one():
        connection = connect(proxy.port(secure), secure)
        status, _, _ = exchange(connection, "GET", "/")
        if status != 200:
            fail(f"{proxy.child.name} answered {status} on an idle connection")
        return connection

    # What the first requests leave behind for good is no connection's.
    for connection in [open_one() for _ in range(50)]:
        connection.close()
    time.sleep(1)
    before = proxy.child.rss_kib()
    idle = [open_one() for _ in range(IDLE_CONNECTIONS)]
    time.sleep(1)
    grown = proxy.child.rss_kib() - before
    lost = sum(has_ended(connection.sock) for connection in idle)
    if lost:
        fail(f"{proxy.child.name} closed {lost} of {IDLE_CONNECTIONS} idle connections")
    for connection in idle:
        connection.close()
    return grown / IDLE_CONNECTIONS


def has_ended(sock):
    """Whether the peer has closed; unread bytes of TLS are no end."""
    with socket.socket(fileno=socket.dup(sock.fileno())) as raw:
        raw.setblocking(False)
        try:
            return raw.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def allocations(child, port, secure, cookie):
    """Allocations for each of some requests on one connection, counted by gdb's breakpoints; None without gdb."""
    if shutil.which("gdb") is None:
        return None
    connection = connect(port, secure)
    for _ in range(COUNTED_REQUESTS):
        exchange(connection, "GET", "/", cookie)
    script = ["set breakpoint pending off", "set pagination off"]
    # By address: by name, gdb adds whatever else is called so and was inlined.
    script += [f"break *{name}" for name in ALLOCATORS]
    script += [f"ignore {number + 1} 1000000000" for number in range(len(ALLOCATORS))]
    script += ["echo counting\\n", "continue", "info breakpoints", "detach"]
    command = ["gdb", "-nx", "-batch", "-p", str(child.process.pid)]
    for line in script:
        command += ["-ex", line]
    gdb = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown = []
    for line in gdb.stdout:
        shown.append(line)
        if line.startswith("counting"):
            break
    else:
        gdb.wait()
        return None
    time.sleep(0.5)
    for _ in range(COUNTED_REQUESTS):
        status, _, _ = exchange(connection, "GET", "/", cookie)
        if status != 200:
            fail(f"{child.name} answered {status} while allocations were counted")
    gdb.send_signal(signal.SIGINT)
    rest = gdb.communicate(timeout=30)[0]
    connection.close()
    hits = sum(map(int, re.findall(r"breakpoint already hit (\d+) time", rest)))
    return hits / COUNTED_REQUESTS if hits else None
