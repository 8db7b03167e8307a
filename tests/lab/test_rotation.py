"""A host changes its key while it is spoken to: connections go on, its partner knows the new key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.apps.streams import download
from tests.lab.apps.survival import check_they_go_on, goals_of, same_sockets
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until


def described(lab: Lab, host: str, peer: str) -> dict[str, Any]:
    """PEER in `trust list` of HOST."""
    (found,) = [one for one in lab.ask(host, "trust", "list")["peers"] if one["name"] == f"{peer}.vipip.net"]
    return dict(found)


def test_rotation_under_traffic(new_lab: LabFactory, tmp_path: Path, figure: Callable[[str], None]) -> None:
    lab = new_lab(dns="embedded")
    with download(lab, tmp_path) as endless:
        apps = (endless,)
        old = lab.ask("b", "key", "show")["fingerprint"]
        assert described(lab, "a", "b")["fingerprint"] == old
        with same_sockets(apps):
            goals = goals_of(apps)
            reply = json.loads(lab.on("b", "vipnet", "key", "rotate", "--json").stdout)
            new = lab.ask("b", "key", "show")["fingerprint"]
            assert (reply["old"]["fingerprint"], reply["new"]["fingerprint"]) == (old, new)
            wait_until(lambda: described(lab, "a", "b")["fingerprint"] == new, "a knows b's new key")
            wait_until(lambda: described(lab, "b", "a")["told"], "b knows that a does")
            check_they_go_on(goals, "after a rotation")
            known = described(lab, "a", "b")
            assert (known["previous"], known["trust"], known["offered"]) == ([old], "dns", None)
            text = lab.ask("b", "key", "show")["key"]
            wait_until(
                lambda: f"k={text} " in lab.on("a", "vipnet", "resolve", "b.vipip.net").stdout,
                "the new key is in DNS",
            )
            # A session by the new keys alone, and where both are on disk.
            lab.move("both")
            check_they_go_on(goals_of(apps), "after a move")
        figure(f"{endless.name}: {endless.finish()}")
