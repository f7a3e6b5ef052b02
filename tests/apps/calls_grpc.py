"""A gRPC service with all four kinds of calls, and a client that makes them. Messages are bytes.

    calls_grpc.py serve                     PORT (0: any); says READY <port>
    calls_grpc.py call ADDRESS HOST CA      makes every call through ADDRESS, and prints what came as JSON
"""

import json
import os
import queue
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "test.Calls"
LARGE = 3 * 1024 * 1024


def unary(request, context):
    seen = {key: value for key, value in context.invocation_metadata() if key == "x-client"}
    context.send_initial_metadata((("x-initial", "here"),))
    context.set_trailing_metadata((("x-trailing", seen.get("x-client", "-")), ("x-binary-bin", b"\x00\xff")))
    return request[::-1]


def gather(requests, context):
    return b",".join(requests)


def spread(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def talk(requests, context):
    # Each message is answered before the next one is awaited.
    for request in requests:
        yield b"re: " + request


def refuse(request, context):
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room: 100 %")


gone = []


def sleep(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    if ended.wait(20):
        gone.append(request)
    return b"late"


def sleep_on(request, context):
    yield b"asleep"
    yield sleep(request, context)


def count(request, context):
    return b"%d" % len(gone)


def serve():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Spread": grpc.unary_stream_rpc_method_handler(spread),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
        "SleepOn": grpc.unary_stream_rpc_method_handler(sleep_on),
        "Count": grpc.unary_unary_rpc_method_handler(count),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port(f"127.0.0.1:{os.environ.get('PORT', '0')}")
    server.start()
    print(f"READY {port}", flush=True)
    # Ends with whoever started it.
    sys.stdin.read()
    server.stop(0)


def metadata(pairs):
    return {key: value if isinstance(value, str) else list(value) for key, value in pairs if key.startswith("x-")}


def talk_slowly(channel):
    """Sends a message when the answer to the one before has come: neither side may be buffered."""
    waiting = queue.Queue()
    answers = channel.stream_stream(f"/{SERVICE}/Talk")(iter(waiting.get, None), timeout=20)
    heard = []
    for word in (b"one", b"two", b"three"):
        waiting.put(word)
        heard.append(next(answers).decode())
    waiting.put(None)
    return heard + [answer.decode() for answer in answers]


def failure(channel, method, timeout):
    try:
        channel.unary_unary(f"/{SERVICE}/{method}")(b"x", timeout=timeout)
    except grpc.RpcError as error:
        return [error.code().name, error.details()]


def cancel(channel, before):
    """Calls off a call that nobody has answered, and one in the middle of its answers; the server hears of both."""
    waits = channel.unary_unary(f"/{SERVICE}/Sleep").future(b"x", timeout=20)
    begun = channel.unary_stream(f"/{SERVICE}/SleepOn")(b"x", timeout=20)
    first = next(begun).decode()
    waits.cancel()
    begun.cancel()
    count = channel.unary_unary(f"/{SERVICE}/Count")
    for _ in range(200):
        heard = int(count(b"", timeout=20)) - before
        if heard == 2:
            break
        time.sleep(0.05)
    return [waits.code().name, first, begun.code().name, heard]


def call(address, host, ca):
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = (("grpc.ssl_target_name_override", host), ("grpc.max_receive_message_length", 2 * LARGE))
    with grpc.secure_channel(address, credentials, options) as channel:
        unary = channel.unary_unary(f"/{SERVICE}/Unary")
        answer, sent = unary.with_call(b"abc", metadata=(("x-client", "me"),), timeout=20)
        gather = channel.stream_unary(f"/{SERVICE}/Gather")
        spread = channel.unary_stream(f"/{SERVICE}/Spread")
        deadline = failure(channel, "Sleep", 0.3)[0]
        cancelled = cancel(channel, 1)
        large = gather(iter([b"x" * LARGE]), timeout=20)
        print(json.dumps({
            "unary": answer.decode(),
            "initial": metadata(sent.initial_metadata()),
            "trailing": metadata(sent.trailing_metadata()),
            "gather": gather(iter([b"a", b"b", b"c"]), timeout=20).decode(),
            "spread": [message.decode() for message in spread(b"5", timeout=20)],
            "talk": talk_slowly(channel),
            "refuse": failure(channel, "Refuse", 20),
            "missing": failure(channel, "Missing", 20)[0],
            "deadline": deadline,
            "cancelled": cancelled,
            "large": large == b"x" * LARGE,
            "many": sum(unary(b"ab", timeout=20) == b"ba" for _ in range(300)),
        }), flush=True)


if sys.argv[1] == "serve":
    serve()
else:
    call(*sys.argv[2:])
