"""Checks of the machine: configuration, daemon, kernel, device, files."""

from __future__ import annotations

import errno
import os
from typing import Final

from vipnet.app.doctor.facts import Facts
from vipnet.app.doctor.verdict import Verdict, fail, ok, skip, warn
from vipnet.system.survey.files import DirectoryFacts
from vipnet.system.survey.kernel import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE

_KERNEL_MIN: Final = (5, 3)  # pidfd_open(2): how a daemon is stopped without a mistake
_ROOM_MIN: Final = 32 << 20  # bytes: SQLite's log, and a margin for what else fills the disk
_GROUP_OR_OTHERS: Final = 0o077


def check_config(facts: Facts) -> Verdict:
    if facts.config is None:
        problem = facts.config_problem or "there is none"
        return fail("config", problem, "Without a name vipnet does nothing; other checks use the defaults.")
    return ok("config", f"this host is {facts.config.name}")


def check_daemon(facts: Facts) -> Verdict:
    if facts.daemon is not None:
        return _running(facts.daemon.state)
    if facts.config is None:
        return skip("daemon", "without a configuration there is none to ask")
    if facts.daemon_problem is not None:
        return fail(
            "daemon",
            facts.daemon_problem,
            "It runs but does not answer: packets may stand still.",
            "vipnet down && vipnet up",
        )
    words = f"; the last one ended with: {facts.last_words}" if facts.last_words else ""
    return warn(
        "daemon", f"none runs{words}", "Names of vipnet hosts lead to their real addresses.", "vipnet up"
    )


def _running(state: str) -> Verdict:
    match state:
        case "ready":
            return ok("daemon", "runs, and is ready")
        case "starting":
            return warn("daemon", "runs, and is not ready", "Something below is still missing.")
        case "detached":
            return fail(
                "daemon", "runs, and has no network", "No partner can be reached; it goes on by itself later."
            )
        case "cloned-key":
            return fail(
                "daemon",
                "another machine uses this host's key",
                "A copied disk image: partners would flap between the two, so this one keeps still.",
                "rm the key file on the copy, then `vipnet init NAME` there",
            )
    return warn("daemon", f"its state is {state}", "It is not ready.")


def check_kernel(facts: Facts) -> Verdict:
    kernel = facts.kernel
    found = f"{kernel.system} {kernel.release}"
    if kernel.system != "Linux" or kernel.version < _KERNEL_MIN:
        need = ".".join(map(str, _KERNEL_MIN))
        return fail("kernel", found, f"vipnet needs Linux {need} or newer.", "install a newer kernel")
    return ok("kernel", found)


def check_tun_device(facts: Facts) -> Verdict:
    match facts.kernel.tun_errno:
        case None:
            return ok("tun-device", "/dev/net/tun can be opened")
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return fail(
                "tun-device",
                "/dev/net/tun is missing",
                "tun0, which carries all packets for tokens, cannot be made.",
                "modprobe tun   (container: start it with --device /dev/net/tun)",
            )
        case errno.EACCES if not facts.is_root:
            return skip("tun-device", "/dev/net/tun is for root here", "sudo vipnet doctor")
        case number:
            return fail(
                "tun-device",
                f"/dev/net/tun: {os.strerror(number)}",
                "tun0, which carries all packets for tokens, cannot be made.",
                "chmod 0666 /dev/net/tun   (container: start it with --device /dev/net/tun)",
            )


def check_capabilities(facts: Facts) -> Verdict:
    kernel = facts.kernel
    missing = [
        name
        for name, number in (("NET_ADMIN", CAP_NET_ADMIN), ("NET_BIND_SERVICE", CAP_NET_BIND_SERVICE))
        if not kernel.has(number)
    ]
    if not missing:
        return ok("capabilities", "NET_ADMIN, NET_BIND_SERVICE")
    if not kernel.is_daemons and not facts.is_root:
        return skip("capabilities", "only root has them, and this is an ordinary user", "sudo vipnet doctor")
    whose = "the daemon" if kernel.is_daemons else "root here"
    return fail(
        "capabilities",
        f"{whose} lacks {', '.join(missing)}",
        "Without NET_ADMIN there is no tun0, without NET_BIND_SERVICE no resolver on port 53.",
        "container: --cap-add NET_ADMIN; systemd: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_BIND_SERVICE",
    )


def check_tun_offloads(facts: Facts) -> Verdict:
    used = facts.daemon.offloads.get("tun") if facts.daemon else None
    if facts.config is not None and not facts.config.tun.offloads:
        return warn(
            "tun-offloads",
            "switched off by [tun] offloads = false",
            "Works, slower: every packet goes through by itself.",
            "remove that line, unless packets come out damaged with it",
        )
    works = facts.offloads.tun if used is None else used
    if works is None:
        return skip("tun-offloads", "cannot be tried without CAP_NET_ADMIN", "sudo vipnet doctor")
    if works:
        return ok("tun-offloads", "virtio headers and TUNSETOFFLOAD work")
    return warn(
        "tun-offloads",
        "this kernel gives tun0 no virtio headers or no TUNSETOFFLOAD",
        "Works, slower: every packet goes through by itself, its checksum computed twice.",
        "use a kernel of your distribution",
    )


def check_udp_offloads(facts: Facts) -> Verdict:
    if facts.config is not None and not facts.config.transport.offloads:
        return warn(
            "udp-offloads",
            "switched off by [transport] offloads = false",
            "Works, slower: every datagram goes out and comes in by itself.",
            "remove that line, unless datagrams come out damaged with it",
        )
    used = facts.daemon.offloads if facts.daemon else {}
    tried = (("UDP_SEGMENT", "udp_send", "4.18"), ("UDP_GRO", "udp_receive", "5.0"))
    works = {name: used.get(key, getattr(facts.offloads, key)) for name, key, _ in tried}
    if None in works.values():
        return skip("udp-offloads", "the loopback interface is down", "ip link set lo up")
    missing = [f"{name} (Linux {since})" for name, _, since in tried if not works[name]]
    if missing:
        return warn(
            "udp-offloads",
            f"this kernel has no {' and no '.join(missing)}",
            "Works, slower: every datagram goes out or comes in by itself.",
            "use a newer kernel",
        )
    return ok("udp-offloads", "UDP_SEGMENT cuts, UDP_GRO joins")


def check_state(facts: Facts) -> Verdict:
    return _directory("state", facts, "state_dir", "Tokens and keys of peers could not be kept.")


def check_run(facts: Facts) -> Verdict:
    return _directory("run-dir", facts, "run_dir", "There would be no control socket and no log.")


def _directory(check: str, facts: Facts, label: str, meaning: str) -> Verdict:
    found = next((one for one in facts.directories if one.label == label), None)
    if found is None:
        return skip(check, "named in the configuration, which is missing")
    if not facts.is_root:
        return skip(check, f"{found.path} is written by root", "sudo vipnet doctor")
    if found.problem is not None:
        return fail(check, f"{found.path}: {found.problem}", meaning, _mend_directory(found, label))
    if found.free is not None and found.free < _ROOM_MIN:
        room = f"{found.free / (1 << 20):.0f} MiB"
        return warn(check, f"{found.path}: {room} free", meaning, f"df {found.path}   shows what is full")
    return ok(check, f"{found.path} can be written" + ("" if found.exists else ", once it is made"))


def _mend_directory(found: DirectoryFacts, label: str) -> str:
    if found.problem == os.strerror(errno.ENOSPC):
        return f"df {found.path}   shows what is full: make room there"
    if found.problem == os.strerror(errno.EROFS):
        return f"mount -o remount,rw the file system of {found.path}, or set {label} to another place"
    return f"set {label} to a directory that can be written"


def check_secrets(facts: Facts) -> Verdict:
    """The daemon refuses a secret that others may read, and one that is not there."""
    for file in facts.files:
        where = f"{file.label} {file.path}"
        if file.mode is None and file.problem == os.strerror(errno.EACCES):
            return skip("secrets", f"{where}: for root to see", "sudo vipnet doctor")
        if file.mode is None:
            mend = (
                "vipnet init NAME"
                if file.label == "key_file"
                else f"put the secret into {file.path}, mode 0600"
            )
            return fail("secrets", f"{where}: {file.problem}", "The daemon does not start without it.", mend)
        if file.mode & _GROUP_OR_OTHERS:
            return fail(
                "secrets",
                f"{where}: mode {file.mode:04o}",
                "Others on this host can use it; the daemon does not start with it.",
                f"chmod 600 {file.path}",
            )
    return (
        ok("secrets", f"{len(facts.files)} files, for their owner only")
        if facts.files
        else skip("secrets", "none")
    )
