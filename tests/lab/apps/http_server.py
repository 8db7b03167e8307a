"""An HTTP server with one endless file: `http_server.py PORT SENT`.

Every download goes on, at a steady pace, until SENT exists; how many bytes it was
and their SHA-256 are then written into SENT. So a download is as long as a test
needs it, on any machine. Chunked coding (RFC 9112 section 7.1) shows its end.
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHUNK_SIZE = 20_000  # bytes
PACE_S = 0.02


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sent: Path

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        noise, digest, size = random.Random(47), hashlib.sha256(), 0
        while not self.sent.exists():
            chunk = noise.randbytes(CHUNK_SIZE)
            digest.update(chunk)
            size += len(chunk)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            time.sleep(PACE_S)
        self.sent.write_text(f"{size} {digest.hexdigest()}")
        self.wfile.write(b"0\r\n\r\n")


if __name__ == "__main__":
    Handler.sent = Path(sys.argv[2])
    ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
