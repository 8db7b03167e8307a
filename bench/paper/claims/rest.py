"""What else section 4 says, and what the sections before it promise."""

from __future__ import annotations

from collections import defaultdict

from bench.paper.cells import PROFILES
from bench.paper.claims.row import NONE, SAME, Row, by_profile, in_ms, trials_of
from bench.paper.document import Document
from bench.stats import straight_line, summarise


def applications(document: Document) -> Row:
    found = document.asides.get("applications")

    def text(profile: str) -> str:
        return (
            NONE if found is None else "; ".join(f"{name}: {said}" for name, said in found[profile].items())
        )

    return Row(
        id="applications",
        claim="a telnet session over TCP, video streaming over RTP and UDP, and ping over ICMP continue for "
        "one-sided and two-sided switches",
        paper="all continue",
        ours_paper=text("paper"),
        ours_default=text("default"),
        why="The same processes and sockets through moves of a, of b and of both. Video by ffmpeg, as there "
        "is no RealPlayer any more. Profile paper keeps nothing, so what is not TCP has gaps.",
        verdict=NONE if found is None else "holds",
    )


def dominated_by_round_trip(document: Document) -> Row:
    def line(profile: str) -> str:
        cells = [cell for cell in document.cells_of("rtt", profile) if document.udp(cell).median is not None]
        if len(cells) < 2:
            return NONE
        found = straight_line(
            [document.rtt_ms(cell) for cell in cells], [document.udp(cell).median or 0 for cell in cells]
        )
        return f"{found.slope:.2f} x RTT + {found.intercept:.0f} ms, R² = {found.r_squared:.3f}"

    ours = line("default")
    return Row(
        id="rtt-sweep",
        claim="For the one-sided case, time is dominated by the round trip time between the peers",
        paper="no numbers",
        ours_paper=line("paper"),
        ours_default=ours,
        why="B moves and receives: its hint takes half a round trip to the sender, and the sender's next "
        "datagram the other half.",
        verdict=NONE if ours == NONE else "",
    )


def hints(document: Document) -> Row:
    cells = [cell for cell in document.cells_of("hints") if document.of(cell)]
    without = {"".join(cell.movers): document.udp(cell) for cell in cells}
    having = {
        "b": by_profile(document, "2a", "b", document.udp)["default"],
        "ab": by_profile(document, "3", "ab", document.udp)["default"],
    }
    both = [(having[movers].median, found.median) for movers, found in without.items()]
    useful = all(a is not None and (b is None or a < b) for a, b in both)
    names = {"b": "one-sided", "ab": "two-sided"}
    told = "; ".join(
        f"{names[movers]} {in_ms(found)} without, {in_ms(having[movers])} with"
        for movers, found in without.items()
    )
    return Row(
        id="hints",
        claim="Peer-to-peer updates appear to be a useful optimization",
        paper="no numbers",
        ours_paper=SAME,
        ours_default=told or NONE,
        why="Without hints a sender learns of a move from the mover's next keepalive, which comes from "
        "elsewhere, after 200 ms at most; when both moved, from DNS, after a second without an answer.",
        verdict=NONE if not both else "holds" if useful else "does not hold",
    )


def lease(document: Document) -> Row:
    found = document.asides.get("lease")

    def text(profile: str) -> str:
        if found is None:
            return NONE
        asked = found[profile]
        return f"{asked['silent']} look-ups in silence, {asked['speaking']} with the next packet"

    good = found is not None and all(
        (found[one]["silent"], found[one]["speaking"]) == (0, 1) for one in PROFILES
    )
    return Row(
        id="lease",
        claim="any time a node sends a message to a node from which it has not received a packet during the "
        "last T seconds, it queries DNS to renew the mapping (section 3.2)",
        paper="1 query",
        ours_paper=text("paper"),
        ours_default=text("default"),
        why="T is 60 s here. Profile paper asks first, and the packet waits; by default it leaves at once.",
        verdict=NONE if found is None else "holds" if good else "does not hold",
    )


def lans(document: Document) -> Row:
    names = {1: "one LAN", 2: "two LANs"}

    def by_lans(profile: str) -> str:
        found: dict[str, list[float | None]] = defaultdict(list)
        for trial in trials_of(document, "2a", profile):
            if trial.udp is not None:
                found[f"{names[trial.from_lans]} to {names[trial.to_lans]}"].append(trial.udp.switch_ms)
        return "; ".join(f"{way} {in_ms(summarise(runs))}" for way, runs in sorted(found.items())) or NONE

    ours = by_lans("default")
    return Row(
        id="lans",
        claim="Each host has two cards, connected to different LANs (Figure 1): both on one LAN, then on two",
        paper="no numbers",
        ours_paper=by_lans("paper"),
        ours_default=ours,
        why="The peers are a fraction of a millisecond apart on either.",
        verdict=NONE if ours == NONE else "",
    )


def nothing_to_configure(document: Document) -> Row:
    found = document.asides.get("configuration")
    keys = [] if found is None else found["keys"]
    clean = not any("address" in key or "agent" in key for key in keys)
    return Row(
        id="configuration",
        claim="minimal configuration and infrastructure: no static address, no home agent",
        paper="a name, and a key for DNS",
        ours_paper=SAME,
        ours_default=", ".join(keys) or NONE,
        why="All that stands in a host's configuration in these labs, their paths included. No address of "
        "the host or of a partner, no relay, no home agent is among it; [publish] server is DNS.",
        verdict=NONE if found is None else "holds" if clean else "does not hold",
    )


def tokens(document: Document) -> Row:
    found = document.asides.get("configuration")
    good = found is not None and found["symmetric"] and found["tokens_on_lans"] == 0
    return Row(
        id="tokens",
        claim="Communicating machines agree on what they call one another; routers see no virtual address",
        paper="by design",
        ours_paper=SAME,
        ours_default=NONE
        if found is None
        else f"tokens {'agree' if found['symmetric'] else 'differ'}; {found['tokens_on_lans']} of "
        f"{found['packets_on_lans']} packets on the LANs have a token for an address",
        why="By what both daemons tell, and by tcpdump on both LANs during a conversation.",
        verdict=NONE if found is None else "holds" if good else "does not hold",
    )


def sealed(document: Document) -> Row:
    found = document.asides.get("configuration")
    good = found is not None and found["readable"] == 0 and found["readable_bare"] > 0
    return Row(
        id="sealed",
        claim="the system uses IPsec to encrypt and authenticate all VIP communication (section 3)",
        paper="by design",
        ours_paper=SAME,
        ours_default=NONE
        if found is None
        else f"{found['readable']} of {found['packets_on_lans']} packets on the LANs show what was sent; "
        f"without vipnet {found['readable_bare']}",
        why="Noise and AES-GCM or ChaCha20-Poly1305 in UDP instead of ESP; a ping with known contents, by "
        "tcpdump on both LANs.",
        verdict=NONE if found is None else "holds" if good else "does not hold",
    )


def active_partners(document: Document) -> Row:
    found = document.asides.get("lease")

    def text(profile: str) -> str:
        if found is None:
            return NONE
        silent, speaking = found[profile]["told"]
        return (
            f"{silent} told after {found['lease_s']:.0f} s of silence, {speaking} right after a conversation"
        )

    good = found is not None and all(found[one]["told"] == [0, 1] for one in PROFILES)
    return Row(
        id="active-partners",
        claim="When a machine's IP address changes, it sends invalidation hints to the machines with which "
        "it has communicated during the previous T seconds (section 3.2)",
        paper="by design",
        ours_paper=text("paper"),
        ours_default=text("default"),
        why="By what the mover's report says of its one partner.",
        verdict=NONE if found is None else "holds" if good else "does not hold",
    )


def third_party_dns(_document: Document) -> Row:
    return Row(
        id="no-ip",
        claim="We have also successfully tested our system using no-ip.com as the name server",
        paper="works",
        why="No packet of this program leaves the machine. The protocol of no-ip.com is tested against a "
        "server of its kind (tests/publish).",
        verdict=NONE,
    )
