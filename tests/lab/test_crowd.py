"""All hosts move in one instant: nobody stays where others could find it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab
from tests.lab.streams import check_nothing_lost, streams

_LABELS = ("a", "b", "d", "e", "f")


def tokens(lab: Lab) -> dict[tuple[str, str], tuple[str, str]]:
    """By (host, peer's name): the peer's token and the host's own, as the host's applications see them."""
    return {
        (label, peer["name"]): (peer["token"], peer["local_token"])
        for label in _LABELS
        for peer in lab.ask(label, "peers")["peers"]
    }


def test_five_hosts_that_all_talk_move_at_once(
    new_lab: LabFactory, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """Twenty streams, and no third host that stays: only DNS knows where all went."""
    lab = new_lab("--hosts", str(len(_LABELS)))
    everyone = {label: [other for other in _LABELS if other != label] for label in _LABELS}
    with streams(lab, tmp_path, everyone, every_ms=40) as running:
        before = tokens(lab)
        for _ in range(2):
            moves = lab.move("all")
            assert {move["host"] for move in moves} == set(_LABELS)
            assert all(move["from"] != move["to"] for move in moves)
            running.go_on("after the move of all")
        assert tokens(lab) == before
        found = running.finish()
    assert {(one.source, one.target) for one in found} == set(permutations(_LABELS, 2))
    figure(check_nothing_lost(found))
    for label in _LABELS:
        ours = [token for (host, _), pair in before.items() if host == label for token in pair[:1]]
        assert len(set(ours)) == len(_LABELS) - 1, f"{label}: a token stands for two names"
    for (label, peer), (remote, local) in before.items():
        assert before[peer.split(".")[0], f"{label}.vipip.net"] == (local, remote), "both ends agree"
