"""The proxies that are compared, and what stands behind them: origin, Redis, certificate."""

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from processes import LOAD_CORE, PROXY_CORE, Child, free_port

BODY = "x" * 1024
BIG_BYTES = 1024 * 1024
FILE_BYTES = 10 * BIG_BYTES
APP_COOKIE = "EGG_SESS"


@dataclass
class Proxy:
    """A proxy that runs, and its two ports."""

    child: Child
    https: int
    plain: int

    def port(self, secure):
        return self.https if secure else self.plain


@dataclass
class Place:
    """What all proxies of one run share."""

    directory: Path
    certificate: tuple
    origin: int
    redis: int
    binary: Path | None


def prepare(directory, binary):
    """Starts what stands behind the proxies."""
    return Place(directory, make_certificate(directory), start_origin(directory), start_redis(directory), binary)


def nginx(name, core, directory, port, http_text, program=("nginx", "-e", "stderr", "-c")):
    """An nginx with one worker and these `http` directives, or another program that serves its file."""
    home = directory / name
    home.mkdir()
    temporary = "\n".join(
        f"  {kind}_temp_path {home}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = home / "nginx.conf"
    config.write_text(f"""\
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
pid {home}/pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
{temporary}
  access_log off;
  absolute_redirect off;
  keepalive_requests 100000000;
  client_max_body_size 0;
{http_text}
}}
""")
    return Child(name, core, [*program, config], directory, port)


def start_origin(directory):
    """The origin. `/up` reads the whole body into memory before it asks itself for the answer."""
    port = free_port()
    (directory / "big").write_bytes(b"x" * BIG_BYTES)
    nginx("origin", LOAD_CORE, directory, port, f"""\
  sendfile on;
  open_file_cache max=10;
  upstream self {{ server 127.0.0.1:{port}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "{BODY}"; }}
    location = /down {{ default_type text/plain; alias {directory}/big; }}
    location = /up {{
      client_body_buffer_size {2 * BIG_BYTES};
      proxy_pass http://self/;
      proxy_http_version 1.1;
      proxy_method GET;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
    }}
    location = /seen {{ default_type text/plain; return 200 "$http_cookie"; }}
    location = /login {{
      add_header Set-Cookie "{APP_COOKIE}=$request_id$request_id; path=/; max-age=86400; httponly" always;
      return 302 /account/;
    }}
  }}""")
    return port


def start_nginx(name, place):
    https, plain = free_port(), free_port()
    chain, key = place.certificate
    child = nginx(name, PROXY_CORE, place.directory, https, f"""\
  upstream origin {{
    server 127.0.0.1:{place.origin};
    keepalive 128;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    listen 127.0.0.1:{https} ssl http2 backlog=4096;
    server_name localhost;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:4m;
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}""")
    return Proxy(child, https, plain)


def start_same_file(name, place, program):
    """nginx, or Cloakroom with `import --run`, and one file for both: patterns, a rewrite, fields, a log; files."""
    https, plain = free_port(), free_port()
    chain, key = place.certificate
    big = place.directory / "file"
    if not big.exists():
        big.write_bytes(b"x" * FILE_BYTES)
    child = nginx(name, PROXY_CORE, place.directory, https, f"""\
  sendfile on;
  default_type text/plain;
  upstream origin {{
    server 127.0.0.1:{place.origin};
    keepalive 128;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    listen 127.0.0.1:{https} ssl backlog=4096;
    server_name localhost;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    location / {{ return 404; }}
    location = /file {{ alias {big}; }}
    location ~ \\.(php|cgi)$ {{ return 403; }}
    location ~* ^/assets/.*\\.(css|js)$ {{ return 404; }}
    location ~ ^/shop/(?<kind>[a-z]+)/(\\d+)$ {{
      rewrite ^/shop/[a-z]+/(\\d+)$ /?id=$1&kind=$kind break;
      add_header X-Frame-Options DENY;
      add_header X-Kind $kind always;
      access_log {place.directory}/{name}.access.log combined;
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}""", program)
    return Proxy(child, https, plain)


def start_haproxy(name, place):
    https, plain = free_port(), free_port()
    home = place.directory / name
    home.mkdir()
    both = home / "chain-and-key.pem"
    both.write_text("".join(Path(part).read_text() for part in place.certificate))
    config = home / "haproxy.cfg"
    config.write_text(f"""\
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout http-keep-alive 75s
  option forwardfor
  http-reuse always
frontend all
  bind 127.0.0.1:{plain} backlog 4096
  bind 127.0.0.1:{https} ssl crt {both} ssl-min-ver TLSv1.2 alpn h2,http/1.1 backlog 4096
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend origin
backend origin
  server origin 127.0.0.1:{place.origin} pool-max-conn 128
""")
    return Proxy(Child(name, PROXY_CORE, ["haproxy", "-db", "-f", config], place.directory, https), https, plain)


def start_cloakroom(name, place, session=False):
    """A Cloakroom with one worker; with a session policy and Redis, if asked for."""
    https, plain = free_port(), free_port()
    home = place.directory / name
    home.mkdir()
    chain, key = place.certificate
    policy, store = "", "store: memory"
    if session:
        policy = ", session: bench"
        store = f"""\
store: redis://127.0.0.1:{place.redis}/0
sessions:
  bench:
    mode: vault
    cookie: {{ name: bench, same_site: lax }}
    app_cookies: [{APP_COOKIE}]
    timeouts: {{ idle: 30m, absolute: 12h, renew_every: 15m, grace: 60s }}
    login:
      - {{ request: POST /login, success: {{ status: [302], location: /account/ }}, subject: {{ form: username }} }}
    anonymous_per_minute: 1000000"""
    config = home / "cloakroom.yaml"
    config.write_text(f"""\
workers: 1
state_directory: {home}
listeners:
  - address: 127.0.0.1:{https}
    tls:
      certificates: [{{ chain: {chain}, key: {key} }}]
    protocols: [h2, http/1.1]
  - address: 127.0.0.1:{plain}
limits: {{ keepalive_requests: 100000000 }}
{store}
upstreams:
  origin:
    endpoints: [{{ address: 127.0.0.1:{place.origin} }}]
servers:
  - names: [localhost]
    routes:
      - {{ path: /, upstream: origin{policy} }}
log: {{ level: warn, access: false }}
""")
    return Proxy(Child(name, PROXY_CORE, [place.binary, "-c", config], place.directory, https), https, plain)


def start_redis(directory):
    port = free_port()
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    Child("redis", LOAD_CORE, [*command, "--dir", directory], directory, port)
    return port


def redis_commands(port):
    """Commands that Redis has carried out so far, without heartbeats and this very question."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"INFO commandstats\r\n")
        length = int(answer.readline().removeprefix(b"$"))
        lines = answer.read(length).decode().splitlines()
    stats = [line.removeprefix("cmdstat_").split(":calls=") for line in lines if ":calls=" in line]
    return sum(int(rest.split(",", 1)[0]) for name, rest in stats if name not in ("ping", "info"))


def make_certificate(directory):
    chain, key = directory / "bench.pem", directory / "bench.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", key, "-out", chain],
        check=True, capture_output=True,
    )
    return chain, key
