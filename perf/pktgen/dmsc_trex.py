#!/usr/bin/env python3
"""Sends DMSC frames from a capture file by port 0 of TRex at the rates given, and tells what came back by port 1.

    ./t-rex-64 -i &
    PYTHONPATH=automation/trex_control_plane/interactive ./dmsc_trex.py --dir /tmp/t --frames name-128 --mpps 1,2,5,10

The folder is written by `dmsc-perf pcap --dir /tmp/t --agent …` for one start of the router; the hellos in it keep the router's
neighbour behind it up for ten minutes, and the one in front, whose port sends the frames, for a minute: all trials together
must take less. The first trial is a warm-up and is not told. What TRex could not send counts as lost.
"""

import argparse
import json
import os
import struct
import sys
import time

from trex.stl.api import (
    STLClient,
    STLPktBuilder,
    STLProfile,
    STLStream,
    STLStreamDstMAC_PKT,
    STLTXCont,
)

UDP_PORT = 35029
SETTLE_S = 0.5


def frames(path):
    """The frames of a capture file in the classic format, little endian."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"\xd4\xc3\xb2\xa1":
        sys.exit(f"{path}: not a little-endian pcap file; dmsc-perf pcap writes such")
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16 : at + 16 + length]
        at += 16 + length


def is_request(frame):
    """Whether it is traffic and neither ARP nor a hello: UDP over IPv4 to DMSC's port, packet type 0."""
    return frame[12:14] == b"\x08\x00" and frame[36:38] == struct.pack(">H", UDP_PORT) and frame[42] & 15 == 0


def streams(path, pps):
    """A stream of its own for each frame, all at the same rate, with the addresses of the file."""
    requests = [frame for frame in frames(path) if is_request(frame)]
    return [
        STLStream(
            packet=STLPktBuilder(pkt_buffer=frame),
            mode=STLTXCont(pps=pps / len(requests)),
            isg=1e6 * number / pps,
            mac_src_override_by_pkt=True,
            mac_dst_override_mode=STLStreamDstMAC_PKT,
        )
        for number, frame in enumerate(requests)
    ]


def hellos(path):
    """The neighbour's hellos, two frames a second, ten minutes long."""
    profile = STLProfile.load_pcap(
        path, ipg_usec=500_000, loop_count=1, src_mac_pcap=True, dst_mac_pcap=True
    )
    return profile.get_streams()


def trial(client, args, mpps):
    """Sends for a while; what was intended, sent and received."""
    client.reset(ports=[0])
    client.set_port_attr([0, 1], promiscuous=True)
    client.add_streams(streams(os.path.join(args.dir, args.frames + ".pcap"), mpps * 1e6), ports=[0])
    client.clear_stats()
    client.start(ports=[0], duration=args.seconds)
    client.wait_on_traffic(ports=[0])
    time.sleep(SETTLE_S)
    stats = client.get_stats()
    intended = mpps * 1e6 * args.seconds
    received = stats[1]["ipackets"]
    return {
        "mpps": mpps,
        "intended": intended,
        "sent": stats[0]["opackets"],
        "received": received,
        "loss": max(0.0, 1 - received / intended),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1", help="where t-rex-64 runs")
    parser.add_argument("--dir", default=".", help="folder of the capture files")
    parser.add_argument("--frames", default="name-128", help="MODE-SIZE, as the file is called")
    parser.add_argument("--mpps", default="1,2,5,10", help="rates, millions of frames per second")
    parser.add_argument("--seconds", type=float, default=10, help="of each trial")
    args = parser.parse_args()
    client = STLClient(server=args.server)
    client.connect()
    try:
        client.reset()
        # Hellos of both neighbours go out first: the one behind the router goes on by itself, the one in front stays up for a minute.
        client.add_streams(hellos(os.path.join(args.dir, "hello-in.pcap")), ports=[0])
        client.add_streams(hellos(os.path.join(args.dir, "hello-out.pcap")), ports=[1])
        client.start(ports=[0, 1])
        time.sleep(3)
        rates = [float(rate) for rate in args.mpps.split(",")]
        trial(client, args, rates[0])
        print(json.dumps([trial(client, args, rate) for rate in rates], indent=1))
    finally:
        client.disconnect()


if __name__ == "__main__":
    main()
