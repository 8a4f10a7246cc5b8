"""A gRPC service and its client, as anybody would write them: they know nothing of names but their text.

    greeter.py serve PORT
    greeter.py call TARGET CALLS IN_FLIGHT MESSAGES
    greeter.py pace TARGET RATE SECONDS DEADLINE RECORDS
    greeter.py hold TARGET

The client makes CALLS unary calls, IN_FLIGHT at a time, then one bidirectional stream of MESSAGES, each sent after the answer to the one before.
It prints what became of them as JSON. `pace` makes RATE unary calls a second, whatever became of those before, gives each DEADLINE seconds, and writes a
line for each to RECORDS, as dmsc-lab's other generators do. `hold` keeps one stream open after its first message, says "open", and prints how it ended.
"""

import json
import queue
import re
import sys
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "dmsc.examples.Greeter"
TIMEOUT = 10.0


def messages():
    """The messages of greeter.proto, without its generated code."""
    file = descriptor_pb2.FileDescriptorProto(name="greeter.proto", package="dmsc.examples", syntax="proto3")
    for message, field in (("HelloRequest", "name"), ("HelloReply", "message")):
        file.message_type.add(name=message).field.add(name=field, number=1, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    factory = message_factory.MessageFactory(pool)
    return [
        factory.GetPrototype(pool.FindMessageTypeByName("dmsc.examples." + name))
        for name in ("HelloRequest", "HelloReply")
    ]


HelloRequest, HelloReply = messages()


def greeting(request):
    return HelloReply(message=f"Hello {request.name}")


def serve(port):
    greeter = grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Hello": grpc.unary_unary_rpc_method_handler(
                lambda request, context: greeting(request), HelloRequest.FromString, HelloReply.SerializeToString
            ),
            "Chat": grpc.stream_stream_rpc_method_handler(
                lambda requests, context: map(greeting, requests), HelloRequest.FromString, HelloReply.SerializeToString
            ),
        },
    )
    # grpc.health.v1: field 1 of the answer, status 1, SERVING.
    health = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")}
    )
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((greeter, health))
    if server.add_insecure_port(f"127.0.0.1:{port}") == 0:
        sys.exit(f"cannot listen on port {port}")
    server.start()
    server.wait_for_termination()


def call(target, calls, in_flight, count):
    channel = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
    codec = dict(request_serializer=HelloRequest.SerializeToString, response_deserializer=HelloReply.FromString)
    hello = channel.unary_unary(f"/{SERVICE}/Hello", **codec)
    chat = channel.stream_stream(f"/{SERVICE}/Chat", **codec)
    result = {"calls": calls, "ok": 0, "wrong": 0, "failed": {}}
    latencies = []
    lock, free, left = threading.Lock(), threading.Semaphore(in_flight), threading.Semaphore(0)

    def done(answer, index, began):
        with lock:
            if answer.code() is grpc.StatusCode.OK:
                latencies.append(time.monotonic() - began)
                right = f"caller-{index}" in answer.result().message
                result["ok" if right else "wrong"] += 1
            else:
                kind = f"{answer.code().name}: {answer.details()}"
                result["failed"][kind] = result["failed"].get(kind, 0) + 1
        free.release()
        left.release()

    began = time.monotonic()
    for index in range(calls):
        free.acquire()
        at = time.monotonic()
        answer = hello.future(HelloRequest(name=f"caller-{index}"), timeout=TIMEOUT)
        answer.add_done_callback(lambda answer, index=index, at=at: done(answer, index, at))
    for _ in range(calls):
        left.acquire()
    seconds = time.monotonic() - began
    latencies.sort()

    def percentile(share):
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1e3 if latencies else None

    result.update(calls_per_s=calls / seconds, p50_ms=percentile(0.50), p99_ms=percentile(0.99))
    result.update(stream=converse(chat, count))
    print(json.dumps(result))


def converse(chat, count):
    """One stream in both directions; each message follows the answer to the one before."""
    out = queue.Queue()
    answers = chat(iter(out.get, None), timeout=30.0)
    outcome = {"messages": 0, "wrong": 0, "failed": None}
    began = time.monotonic()
    try:
        for index in range(count):
            out.put(HelloRequest(name=f"message-{index}"))
            outcome["messages"] += 1
            outcome["wrong"] += f"message-{index}" not in next(answers).message
        out.put(None)
        outcome["wrong"] += len(list(answers))
    except (grpc.RpcError, StopIteration) as error:
        outcome["failed"] = repr(error)
        out.put(None)
    outcome["ms_each"] = (time.monotonic() - began) / max(count, 1) * 1e3
    return outcome


def pace(target, rate, seconds, deadline, path):
    """Open loop: a call that hangs keeps none of the others."""
    channel = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
    codec = dict(request_serializer=HelloRequest.SerializeToString, response_deserializer=HelloReply.FromString)
    hello = channel.unary_unary(f"/{SERVICE}/Hello", **codec)
    ended, send_late = {}, 0

    def done(answer, index, due):
        latency = time.monotonic_ns() - due
        ended[index] = (latency, fate(answer, index))

    begin = time.monotonic_ns()
    print(f"started {begin}", file=sys.stderr, flush=True)
    dues = [begin + int(index * 1e9 / rate) for index in range(int(rate * seconds))]
    for index, due in enumerate(dues):
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        send_late = max(send_late, time.monotonic_ns() - due)
        answer = hello.future(HelloRequest(name=f"caller-{index}"), timeout=deadline)
        answer.add_done_callback(lambda answer, index=index, due=due: done(answer, index, due))
    # The library ends a call at its deadline. One that is not over a second later hangs.
    last = time.monotonic() + deadline + 1.0
    while len(ended) < len(dues) and time.monotonic() < last:
        time.sleep(0.01)
    with open(path, "w") as records:
        for index, due in enumerate(dues):
            latency, outcome = ended.get(index, (0, "late"))
            print(index, due, latency, outcome, 0, 0, "-", file=records)
    print(json.dumps({"send_late_max_us": send_late / 1e3}))
    channel.close()


def fate(answer, index):
    """As of the lab's HTTP client: an error is clear if it has the edge's reason; one that this end's own clock made is an answer that did not come."""
    code = answer.code()
    if code is grpc.StatusCode.OK:
        return "ok" if answer.result().message == f"Hello caller-{index}" else "broken:answer-to-another-call"
    reason = dict(answer.trailing_metadata() or ()).get("dmsc-error")
    if reason:
        return f"error:{code.name}:{reason}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "late"
    return re.sub(r"\s", "-", f"broken:{code.name}: {answer.details()}")


def hold(target):
    """A stream with nothing to say after its first message, until somebody ends it."""
    channel = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
    codec = dict(request_serializer=HelloRequest.SerializeToString, response_deserializer=HelloReply.FromString)
    out = queue.Queue()
    answers = channel.stream_stream(f"/{SERVICE}/Chat", **codec)(iter(out.get, None))
    out.put(HelloRequest(name="holder"))
    try:
        next(answers)
        print("open", file=sys.stderr, flush=True)
        next(answers)
    except (grpc.RpcError, StopIteration):
        pass
    print(json.dumps({"code": answers.code().name, "details": answers.details()}))
    out.put(None)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "serve":
        serve(int(rest[0]))
    elif command == "hold":
        hold(rest[0])
    elif command == "pace":
        pace(rest[0], int(rest[1]), float(rest[2]), float(rest[3]), rest[4])
    else:
        call(rest[0], *map(int, rest[1:]))
