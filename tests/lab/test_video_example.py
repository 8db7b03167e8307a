"""examples/video.sh, as it stands: the picture goes on while hosts change place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.lab.apps.program import program
from tests.lab.conftest import LabFactory
from tests.lab.labs import wait_until
from tests.support import need_program

VIDEO = Path(__file__).parents[2] / "examples/video.sh"
ENOUGH = 25  # pictures: a second of them
# ffmpeg in the place of ffplay: nobody looks here. It writes `frame=NUMBER` every half second.
PLAYER = "#!/bin/sh\nexec ffmpeg -nostdin -loglevel fatal -progress pipe:1 -i $1 -map 0:v -f null -\n"


@pytest.mark.stack
def test_a_video_goes_on(new_lab: LabFactory, tmp_path: Path) -> None:
    need_program("ffmpeg")
    player = tmp_path / "player"
    player.write_text(PLAYER)
    player.chmod(0o755)
    lab = new_lab(dns="embedded")
    watch = ("env", f"PLAYER={player}", "sh", str(VIDEO), "watch")
    send = ("sh", str(VIDEO), "send", "b.vipip.net")
    with (
        program(lab, "b", watch, tmp_path, name="watch") as watcher,
        program(lab, "a", send, tmp_path, name="send"),
    ):

        def pictures() -> int:
            watcher.check()
            seen = re.findall(r"^frame=(\d+)$", watcher.out.read_text(), re.MULTILINE)
            return int(seen[-1]) if seen else 0

        for mover in ("a", "b", "both"):
            before = pictures()
            wait_until(lambda: pictures() >= before + ENOUGH, "pictures come")  # noqa: B023 - called at once
            lab.move(mover)
        before = pictures()
        wait_until(lambda: pictures() >= before + ENOUGH, "pictures come after all moves")
