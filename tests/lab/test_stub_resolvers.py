"""Real stub resolvers look a VIP name up, and real clients connect to what they got."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.labs import Lab, running_lab, wait_until
from tests.support import need_program

NAME, PORT = "b.vipip.net", 8080
URL = f"http://{NAME}:{PORT}/hello"

C = r"""
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char host[64], answer[256] = "";
    if (argc != 3 || getaddrinfo(argv[1], argv[2], &hints, &found)) return 1;
    getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST);
    int sock = socket(found->ai_family, SOCK_STREAM, 0);
    if (connect(sock, found->ai_addr, found->ai_addrlen)) return 2;
    dprintf(sock, "GET /hello HTTP/1.0\r\n\r\n");
    size_t size = 0;
    for (ssize_t got; (got = read(sock, answer + size, sizeof answer - 1 - size)) > 0;) size += got;
    printf("%s %s\n", host, strstr(answer, "hello from b") ? "hello from b" : "");
    return found->ai_next != NULL ? 3 : 0;
}
"""

GO = """
package main

import ("context"; "fmt"; "io"; "net"; "net/http"; "os")

func main() {
    addresses, err := (&net.Resolver{PreferGo: true}).LookupHost(context.Background(), os.Args[1])
    if err != nil { panic(err) }
    response, err := http.Get(os.Args[2])
    if err != nil { panic(err) }
    body, _ := io.ReadAll(response.Body)
    fmt.Println(addresses, string(body))
}
"""

JAVA = """
import java.net.*;
import java.util.Arrays;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        System.out.println(Arrays.toString(InetAddress.getAllByName(arguments[0])));
        System.out.println(new String(new URL(arguments[1]).openStream().readAllBytes()));
    }
}
"""

PYTHON = """
import socket, sys, urllib.request
print(socket.getaddrinfo(sys.argv[1], 8080, type=socket.SOCK_STREAM))
print(urllib.request.urlopen(sys.argv[2]).read().decode())
"""

NODE_LOOKUP = """
require("dns").lookup(process.argv[1], {all: true}, (error, found) => {
    console.log(error || found);
    require("http").get(process.argv[2], (answer) => answer.pipe(process.stdout));
});
"""

NODE_C_ARES = """
require("dns").resolve4(process.argv[1], (error, found) => {
    console.log(error || found);
    require("http").get(`http://${found[0]}:8080/hello`, (answer) => answer.pipe(process.stdout));
});
"""

PERL = """
use IO::Socket::INET; use Socket;
print inet_ntoa(scalar gethostbyname($ARGV[0])), "\\n";
my $sock = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 8080) or die $@;
print $sock "GET /hello HTTP/1.0\\r\\n\\r\\n"; print <$sock>;
"""

CLIENTS: dict[str, tuple[str, ...]] = {
    "glibc": ("./glibc", NAME, str(PORT)),
    "musl": ("./musl", NAME, str(PORT)),
    "go": ("./go", NAME, URL),
    "java": ("java", "-cp", ".", "Ask", NAME, URL),
    "python": ("python3", "-c", PYTHON, NAME, URL),
    "node: dns.lookup": ("node", "-e", NODE_LOOKUP, NAME, URL),
    "node: c-ares": ("node", "-e", NODE_C_ARES, NAME, URL),
    "perl": ("perl", "-e", PERL, NAME),
    "curl": ("curl", "-sv", URL),
    "wget": ("sh", "-c", f"wget -O - {URL} 2>&1"),
    "busybox": ("sh", "-c", f"busybox nslookup {NAME}; busybox wget -q -O - {URL}"),
    "dig": ("sh", "-c", f"dig +noall +answer {NAME}; curl -s {URL}"),
    "getent": ("sh", "-c", f"getent ahosts {NAME}; curl -s {URL}"),
}
BUILDS: dict[str, tuple[str, ...]] = {
    "glibc": ("gcc", "-o", "glibc", "ask.c"),
    "musl": ("musl-gcc", "-static", "-o", "musl", "ask.c"),
    "go": (
        "env",
        "CGO_ENABLED=0",
        "GOCACHE={here}/cache",
        "GO111MODULE=off",
        "go",
        "build",
        "-o",
        "go",
        "ask.go",
    ),
    "java": ("javac", "Ask.java"),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    served = tmp_path_factory.mktemp("served")
    (served / "hello").write_text("hello from b\n")
    with running_lab() as lab:
        server = subprocess.Popen(
            lab.command_on("b", "python3", "-m", "http.server", str(PORT), "--directory", served),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(
                lambda: lab.on("a", "curl", "-sf", URL, check=False).returncode == 0,
                "b serves, and a reaches it",
            )
            yield lab
        finally:
            server.terminate()
            server.wait(30)


@pytest.mark.stack
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_gets_the_token_alone_and_reaches_b(lab: Lab, tmp_path: Path, client: str) -> None:
    command = CLIENTS[client]
    if client in BUILDS:
        need_program(next(word for word in BUILDS[client] if word in ("gcc", "musl-gcc", "go", "javac")))
        for name, source in (("ask.c", C), ("ask.go", GO), ("Ask.java", JAVA)):
            (tmp_path / name).write_text(source)
        build = [word.format(here=tmp_path) for word in BUILDS[client]]
        subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    elif command[0] == "sh":
        need_program(client)
    else:
        need_program(command[0])
    done = lab.on("a", "sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path), *command)
    said = done.stdout + done.stderr
    token = lab.host("b")["token"]
    assert token in said
    assert "hello from b" in said
    assert lab.host("b")["address"] not in said
