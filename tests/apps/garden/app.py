"""What it sees, under gunicorn. SEEN: the file to write it to."""

import os


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    # What was broken off is no request.
    if len(body) < int(environ.get("CONTENT_LENGTH") or 0):
        start_response("400 Bad Request", [("Content-Length", "0")])
        return []
    line = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {body.hex()}".encode("latin-1")
    with open(os.environ["SEEN"], "ab") as seen:
        seen.write(line + b"\n")
    start_response("200 OK", [("Content-Length", str(len(line)))])
    # gunicorn would send it, and a HEAD has no body.
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [line]
