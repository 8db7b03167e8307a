"""Doubles of providers: what their documentation says they do with a request, in memory."""

from __future__ import annotations

import json
from typing import Any

from tests.publish.webdouble import SECRET, Reply, Request, json_reply

from vipnet.names.records import CapabilityRecord
from vipnet.types import PublicKey

RECORD = CapabilityRecord(PublicKey(bytes(range(32))), 5847)
DUCK_SEES = "203.0.113.80"  # where requests come from, for it
RRsets = dict[tuple[str, str], set[str]]


class DuckDnsDouble:
    """https://www.duckdns.org/spec.jsp, one domain `me`."""

    def __init__(self) -> None:
        self.ip = self.ipv6 = self.txt = ""

    def __call__(self, request: Request) -> Reply:
        query = request.query
        if request.path != "/update" or query.get("token") != SECRET.reveal() or query["domains"] != "me":
            return Reply(200, "KO")
        if "txt" in query:
            self.txt = "" if query.get("clear") == "true" else query["txt"]
            return Reply(200, f"OK\n{self.txt}\nUPDATED")
        if query.get("clear") == "true":
            self.ip = self.ipv6 = ""
        else:
            self.ip = (query["ip"] or DUCK_SEES) if "ip" in query else self.ip
            self.ipv6 = query.get("ipv6", self.ipv6)
        return Reply(200, f"OK\n{self.ip}\n{self.ipv6}\nUPDATED")


class DesecDouble:
    """https://desec.readthedocs.io/en/latest/dns/rrsets.html: one domain with a minimum TTL."""

    def __init__(self, domain: str = "example.dedyn.io", minimum_ttl: int = 60) -> None:
        self.domain, self.minimum_ttl = domain, minimum_ttl
        self.rrsets: RRsets = {}
        self.ttls: dict[tuple[str, str], int] = {}

    def __call__(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Token {SECRET.reveal()}":
            return json_reply({"detail": "Invalid token."}, 401)
        if (request.method, request.path) == ("GET", "/domains/"):
            owns = f".{request.query['owns_qname']}".endswith(f".{self.domain}")
            entry = {"name": self.domain, "minimum_ttl": self.minimum_ttl, "created": "2024-05-04T16:24:28Z"}
            return json_reply([entry] if owns else [])
        if (request.method, request.path) != ("PATCH", f"/domains/{self.domain}/rrsets/"):
            return json_reply({"detail": "Not found."}, 404)
        # All or nothing: errors first, an object for each part.
        errors = [
            {"ttl": [f"Ensure this value is greater than or equal to {self.minimum_ttl}."]}
            if part["records"] and part["ttl"] < self.minimum_ttl
            else {}
            for part in request.json()
        ]
        if any(errors):
            return json_reply(errors, 400)
        for part in request.json():
            key = part["subname"], part["type"]
            self.rrsets.pop(key, None)
            if part["records"]:
                self.rrsets[key], self.ttls[key] = set(part["records"]), part["ttl"]
        return json_reply([{"subname": name, "type": rdtype} for name, rdtype in self.rrsets])


class CloudflareDouble:
    """https://developers.cloudflare.com/api/resources/dns/: one zone; a batch is one transaction."""

    def __init__(self, zone: str = "example.org") -> None:
        self.zone, self.zone_id = zone, "023e105f4ecef8ad9ca31a8372d0c353"
        self.records: list[dict[str, Any]] = []
        self.batches = 0
        self._next = 1

    def add(self, **record: object) -> None:
        self.records.append({"id": f"r{self._next}", "ttl": 300, "proxied": False, **record})
        self._next += 1

    def contents(self, name: str, rdtype: str) -> set[str]:
        return {r["content"] for r in self.records if (r["name"], r["type"]) == (name, rdtype)}

    def __call__(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {SECRET.reveal()}":
            return self._failed(401, 10000, "Authentication error")
        if request.path == "/zones":
            match = [{"id": self.zone_id, "name": self.zone}] if request.query["name"] == self.zone else []
            return self._result(match)
        path = f"/zones/{self.zone_id}/dns_records"
        if (request.method, request.path) == ("GET", path):
            return self._result([r for r in self.records if r["name"] == request.query["name.exact"]])
        if (request.method, request.path) == ("POST", f"{path}/batch"):
            return self._batch(request.json())
        return self._failed(404, 7003, "Could not route to the path")

    def _batch(self, batch: dict[str, list[dict[str, Any]]]) -> Reply:
        self.batches += 1
        for part in batch.get("posts", []) + batch.get("patches", []):
            if part["ttl"] != 1 and not 60 <= part["ttl"] <= 86400:
                return self._failed(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1")
        gone = {part["id"] for part in batch.get("deletes", [])}
        if not gone <= {record["id"] for record in self.records}:
            return self._failed(404, 81044, "Record does not exist.")
        self.records = [record for record in self.records if record["id"] not in gone]
        for part in batch.get("patches", []):
            next(record for record in self.records if record["id"] == part["id"]).update(part)
        for part in batch.get("posts", []):
            self.add(**part)
        return self._result({})

    def _result(self, result: object) -> Reply:
        return json_reply({"success": True, "errors": [], "messages": [], "result": result})

    def _failed(self, status: int, code: int, message: str) -> Reply:
        return json_reply({"success": False, "errors": [{"code": code, "message": message}]}, status)


class HetznerDouble:
    """https://docs.hetzner.cloud/reference/cloud#zone-rrsets: one zone; actions run for a poll or two."""

    def __init__(self, zone: str = "example.org", *, slow: bool = False) -> None:
        self.zone, self.slow = zone, slow
        self.rrsets: RRsets = {}
        self.ttls: dict[tuple[str, str], int] = {}
        self.error: tuple[int, str, str] | None = None
        self.action_status = "success"

    def __call__(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {SECRET.reveal()}":
            return self._failed(401, "unauthorized", "unable to authenticate")
        if self.error is not None and request.method != "GET":
            return self._failed(*self.error)
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["zones", "actions"]:
            return self._action(self.action_status)
        if parts[:2] != ["zones", self.zone]:
            return self._failed(404, "not_found", "zone not found")
        match request.method, *parts[2:]:
            case ("GET",):
                return json_reply({"zone": {"id": 42, "name": self.zone, "mode": "primary"}})
            case "POST", "rrsets":
                body = request.json()
                self._put(body["name"], body["type"], body["records"], body["ttl"])
                return self._action("running" if self.slow else "success", 201)
            case method, "rrsets", name, rdtype, *rest:
                return self._on_rrset(method, (name, rdtype), rest, request.body)
        return self._failed(404, "not_found", "no such thing")

    def _on_rrset(self, method: str, key: tuple[str, str], rest: list[str], body: bytes) -> Reply:
        if key not in self.rrsets:
            return self._failed(404, "not_found", "rrset not found")
        if method == "GET":
            records = [{"value": value, "comment": ""} for value in sorted(self.rrsets[key])]
            return json_reply(
                {"rrset": {"name": key[0], "type": key[1], "ttl": self.ttls[key], "records": records}}
            )
        if method == "DELETE":
            del self.rrsets[key]
        elif rest == ["actions", "set_records"]:
            self._put(*key, json.loads(body)["records"], self.ttls[key])
        elif rest == ["actions", "change_ttl"]:
            self.ttls[key] = json.loads(body)["ttl"]
        return self._action("running" if self.slow else "success", 201)

    def _put(self, name: str, rdtype: str, records: list[dict[str, str]], ttl: int) -> None:
        self.rrsets[name, rdtype] = {record["value"] for record in records}
        self.ttls[name, rdtype] = ttl

    def _action(self, status: str, code: int = 200) -> Reply:
        error = {"code": "action_failed", "message": "Action failed"} if status == "error" else None
        return json_reply({"action": {"id": 7, "command": "x", "status": status, "error": error}}, code)

    def _failed(self, status: int, code: str, message: str) -> Reply:
        return json_reply({"error": {"code": code, "message": message, "details": None}}, status)
