"""A clean Debian with the network of this machine, for what has to fetch packages; nothing is booted in it.

The root is the same as in booted.py, under an overlay, too.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.install.booted import NODES, ROOT
from tests.support import need, need_program, need_root

REPOSITORY: Final = Path(__file__).parents[2]
RUN_S: Final = 300  # a download takes its time
# How this machine comes to its packages: mirrors, proxies, certificates.
_APT: Final = ("/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/apt.conf.d", "/etc/apt/keyrings")
_PIP: Final = {"index-url": "PIP_INDEX_URL", "extra-index-url": "PIP_EXTRA_INDEX_URL", "proxy": "https_proxy"}
_CERTIFICATES: Final = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_TRUSTED: Final = "/etc/ssl/certs/ca-certificates.crt"  # where none of them says otherwise
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy")

_NAMESPACES: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc")
# $1: a directory of ours, $2: the root, $3: what to do there.
_ENTER: Final = f"""
mount --make-rprivate /
cd "$1" && mkdir -p upper work root
mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
mount -t tmpfs -o mode=755 tmpfs run
{NODES}
hostname debian
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "${{@:4}}" \\
    chroot . sh -ec "cd; $3"
"""


class Workshop:
    """`run` is a root shell in it; what it changes stays until DIRECTORY goes."""

    def __init__(self, directory: Path) -> None:
        need_root()
        need_program("unshare")
        need(ROOT.is_dir(), f"a Debian root in {ROOT}")
        self._directory = directory
        self.upper = directory / "upper"
        (self.upper / "etc/apt").mkdir(parents=True)
        for place in ("/etc/resolv.conf", *filter(os.path.exists, _APT)):
            subprocess.run(("cp", "-rL", place, self.upper / place[1:]), check=True)
        self.put(
            "/etc/apt/apt.conf.d/90test", 'APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n'
        )
        self.put("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 debian\n")
        settings = [f"{key} = {os.environ[name]}" for key, name in _PIP.items() if name in os.environ]
        certificates = Path(next(filter(None, map(os.environ.get, _CERTIFICATES)), _TRUSTED))
        if certificates.is_file():
            self.put("/etc/archives.pem", certificates.read_text())
            settings.append("cert = /etc/archives.pem")
        self.put("/etc/pip.conf", "\n".join(["[global]", *settings, ""]))

    def run(self, script: str) -> str:
        """What SCRIPT prints, on either stream."""
        proxies = (f"{name}={os.environ[name]}" for name in _PROXIES if name in os.environ)
        done = subprocess.run(
            [*_NAMESPACES, "bash", "-ec", _ENTER, "enter", self._directory, ROOT, script, *proxies],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
        )
        assert done.returncode == 0, f"{script}\nexit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def pack(self, archive: Path) -> None:
        """All of it as a tar."""
        script = (
            'cd "$1"; mkdir -p upper work root; '
            'mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" root; '
            # 1: the overlay's directories count as changed when they are first read.
            'tar -C root -cf "$3" . || [ $? = 1 ]'
        )
        enter = ("unshare", "--mount", "sh", "-ec", script, "pack", self._directory, ROOT, archive)
        subprocess.run(enter, check=True, timeout=RUN_S)

    def put(self, path: str, text: str) -> None:
        place = self.upper / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def put_checkout(self, path: str) -> None:
        """What is in this checkout, also what is not committed, as a repository of one commit."""
        need_program("git")
        place = self.upper / path[1:]
        place.mkdir(parents=True)
        git = ("git", "-c", "safe.directory=*", "-C", REPOSITORY)  # whoever owns the checkout
        known = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        files = subprocess.run((*git, *known), stdout=subprocess.PIPE, check=True).stdout
        there = b"\0".join(name for name in files.split(b"\0") if (REPOSITORY / os.fsdecode(name)).is_file())
        packed = subprocess.run(
            ("tar", "-C", REPOSITORY, "-c", "--null", "-T", "-"),
            input=there,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        subprocess.run(("tar", "-C", place, "-x"), input=packed, check=True)
        as_somebody = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        for command in (("init", "-q"), ("add", "-A"), (*as_somebody, "commit", "-q", "-m", "all")):
            subprocess.run(("git", "-C", place, *command), check=True)
