"""All messages for people, as a set: each says what is wrong, where, and what to do next."""

from __future__ import annotations

import re

import pytest
from docs.generate.messages import GAP, Message, markdown, messages

# A command or a line to type, a question to ask oneself, or an order.
ORDERS = (
    *("add", "change", "check", "choose", "delete", "install", "make", "move", "must", "name", "needs"),
    *("quote", "remove", "restart", "see", "set", "start", "take", "try", "write", "as root", "connect it"),
    *("end one", "end that one", "give the", "goes on by itself", "it has", "it takes", "pipe it"),
)
NEXT_STEP = re.compile(rf"`[a-z]|\?$|--[a-z]+|\b({'|'.join(ORDERS)})\b")
# Places where the next step comes from elsewhere: from what fills the last gap, or from who passes it on.
FROM_ELSEWHERE = {
    "app/engine.py": "resolve and ping explain what fails (app/explaining.py)",
    "app/launch.py": "the provider's refusal has its mend (publish/refusal.py, web.py)",
    "app/namekinds.py": "the signature's fault is in the zone; resolve explains it",
    "app/toml.py": "tomllib says line and column",
    "app/trial.py": "`vipnet init` adds --offline; a withdrawal adds what can be done by hand",
    "cli/run.py": "load_config's own message stands before it",
    "publish/cloudflare.py": "_MEND",
    "publish/hook.py": "the hook's own last line",
    "system/resolver.py": "`mend` follows",
}
PLACE = re.compile(
    rf"{GAP}|/etc/|\[\w+\]|--\w+|`\w+`|this host|the lab|standard output|kernel|daemon|COMMAND"
)
LOUD = r"!|\b(sorry|please|oops|invalid|illegal|fatal|unexpected|error)\b"
ALL = [one for one in messages() if not one.passes_on]
# What a provider may take the next time is tried again: nobody has to do anything.
FOR_SOMEBODY = [one for one in ALL if one.kind != "PublishError" or one.permanent]


def named(message: Message) -> str:
    return f"{message.place}: {message.text}"


def test_they_are_found() -> None:
    kinds = {message.kind for message in ALL}
    assert kinds >= {"ConfigError", "HostError", "NotReadyError", "NotRunningError", "PublishError"}
    assert len(ALL) > 150


@pytest.mark.parametrize("message", FOR_SOMEBODY, ids=named)
def test_each_says_where_and_what_to_do(message: Message) -> None:
    assert NEXT_STEP.search(message.text) or message.place in FROM_ELSEWHERE
    assert PLACE.search(message.text)


def test_no_exemption_is_left_over() -> None:
    silent = {message.place for message in FOR_SOMEBODY if not NEXT_STEP.search(message.text)}
    assert silent == FROM_ELSEWHERE.keys()


@pytest.mark.parametrize("message", ALL, ids=named)
def test_each_is_one_calm_line(message: Message) -> None:
    """`vipnet: ` stands before it: it begins small, does not shout, blame or beg pardon, and is no novel."""
    text = message.text
    assert "\n" not in text
    assert len(text) < 220
    assert not re.search(
        r"!|\b(sorry|please|oops|invalid|illegal|fatal|unexpected|error)\b", text, re.IGNORECASE
    )
    first = text.split()[0]
    assert not re.fullmatch(r"[A-Z][a-z]+", first) or first in {"Cloudflare", "Hetzner"}
    ends_as_a_sentence = text.endswith(".") and message.kind != "UsageError"  # main() goes on behind those
    assert not ends_as_a_sentence


def test_the_page_has_them_all() -> None:
    page = markdown()
    assert page.count("\n- ") == len({(message.kind, message.text) for message in ALL})
