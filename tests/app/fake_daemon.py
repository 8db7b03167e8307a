"""A daemon that only holds its lock and answers: `fake_daemon.py BEHAVIOUR run --config FILE ...`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import trio

from vipnet.app import launch
from vipnet.app.config import load_config
from vipnet.app.control import serve_control
from vipnet.errors import HostError

STARTING: dict[str, Any] = {
    "name": "a.vipip.net",
    "state": "starting",
    "tun": {"interface": "tun0", "token": "241.2.3.4"},
    "dns": {"listen": "127.0.0.47:53"},
    "publish": {
        "provider": "rfc2136",
        "state": "pending",
        "address": "10.0.0.1",
        "error": "time-out at 10.0.0.53",
    },
}


async def serve(behaviour: str, path: Path) -> None:
    asked = 0

    async def status(_params: dict[str, Any]) -> object:
        nonlocal asked
        asked += 1
        ready = behaviour != "never ready" and asked > 2
        return STARTING | {"state": "ready"} if ready else STARTING

    async def down(params: dict[str, Any]) -> object:
        print("asked to stop", params, flush=True)
        if behaviour == "refusing":
            raise HostError("still running: the DNS provider does not answer")
        if behaviour not in ("deaf", "stubborn"):
            nursery.start_soon(end)
        return {}

    async def end() -> None:
        await trio.sleep(0.05)  # the answer leaves first
        nursery.cancel_scope.cancel()

    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, path, {"status": status, "down": down})


def main() -> None:
    behaviour, _run, _option, config_path, *_log = sys.argv[1:]
    if behaviour.startswith("exit"):
        print("a line of the log", file=sys.stderr)
        print("vipnet: udp port 5847 is taken; set [transport] port", file=sys.stderr)
        sys.exit(int(behaviour.removeprefix("exit")))
    if behaviour == "crash":
        raise ZeroDivisionError
    config = load_config(Path(config_path))
    with launch.run_lock(config.run_dir):
        if behaviour == "mute":
            signal.pause()
        trio.run(serve, behaviour, config.run_dir / "control.sock")


if __name__ == "__main__":
    main()
