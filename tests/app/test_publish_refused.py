"""A whole daemon whose provider says no: where its words get to, and where the password does not."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.app.machine import Machine, machine

PASSWORD = "pass-word-that-is-nowhere"


class Refuses(BaseHTTPRequestHandler):
    """A server that repeats what it was sent, as bad ones do."""

    def do_GET(self) -> None:
        text = f"{self.headers['Authorization']} {PASSWORD} is wrong".encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def refusing(one: Machine) -> Iterator[str]:
    server = one.space.call(lambda: HTTPServer(("127.0.0.1", 0), Refuses))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/nic/update"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_refusal_is_shown_and_the_password_is_not() -> None:
    with machine() as one, refusing(one) as url:
        secret = one.directory / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        one.configure(
            f'[publish]\nprovider = "dyndns2"\nurl = "{url}"\nuser = "me"\nsecret_file = "{secret}"\n'
        )
        up = one.vipnet("up")
        assert up.status == 3
        assert "publishing by dyndns2 is refused: 127.0.0.1:" in up.err
        assert '"Basic *** *** is wrong": check [publish] user and secret_file' in up.err
        status = one.vipnet("status", "--json")
        publish = json.loads(status.out)["publish"]
        assert publish["state"] == "refused"
        assert "*** is wrong" in publish["error"]
        assert "*** is wrong" in one.vipnet("status").out
        down = one.vipnet("down")
        log = (one.run / "vipnet.log").read_text()
        assert "publish.failed" in log
        for text in (up.out, up.err, status.out, down.out, down.err, log):
            assert PASSWORD not in text
            assert b64encode(f"me:{PASSWORD}".encode()).decode() not in text
