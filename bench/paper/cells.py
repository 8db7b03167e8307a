"""What is measured: cells, each of which is one kind of move in one kind of lab, some runs long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

from bench.streams import TCP_BYTES
from msgspec import Struct

from vipnet.lab.flows import Flow
from vipnet.lab.layout import LabSpec

Profile = Literal["paper", "default"]
Kernel = Literal["today", "2001"]
Part = Literal["2a", "2b", "3", "4", "sleep", "kernel", "rtt", "hints"]

PARTS: Final[tuple[Part, ...]] = get_args(Part)
PROFILES: Final[tuple[Profile, Profile]] = ("paper", "default")
UDP, TCP = (Flow.UDP_A_B,), (Flow.TCP_A_B,)
LATENCY_STEP_S: Final = 0.25  # coarser, and TCP's stairs cannot be seen
LATENCY_MAX_S: Final = 8.0  # the paper's Figure 4
QUICK_LATENCIES_S: Final = (0.0, 0.5, 1.0, 2.0)
SLEEP_LATENCIES_S: Final = (0.0, 1.0, 2.0, 4.0)
KERNEL_LATENCIES_S: Final = (0.0, 1.0, 3.0)
RTTS_MS: Final = (0.25, 1.0, 5.0, 20.0, 50.0, 100.0, 200.0)
QUICK_RTTS_MS: Final = (20.0, 200.0)
BULK_BYTES: Final = 65_536  # each 5 ms: 105 Mbit/s, what the paper's Ethernet carried
WAITING_MS: Final = 1_000.0  # of DNS latency; with more a move is mostly silence
TRIAL_S: Final = 3.2  # of a move with all around it, for the time that is left


class BedKind(Struct, frozen=True, kw_only=True):
    """A lab to measure in; what is measured in one kind shares one lab.

    late    a forwarder is before the name server, even if it delays nothing
    sleepy  the daemons sleep before they look up, as the paper's did
    """

    profile: Profile
    hints: bool = True
    rtt_ms: float = 0.0
    kernel: Kernel = "today"
    late: bool = False
    sleepy: bool = False

    def spec(self, name: str) -> LabSpec:
        return LabSpec(name=name, dns="bind", profile=self.profile, hints=self.hints, rtt_ms=self.rtt_ms)


class Cell(Struct, frozen=True, kw_only=True):
    """`dns_ms` is the latency that is ordered; what it was is measured. `tcp_bytes`: a write, every 5 ms."""

    part: Part
    bed: BedKind
    flows: tuple[Flow, ...]
    movers: tuple[str, ...]
    dns_ms: float = 0.0
    tcp_bytes: int = TCP_BYTES

    @property
    def key(self) -> str:
        """Its name in figures.json: part, profile, kernel, who moves, what varies."""
        bed = self.bed
        words = [self.part, bed.profile, "".join(self.movers), "-".join(flow.name[:3] for flow in self.flows)]
        words += ["kernel-2001"] * (bed.kernel == "2001") + ["no-hints"] * (not bed.hints)
        words += [f"dns-{self.dns_ms:g}"] * (bed.late or bed.sleepy)
        words += [f"rtt-{bed.rtt_ms:g}"] * (bed.rtt_ms > 0)
        return "/".join(words).lower()

    @property
    def mostly_waits(self) -> bool:
        """Whether it needs the machine for a small part of its time: other labs can work meanwhile."""
        return self.dns_ms >= WAITING_MS

    @property
    def expected_s(self) -> float:
        return TRIAL_S + (1 if len(self.movers) == 2 else 0) * 0.4 + 2.0 * self.dns_ms / 1000


def plan(parts: Sequence[Part], *, quick: bool, kernel: Kernel) -> list[Cell]:
    """All cells of PARTS; those of one bed stand together."""
    makers = {
        "2a": lambda: _one_sided("2a", UDP, ("a",) if quick else ("a", "b"), kernel),
        "2b": lambda: _one_sided("2b", TCP, ("a",) if quick else ("a", "b"), kernel),
        "3": lambda: _two_sided(kernel),
        "4": lambda: _by_latency(QUICK_LATENCIES_S if quick else latencies_s(), kernel),
        "sleep": lambda: _sleepy(SLEEP_LATENCIES_S[1:2] if quick else SLEEP_LATENCIES_S, kernel),
        "kernel": lambda: _of_2001(quick=quick),
        "rtt": lambda: _by_round_trip(QUICK_RTTS_MS if quick else RTTS_MS, kernel),
        "hints": lambda: _without_hints(kernel),
    }
    cells = [cell for part in parts for cell in makers[part]()]
    return sorted(cells, key=lambda cell: [one.bed for one in cells].index(cell.bed))


def latencies_s() -> tuple[float, ...]:
    return tuple(step * LATENCY_STEP_S for step in range(round(LATENCY_MAX_S / LATENCY_STEP_S) + 1))


def _one_sided(
    part: Literal["2a", "2b"], flows: tuple[Flow, ...], movers: Sequence[str], kernel: Kernel
) -> list[Cell]:
    """The paper does not say which host moves; with the sender the ack counts, as in its sum of 20 + 3 ms."""
    return [
        Cell(part=part, bed=BedKind(profile=profile, kernel=kernel), flows=flows, movers=(mover,))
        for profile in PROFILES
        for mover in movers
    ]


def _two_sided(kernel: Kernel) -> list[Cell]:
    beds = [BedKind(profile=profile, kernel=kernel) for profile in PROFILES]
    return [Cell(part="3", bed=bed, flows=UDP, movers=("a", "b")) for bed in beds]


def _by_latency(latencies: Sequence[float], kernel: Kernel) -> list[Cell]:
    """UDP and TCP ride the same moves, so that they can be compared latency by latency."""
    beds = [BedKind(profile=profile, kernel=kernel, late=True) for profile in PROFILES]
    return [
        Cell(part="4", bed=bed, flows=UDP + TCP, movers=("a", "b"), dns_ms=1000 * latency)
        for bed in beds
        for latency in latencies
    ]


def _sleepy(latencies: Sequence[float], kernel: Kernel) -> list[Cell]:
    bed = BedKind(profile="paper", kernel=kernel, sleepy=True)
    return [
        Cell(part="sleep", bed=bed, flows=UDP + TCP, movers=("a", "b"), dns_ms=1000 * latency)
        for latency in latencies
    ]


def _of_2001(*, quick: bool) -> list[Cell]:
    one = BedKind(profile="paper", kernel="2001")
    late = BedKind(profile="paper", kernel="2001", late=True)
    cells = [
        Cell(part="kernel", bed=one, flows=TCP, movers=(mover,), tcp_bytes=BULK_BYTES) for mover in ("a", "b")
    ]
    latencies = () if quick else KERNEL_LATENCIES_S
    return cells + [
        Cell(part="kernel", bed=late, flows=UDP + TCP, movers=("a", "b"), dns_ms=1000 * latency)
        for latency in latencies
    ]


def _by_round_trip(rtts_ms: Sequence[float], kernel: Kernel) -> list[Cell]:
    return [
        Cell(
            part="rtt",
            bed=BedKind(profile=profile, kernel=kernel, rtt_ms=rtt_ms),
            flows=UDP,
            movers=("b",),
        )
        for profile in PROFILES
        for rtt_ms in rtts_ms
    ]


def _without_hints(kernel: Kernel) -> list[Cell]:
    """B moves and receives: nobody but a hint, or DNS, can tell the sender."""
    bed = BedKind(profile="default", kernel=kernel, hints=False)
    return [Cell(part="hints", bed=bed, flows=UDP, movers=movers) for movers in (("b",), ("a", "b"))]
