"""The container image and what docs/howto-containers.md says of it, by podman under the name of docker.

No registry is asked: `debian:12-slim` is the small Debian of the other tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from tests.install.booted import wait_until
from tests.install.readme import CONTAINERS, block
from tests.install.room import Room, room
from tests.install.workshop import REPOSITORY, Workshop
from tests.support import need_program

pytestmark = pytest.mark.stack

# Podman keeps what it has in files of this test. Limits and control groups stay as they are: in a
# sandbox they cannot be changed.
_DOCKER: Final = """
case $1 in
build) command="build --isolation chroot --network host --pull=never" ;;
run) command="run --cgroups disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024" ;;
*) command=$1 ;;
esac
shift
exec podman --root {0}/storage --runroot /run/podman \\
    --cgroup-manager cgroupfs --events-backend file $command "$@"
"""
_PREPARE: Final = """
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /var/lib/cni
mount -t tmpfs tmpfs /var/lib/cni
ip link set lo up
"""


def with_docker(place: Room) -> Room:
    place.program("docker", _DOCKER.format(place.directory))
    return place


def test_an_image_and_a_container(tmp_path: Path) -> None:
    need_program("podman", "iptables")
    build = block("docker build", CONTAINERS)
    box, neighbour = (
        block("alias vipnet-box=", CONTAINERS),
        block("docker run --rm --network container:box", CONTAINERS),
    )
    (tmp_path / "base").mkdir()
    Workshop(tmp_path / "base").pack(tmp_path / "base.tar")
    with room(tmp_path, _PREPARE, network=True) as place:
        docker = with_docker(place)
        docker.run(f"docker import -q base.tar docker.io/library/debian:12-slim; cd {REPOSITORY}; {build}")
    with room(tmp_path, _PREPARE, network=False) as place:
        docker = with_docker(place)
        # Nobody is there to be told; and the last line, `vipnet status`, may be too early.
        said = docker.run(box.replace("--provider desec", "--provider none"), check=False)
        ready = "docker exec box vipnet status"
        wait_until(lambda: "box.example.org  ready" in docker.run(ready, check=False), f"ready after {said}")
        token = docker.run("docker exec box ip -brief address show tun0").split()[2].partition("/")[0]
        assert token in docker.run(neighbour.replace("server", "box"))
        docker.run("docker stop box")
