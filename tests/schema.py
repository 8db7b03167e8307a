"""The JSON that others rely on, held against the schemas in tests/schemas."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

DIRECTORY = Path(__file__).parent / "schemas"


def hold(document: object, schema: str) -> None:
    """Fail with every way in which DOCUMENT is not as tests/schemas/SCHEMA.json says."""
    faults = [f"{fault.json_path}: {fault.message}" for fault in validator(schema).iter_errors(document)]
    assert not faults, f"{schema}: " + "; ".join(faults)


@cache
def validator(schema: str) -> Draft202012Validator:
    """Schemas may refer to each other by file name."""
    files: dict[str, Any] = {path.name: json.loads(path.read_text()) for path in DIRECTORY.glob("*.json")}
    for document in files.values():
        Draft202012Validator.check_schema(document)
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(document)) for name, document in files.items()
    )
    return Draft202012Validator(
        files[f"{schema}.json"], registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
