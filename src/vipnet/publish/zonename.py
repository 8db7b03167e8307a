"""Names inside a zone."""

from __future__ import annotations

from collections.abc import Iterator

from vipnet.errors import PublishError
from vipnet.names.desired import within


def relative(name: str, zone: str) -> str:
    """NAME below ZONE without it; empty for ZONE itself. Raise PublishError when it is not inside."""
    if not within(name, zone):
        reason = f"{name} is not in the provider's zone {zone}; set another [publish] zone, or none"
        raise PublishError(reason, permanent=True)
    return name[: len(name) - len(zone)].rstrip(".")


def possible_zones(name: str, zone: str | None) -> Iterator[str]:
    """Where NAME may be: ZONE if it is known, else NAME and what is above it, but for a TLD."""
    if zone is not None:
        yield zone
        return
    labels = name.split(".")
    for depth in range(len(labels) - 1):
        yield ".".join(labels[depth:])
