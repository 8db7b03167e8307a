"""Namespaces that stay while several commands are run in them; what runs there ends with them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.support import need_program, need_root

COMMAND_S: Final = 300
_PREPARE: Final = "mount --make-rprivate /; mount -t proc proc /proc\n{}\necho up\nexec sleep infinity"


class Room:
    """`run` is a root shell there. `process_id` is the one that its namespaces are known by."""

    def __init__(self, process_id: int, directory: Path, kinds: Sequence[str]) -> None:
        self.process_id, self.directory, self._kinds = process_id, directory, kinds

    def command(self, script: str) -> list[str]:
        """The argument list of a shell there; programs in DIRECTORY/bin are found first."""
        enter = ("nsenter", "--target", str(self.process_id), *self._kinds, "--wd")
        path = f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return [*enter, "env", "-i", f"PATH={path}", "HOME=/root", "sh", "-ec", script]

    def run(self, script: str, *, check: bool = True) -> str:
        """What SCRIPT prints, on either stream."""
        done = subprocess.run(
            self.command(script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
        )
        assert not check or done.returncode == 0, f"{script}\nexit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def program(self, name: str, text: str) -> None:
        """Put a program before all others of its NAME."""
        path = self.directory / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@contextlib.contextmanager
def room(directory: Path, prepare: str, *, network: bool) -> Iterator[Room]:
    """PREPARE has been done there, in DIRECTORY. NETWORK: it has this machine's, else one of its own."""
    need_root()
    need_program("unshare", "nsenter")
    kinds = ("--mount", "--pid", *(() if network else ("--net",)))
    enter = ("unshare", *kinds, "--fork", "--kill-child", "sh", "-ec", _PREPARE.format(prepare))
    with subprocess.Popen(enter, cwd=directory, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield Room(int(child), directory, kinds)
        finally:
            process.kill()
