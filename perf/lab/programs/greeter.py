"""A gRPC service and its client, as anybody would write them: they know nothing of names but their text.

    greeter.py serve PORT
    greeter.py call TARGET CALLS IN_FLIGHT MESSAGES
    greeter.py hold TARGET

The client makes CALLS unary calls, IN_FLIGHT at a time, then one bidirectional stream of MESSAGES, each sent after the answer to the one before.
It prints what became of them as JSON. `hold` keeps one stream open after its first message, says "open", and prints how it ended.
"""

import json
import queue
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
    else:
        call(rest[0], *map(int, rest[1:]))
