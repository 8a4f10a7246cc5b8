"""A TCP server that speaks first, echoes lines, and says how many there were once its caller has said all: banner.py PORT NAME"""

import socketserver
import sys


class Banner(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(f"220 {sys.argv[2]} ready\r\n".encode())
        count = 0
        for line in self.rfile:
            self.wfile.write(line)
            count += 1
        self.wfile.write(f"221 {count} lines\r\n".encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Banner) as server:
        server.serve_forever()
