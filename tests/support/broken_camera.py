#!/usr/bin/python3
"""A camera that speaks nonsense, on loopback.

    broken_camera.py PORT answers    every request is answered with bytes that are no RTSP
    broken_camera.py PORT stream     answers well up to PLAY, then sends packets without sense

Port 0 takes a free one. Prints "ready PORT" once it listens. The nonsense is the same at every run.
"""

import random
import socketserver
import struct
import sys
import time

PACKET_INTERVAL_S = 0.02
# Parameter sets of a real 640x360 stream, so that the description is accepted.
PARAMETER_SETS = "Z2QAH6xMIgUBf8sIAAADAAgAAAMAoHjBkIw=,aOhDFPI8"
DESCRIPTION = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=broken\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    f"a=fmtp:96 packetization-mode=1;profile-level-id=64001f;sprop-parameter-sets={PARAMETER_SETS}\r\n"
    "a=control:track1\r\n"
)


class Answers(socketserver.StreamRequestHandler):
    def handle(self):
        nonsense = random.Random(7)
        while request(self.rfile):
            self.wfile.write(nonsense.randbytes(300))


class Stream(socketserver.StreamRequestHandler):
    def handle(self):
        while received := request(self.rfile):
            method, url, sequence = received
            if method == "DESCRIBE":
                self.answer(sequence, f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\n", DESCRIPTION)
            elif method == "SETUP":
                self.answer(sequence, "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
            elif method == "PLAY":
                self.answer(sequence, f"Session: 1\r\nRTP-Info: url={url}/track1;seq=1;rtptime=0\r\n")
                self.play()
            else:
                self.answer(sequence, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n")

    def answer(self, sequence, headers, body=""):
        head = f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self.wfile.write((head + body).encode())

    def play(self):
        """Interleaved RTP: good headers over random payloads, at times a random header, at last no framing at all."""
        nonsense = random.Random(7)
        for number in range(1, 400):
            header = struct.pack(">BBHII", 0x80, 0x80 | 96, number, number * 1800, 0x1234)
            payload = nonsense.randbytes(nonsense.randrange(1, 1200))
            packet = payload if number % 50 == 0 else header + payload
            self.wfile.write(struct.pack(">BBH", 0x24, 0, len(packet)) + packet)
            time.sleep(PACKET_INTERVAL_S)
        self.wfile.write(nonsense.randbytes(4000))


def request(stream):
    """Method, URL and CSeq of the next request; None when the viewer is gone."""
    first, sequence = stream.readline().decode(errors="replace").split(), "0"
    while line := stream.readline().decode(errors="replace").strip():
        if line.lower().startswith("cseq:"):
            sequence = line.split(":", 1)[1].strip()
    return (first[0], first[1], sequence) if len(first) >= 2 else None


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, _request, _address):
        """A viewer that hangs up is no error."""


if __name__ == "__main__":
    handlers = {"answers": Answers, "stream": Stream}
    with Server(("127.0.0.1", int(sys.argv[1])), handlers[sys.argv[2]]) as server:
        print("ready", server.server_address[1], flush=True)
        server.serve_forever()
