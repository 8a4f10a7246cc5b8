"""A WebSocket server that echoes, and its client.

    websocket.py serve PORT
    websocket.py call URL MESSAGES

The client sends MESSAGES texts, each after the echo of the one before, one binary message of 1 MiB, a ping, and closes. It prints the outcome as JSON.
"""

import asyncio
import json
import os
import sys
import time

import websockets

LARGE = 1 << 20


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def serve(port):
    async with websockets.serve(echo, "127.0.0.1", port, max_size=4 * LARGE):
        await asyncio.Future()


async def call(url, count):
    outcome = {"messages": 0, "wrong": 0, "large": False, "pong": False}
    latencies = []
    async with websockets.connect(url, max_size=4 * LARGE, open_timeout=10) as socket:
        for index in range(count):
            began = time.monotonic()
            await socket.send(f"message {index}")
            answer = await asyncio.wait_for(socket.recv(), 10)
            latencies.append(time.monotonic() - began)
            outcome["messages"] += 1
            outcome["wrong"] += answer != f"message {index}"
        sent = os.urandom(LARGE)
        await socket.send(sent)
        outcome["large"] = await asyncio.wait_for(socket.recv(), 10) == sent
        await asyncio.wait_for(await socket.ping(), 10)
        outcome["pong"] = True
    outcome["close_code"] = socket.close_code
    latencies.sort()
    outcome["p50_ms"] = latencies[len(latencies) // 2] * 1e3
    print(json.dumps(outcome))


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    asyncio.run(serve(int(rest[0])) if command == "serve" else call(rest[0], int(rest[1])))
