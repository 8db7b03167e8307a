"""nsupdate.info's server, a Django application that speaks dyndns2 and updates a BIND: for tests.

It is installed in a virtual environment of its own (`./run setup test-stack`) and always talks to
port 53, so both run in a network namespace.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from msgspec import Struct
from tests.bind import SECRET, Bind, running_bind
from tests.netns import Namespace
from tests.support import need

PYTHON = Path(sys.prefix) / "nsupdate/bin/python"
ZONE = "vipip.test"
NAME = f"a.{ZONE}"
PASSWORD = "update secret/of&a"
START_TIMEOUT_S = 60.0
COMMAND_S = 120.0
_SETTINGS = """
from nsupdate.settings.base import *
DEBUG = False
SECRET_KEY = "for tests"
DATABASES["default"]["NAME"] = "{directory}/nsupdate.sqlite"
ALLOWED_HOSTS = ["*"]
BASEDOMAIN = "{zone}"
WWW_HOST = WWW_IPV4_HOST = WWW_IPV6_HOST = "127.0.0.1:{port}"
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False
BAD_AGENTS = {{"badagent"}}
"""
# The key named like the host is for the host alone; the zone's own is never used.
_CONTENT = """
import django
django.setup()
from django.contrib.auth import get_user_model
from nsupdate.main.models import Domain, Host
user = get_user_model().objects.create_user("test", "test@example.org", "x")
common = dict(nameserver_ip="{nameserver}", nameserver_update_algorithm="HMAC_SHA256",
              public=True, available=True, created_by=user)
zone = Domain.objects.create(name="{zone}", nameserver_update_secret="", **common)
for host, secret in {hosts!r}.items():
    Domain.objects.create(name=host + ".{zone}", nameserver_update_secret=secret, **common)
    Host(name=host, domain=zone, created_by=user, netmask_ipv4=32, netmask_ipv6=128).generate_secret(
        secret={password!r})
"""


class NsUpdate(Struct):
    """A running server; `url` is where updates go, `bind` where they arrive."""

    url: str
    bind: Bind


@contextmanager
def running_nsupdate(directory: Path, space: Namespace) -> Iterator[NsUpdate]:
    """Both servers inside SPACE; skip or fail as tests.support.need does when it is not installed."""
    with ExitStack() as held:
        bind = space.call(
            lambda: held.enter_context(running_bind(directory / "named", zone=ZONE, names=("a",), port=53))
        )
        yield NsUpdate(held.enter_context(running_django(directory, space, ZONE, {"a": SECRET})), bind)


@contextmanager
def running_django(
    directory: Path,
    space: Namespace,
    zone: str,
    hosts: Mapping[str, str],
    *,
    nameserver: str = "127.0.0.1",
) -> Iterator[str]:
    """The application alone, in SPACE; yield where updates go.

    hosts  label to TSIG secret of a key that is named like the host; the password is PASSWORD
    """
    need(PYTHON.exists(), "nsupdate")
    port = 8000
    with ExitStack() as held:
        values = {"directory": directory, "zone": zone, "port": port, "nameserver": nameserver}
        (directory / "vipnet_settings.py").write_text(_SETTINGS.format(**values))
        environment = {
            **os.environ,
            "PYTHONPATH": str(directory),
            "DJANGO_SETTINGS_MODULE": "vipnet_settings",
        }
        content = _CONTENT.format(**values, hosts=dict(hosts), password=PASSWORD)
        for arguments in (("-m", "django", "migrate", "-v", "0"), ("-c", content)):
            done = subprocess.run(
                [PYTHON, *arguments],
                env=environment,
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=COMMAND_S,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        log = held.enter_context((directory / "django.log").open("wb"))
        command = ["ip", "netns", "exec", space.name, str(PYTHON), "-m", "django", "runserver", "--noreload"]
        django = subprocess.Popen(
            [*command, f"0.0.0.0:{port}"], env=environment, cwd=directory, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}/nic/update"
            space.call(lambda: _wait_until_it_answers(url, django, directory / "django.log"))
            yield url
        finally:
            django.terminate()
            django.wait(20)


def _wait_until_it_answers(url: str, django: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and django.poll() is None:
        try:
            urlopen(url, timeout=5)
        except HTTPError as error:
            if error.code == 401:
                return
        except OSError:
            continue
    raise AssertionError(f"nsupdate did not start:\n{log.read_text(errors='replace')}")
