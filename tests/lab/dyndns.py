"""A dyndns2 provider in a lab: HTTPS on the router, which sets A records of the lab's zone, and no TXT.

It speaks as https://help.dyn.com/remote-access-api/ describes; the address is `myip`, or without
it that of the request. Or it only adds TLS to nsupdate.info's server, which nobody here wrote.
"""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import dns.query
import dns.rcode
import dns.update
import trustme
from msgspec import Struct
from tests.bind import tsig_key
from tests.lab.labs import Lab
from tests.netns import Namespace
from tests.nsupdateserver import PASSWORD as NSUPDATE_PASSWORD
from tests.nsupdateserver import running_django

HOST: Final = "10.201.1.1"  # the router's address on LAN 1
PORT: Final = 8443
USER, PASSWORD = "someone", "dyndns2 pass/word"
TTL_S: Final = 1
ZONE: Final = "vipip.net"


class Provider(Struct):
    """The service, as a host's configuration needs it; `updates` are (name, address) in their order.

    backend  where another server takes the requests
    """

    template: str
    backend: str | None = None
    updates: list[tuple[str, str]] = []

    def settings(self, host: str) -> str:
        """HOST's [publish]; at nsupdate.info every host is a user of its own."""
        return self.template.format(user=USER if self.backend is None else f"{host}.{ZONE}")


@contextmanager
def nsupdate(lab: Lab, directory: Path) -> Iterator[Provider]:
    """As provider, with nsupdate.info's server behind it."""
    secrets = {host: _tsig_secret(lab, host) for host in lab.status()["hosts"]}
    space = Namespace(f"vipnet-{lab.name}-r")
    with (
        running_django(directory, space, ZONE, secrets, nameserver=HOST) as url,
        provider(lab, directory, backend=url, password=NSUPDATE_PASSWORD) as running,
    ):
        yield running


@contextmanager
def provider(
    lab: Lab, directory: Path, *, backend: str | None = None, password: str = PASSWORD
) -> Iterator[Provider]:
    """Run one in LAB; its certificate and password are in DIRECTORY."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    secret = directory / "dyndns2-password"
    secret.write_text(password)
    secret.chmod(0o600)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    running = Provider(
        f"""provider = "dyndns2"
url = "https://{HOST}:{PORT}/nic/update"
user = "{{user}}"
secret_file = "{secret}"
ca_file = "{directory}/ca.pem"
min_interval_s = 0
""",
        backend,
    )
    router = Namespace(f"vipnet-{lab.name}-r")
    secrets = {host: _tsig_secret(lab, host) for host in lab.status()["hosts"]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = _answer if backend is None else _pass_on
            text = router.call(lambda: answer(self, running, secrets)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = router.call(lambda: ThreadingHTTPServer((HOST, PORT), Handler))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(request: BaseHTTPRequestHandler, running: Provider, secrets: dict[str, str]) -> str:
    credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    if request.headers["Authorization"] != f"Basic {credentials}":
        return "badauth"
    query = parse_qs(urlsplit(request.path).query)
    name = query["hostname"][0]
    address = query.get("myip", [request.client_address[0]])[0]
    host, _, zone = name.partition(".")
    if zone != ZONE or host not in secrets:
        return "nohost"
    update = dns.update.UpdateMessage(ZONE, keyring=tsig_key(name, secrets[host]))
    update.replace(f"{name}.", TTL_S, "A", address)
    if dns.query.udp(update, HOST, timeout=5).rcode() != dns.rcode.NOERROR:
        return "dnserr"
    known = (name, address) in running.updates[-1:]
    running.updates.append((name, address))
    return f"{'nochg' if known else 'good'} {address}"


def _pass_on(request: BaseHTTPRequestHandler, running: Provider, _secrets: dict[str, str]) -> str:
    asked = urlsplit(request.path).query
    headers = {name: request.headers[name] for name in ("Authorization", "User-Agent")}
    with urlopen(Request(f"{running.backend}?{asked}", headers=headers), timeout=20) as answer:
        text: str = answer.read().decode()
    query = parse_qs(asked)
    running.updates.append((query["hostname"][0], query["myip"][0]))
    return text


def _tsig_secret(lab: Lab, host: str) -> str:
    return Path(lab.host(host)["config"]).with_name("tsig").read_text().strip()
