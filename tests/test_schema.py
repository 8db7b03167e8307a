"""The schemas take what they should, and nothing that lacks a key or has another type."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cli.examples import OF_SCHEMA, RESOLVE, STATUS
from tests.schema import hold, validator


def keys_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where VALUE has keys, however deep; counters other than the required one are free."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(value, dict) and path != ("counters",) and key != "last_move":
            yield (*path, key)
        yield from keys_of(item, (*path, key))


CASES = [(schema, example, path) for schema, example in OF_SCHEMA for path in keys_of(example)]


@pytest.mark.parametrize(("schema", "example"), OF_SCHEMA)
def test_examples_hold(schema: str, example: dict[str, Any]) -> None:
    hold(example, schema)
    hold({**example, "added later": 1}, schema)


@pytest.mark.parametrize(("schema", "example", "path"), CASES)
def test_no_key_may_be_missing_or_of_another_type(
    schema: str, example: dict[str, Any], path: tuple[Any, ...]
) -> None:
    for spoil in ("missing", "another type"):
        document = copy.deepcopy(example)
        where = document
        for step in path[:-1]:
            where = where[step]
        del where[path[-1]]
        if spoil == "another type":
            where[path[-1]] = [{"no": "such type"}]
        assert not validator(schema).is_valid(document), f"{path} {spoil}"


def test_words_are_fixed() -> None:
    for bad in ({**STATUS, "state": "fine"}, {**STATUS, "name": "A.VIPIP.NET"}, {**STATUS, "counters": {}}):
        with pytest.raises(AssertionError, match="status:"):
            hold(bad, "status")
    with pytest.raises(AssertionError, match="address"):
        hold({**RESOLVE, "kind": "failed"}, "resolve")
