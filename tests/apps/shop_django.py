"""Django with its sessions in a cache of its own (django.contrib.sessions.backends.cache on Redis).

PORT (0: any), REDIS_URL (must be given), WORKERS (2). Prints READY <port>; ends on SIGTERM or when
its standard input closes. Two processes with threads accept from one socket, as under gunicorn.

What matters here is Django's own: while the cache does not answer, it takes every session for one
that it does not know, answers 200, and deletes the cookie.
"""

import os
import sys
import threading

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["REDIS_URL"],
        }
    },
    INSTALLED_APPS=["django.contrib.sessions"],
    LOGGING_CONFIG=None,
    # Without the CSRF middleware: its cookie is no session's.
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests alone",
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
)

import django
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path


def home(request):
    if "touch" in request.GET:
        request.session["views"] = request.session.get("views", 0) + 1
    return JsonResponse({"app": "django", "worker": os.getpid(), "user": request.session.get("user")})


def whoami(request):
    return JsonResponse({"user": request.session.get("user"), "worker": os.getpid()})


def login(request):
    if request.method != "POST":
        return HttpResponse("<form method=post><input name=username><input name=password></form>")
    user = request.POST.get("username", "")
    if not user or request.POST.get("password") == "wrong":
        return HttpResponse("wrong", status=200)
    # What django.contrib.auth.login does with the session.
    request.session.cycle_key()
    request.session["user"] = user
    return HttpResponseRedirect("/account/")


def logout(request):
    request.session.flush()
    return HttpResponseRedirect("/")


def account(request):
    user = request.session.get("user")
    return HttpResponse(f"account of {user}") if user else HttpResponseRedirect("/login")


urlpatterns = [
    path("", home),
    path("whoami", whoami),
    path("login", login),
    path("logout", logout),
    path("account/", account),
    path("healthz", lambda request: HttpResponse("ok")),
]


class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def end_with(descriptor):
    """Ends this process when the other end of a pipe is closed."""

    def wait():
        while os.read(descriptor, 1024):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main():
    django.setup()
    server = ThreadedWSGIServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Handler)
    server.daemon_threads = True
    server.set_app(get_wsgi_application())
    # Never written to: its end is the first process's end.
    alive, mine = os.pipe()
    for _ in range(1, int(os.environ.get("WORKERS", "2"))):
        if os.fork() == 0:
            os.close(mine)
            end_with(alive)
            break
    else:
        end_with(sys.stdin.fileno())
        print(f"READY {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
