from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, field

from vipnet.app.config import Config
from vipnet.app.toml import Section, decode
from vipnet.errors import ConfigError
from vipnet.types import Fqdn


class Engine(Section, frozen=True):
    kind: Literal["steam", "petrol"] = "steam"
    cylinders: Annotated[int, Meta(ge=1, le=12)] = 4
    load: Annotated[float, Meta(gt=0, le=1)] = 0.5

    def __post_init__(self) -> None:
        if self.kind == "steam" and self.cylinders > 8:
            raise ValueError("cylinders: too many for steam")


class Wheel(Section, frozen=True):
    name: Fqdn
    spare: bool = False


class Car(Section, frozen=True):
    engine: Engine = Engine()
    names: tuple[Fqdn, ...] = ()
    log: Path | None = None
    wheels: tuple[Wheel, ...] = field(default=(), name="peer")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine]\ncylindres = 3", 'unknown key "cylindres" in [engine]; did you mean "cylinders"?'),
        ("[engin]", 'unknown key "engin" at the top; did you mean "engine"?'),
        ("load = 0.1", 'unknown key "load" at the top; it belongs under [engine]'),
        ("xyz = 1", 'unknown key "xyz" at the top; possible are engine, names, log, peer'),
        ("[engine]\ncylinders = 0", "[engine] cylinders = 0: must be a whole number from 1 to 12"),
        ("[engine]\ncylinders = 1.5", "[engine] cylinders = 1.5: must be a whole number from 1 to 12"),
        ("[engine]\nload = nan", "[engine] load = NaN: must be a number above 0 to 1"),
        ("[engine]\nload = true", "[engine] load = true: must be a number above 0 to 1"),
        (
            '[engine]\nkind = "stream"',
            '[engine] kind = "stream": must be one of "steam", "petrol"; did you mean "steam"?',
        ),
        ("[engine]\ncylinders = 9", "[engine] cylinders: too many for steam"),
        ("engine = 3", "engine = 3: must be a table"),
        ('names = "a.b"', 'names = "a.b": must be a list'),
        ('names = ["a.b", 5]', 'names[1] = 5: must be a full DNS name like "laptop.example.org"'),
        ('log = "x"', 'log = "x": must be an absolute path (is not absolute)'),
        ("[[peer]]\nspare = true", "[[peer]] number 1 name is missing"),
        (
            '[[peer]]\nname = "a.b"\n[[peer]]\nname = "c.d"\nspare = 1',
            "[[peer]] number 2 spare = 1: must be true or false",
        ),
        ("[[peer]]\nnames = 1", 'unknown key "names" in [[peer]] number 1; did you mean "name"?'),
        ("peer = [1]", "[[peer]] number 1 = 1: must be a table"),
    ],
)
def test_a_mistake_is_explained(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(text.encode(), Car)
    assert str(caught.value) == message


def test_what_is_right_is_typed() -> None:
    car = decode(b'log = "/x"\nnames = ["A.b."]\n[engine]\nload = 1\n[[peer]]\nname = "c.d"', Car)
    assert car == Car(Engine(load=1.0), (Fqdn("a.b"),), Path("/x"), (Wheel(Fqdn("c.d")),))


@pytest.mark.parametrize("data", [b"name", b"\xff", b"a = 1\na = 2", b"[[[[", b'x = "\x01"'])
def test_no_toml_at_all(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^not TOML: [^\n]+$"):
        decode(data, Car)


KEYS = [
    "name",
    "tun",
    "mtu",
    "peer",
    "dns",
    "listen",
    "upstreams",
    "publish",
    "provider",
    "accept",
    "from",
    "key",
]
TEXT = st.sampled_from(
    ["a.b", "*", "10.0.0.0/8", "/x", "::1", "rfc2136", "127.0.0.1:99", "A" * 43 + "="]
) | st.text(max_size=9)
SCALAR = st.booleans() | st.integers() | st.floats() | TEXT


def toml(value: object) -> str:
    """VALUE as an inline TOML value."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return str(value)


@given(
    st.dictionaries(
        st.sampled_from(KEYS),
        st.recursive(
            SCALAR,
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
            ),
            max_leaves=6,
        ),
        max_size=5,
    )
)
def test_any_toml_is_decoded_or_explained_in_one_line(raw: dict[str, object]) -> None:
    text = "".join(f"{key} = {toml(value)}\n" for key, value in raw.items())
    problem = ""
    try:
        decode(text.encode(), Config)
    except ConfigError as error:
        problem = str(error)
    assert problem.isprintable()
    assert "not TOML" not in problem
