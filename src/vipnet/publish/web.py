"""What the HTTP providers need of HTTP: requests, answers, and what a status code means."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from vipnet import __version__
from vipnet.errors import PublishError

USER_AGENT: Final = f"vipnet/{__version__}"
WORDS_MAX: Final = 200  # characters of a provider's that go into an error
RETRY_AFTER_MAX_S: Final = 86_400.0
T = TypeVar("T")
_MAY_PASS: Final = frozenset({408, 409, 423, 425, 429})


class Answer(Struct, frozen=True):
    """An HTTP response; `text` is cut at a bound and holds no secret of ours."""

    status: int
    text: str
    retry_after_s: float = 0.0

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:  # noqa: ANN401 - JSON holds anything
        """What the text says as JSON, None when it is none."""
        try:
            return msgspec.json.decode(self.text)
        except (msgspec.DecodeError, RecursionError):
            return None


class Web(Protocol):
    """Sends one request and returns the response, redirects and errors as well.

    query  is added to URL; body is sent as JSON; basic is user and password.
    Raise PublishError when there is no response.
    """

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        body: object = None,
    ) -> Answer: ...


def refusal(provider: str, answer: Answer, words: str = "", *, mend: str = "") -> PublishError:
    """The error for an answer that is no success, by its status code (RFC 9110 section 15).

    words  the provider's own
    mend   what the user can do when the credentials are refused
    """
    said = f"{provider} answers {answer.status}{quoted(words or answer.text)}"
    if answer.ok:
        return PublishError(f"{said}, which is not what it documents; a captive portal?")
    if 300 <= answer.status < 400:
        return PublishError(f"{said}: it leads elsewhere; a captive portal?")
    if answer.status >= 500 or answer.status in _MAY_PASS:
        return PublishError(said, retry_after_s=answer.retry_after_s)
    if answer.status in (401, 403) and mend:
        said += f": {mend}"
    return PublishError(said, permanent=True)


def quoted(words: str) -> str:
    """WORDS as an addition to an error: one printable line, not too long."""
    line = " ".join("".join(filter(lambda c: c.isprintable() or c.isspace(), words)).split())
    if not line:
        return ""
    return f', "{line if len(line) <= WORDS_MAX else line[: WORDS_MAX - 3] + "..."}"'


def retry_after_s(value: str | None, now: float) -> float:
    """Seconds that a Retry-After field asks for (RFC 9110 section 10.2.3), 0 when it asks for none.

    now  seconds since 1970; the field may be a date
    """
    if value is None:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), RETRY_AFTER_MAX_S)
    at = date_s(value)
    return 0.0 if at is None else min(max(at - now, 0.0), RETRY_AFTER_MAX_S)


def date_s(value: str | None) -> float | None:
    """Seconds since 1970 of an HTTP date (RFC 9110 section 5.6.7), None for anything else."""
    try:
        return None if value is None else parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def parsed(kind: type[T], value: object, provider: str) -> T:
    """VALUE, JSON from PROVIDER, as KIND. Raise PublishError when it is something else."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise PublishError(f"{provider} answers what it does not document: {error}") from None


def field(value: object, *path: str | int) -> Any:  # noqa: ANN401 - JSON holds anything
    """What is at PATH inside of JSON from the network, None when it is not of that shape."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(value, list) or len(value) <= step:
                return None
            value = value[step]
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value
