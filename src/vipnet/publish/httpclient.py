"""HTTP over trio by httpx: the only module that imports it.

A provider's name is looked up by ourselves, because the system's way may lead through our
own resolver; the certificate is checked against the name all the same. Every exchange has
a connection of its own: updates are rare, and the host may have moved in between.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import httpx
import trio

from vipnet.errors import ConfigError, LookupFailedError, PublishError
from vipnet.publish.secret import Secret
from vipnet.publish.web import USER_AGENT, Answer, date_s, quoted, retry_after_s

EXCHANGE_S: Final = 10.0
CONNECT_S: Final = 3.0  # to one address; then the next
ADDRESSES_MAX: Final = 4
BODY_MAX: Final = 65_536  # bytes of a response that are read
_CERT_NOT_YET_VALID: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID, openssl/x509_vfy.h

# httpx logs whole URLs, and DuckDNS wants its token in the URL.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class HttpClient:
    """See web.Web.

    resolve  finds the addresses of a name
    secret   is taken out of everything that a provider answers
    tls      from `trusting`
    now      seconds since 1970
    told_time  told what the provider takes for the time, seconds since 1970
    """

    def __init__(
        self,
        resolve: Callable[[str], Awaitable[tuple[str, ...]]],
        secret: Secret,
        tls: ssl.SSLContext,
        *,
        now: Callable[[], float] = time.time,
        told_time: Callable[[float], None] = lambda _unix_s: None,
    ) -> None:
        self._resolve, self._secret, self._now, self._tell_time = resolve, secret, now, told_time
        self._tls = tls

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        body: object = None,
    ) -> Answer:
        target = httpx.URL(url)
        with trio.move_on_after(EXCHANGE_S):
            async with self._client(basic) as client:
                request = client.build_request(
                    method, target, params=query or None, headers=headers, json=body
                )
                return await self._first_answer(client, request)
        raise PublishError(f"{target.host}: no answer in {EXCHANGE_S:g} s")

    def _client(self, basic: tuple[str, str] | None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            auth=basic,
            verify=self._tls,
            timeout=httpx.Timeout(EXCHANGE_S, connect=CONNECT_S),
            # No proxies and no ~/.netrc: what is used stands in our configuration.
            trust_env=False,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    async def _first_answer(self, client: httpx.AsyncClient, request: httpx.Request) -> Answer:
        """Try the addresses one after the other; only one that takes no connection is passed over."""
        host = request.url.host
        reason = "no address"
        for address in (await self._addresses(host))[:ADDRESSES_MAX]:
            request.url = request.url.copy_with(host=address)
            request.extensions = {**request.extensions, "sni_hostname": host}
            try:
                return await self._exchange(client, request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if _not_yet_valid(error):
                    raise PublishError(
                        f"{host} has a certificate that begins in the future: set this host's clock",
                        clock=True,
                        unsent=True,
                    ) from None
                reason = address + self._words(error)
            except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
                raise PublishError(f"{host}: the connection failed{self._words(error)}") from None
        raise PublishError(f"{host} cannot be reached: {reason}", unsent=True)

    async def _exchange(self, client: httpx.AsyncClient, request: httpx.Request) -> Answer:
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            # Cancelled, not broken out of: that would leave the generators inside httpx to the collector.
            with trio.CancelScope() as enough:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) >= BODY_MAX:
                        enough.cancel()
        finally:
            await response.aclose()
        text = self._secret.hide_in(bytes(body[:BODY_MAX]).decode("utf-8", "replace"))
        at = date_s(response.headers.get("Date"))
        if at is not None:
            self._tell_time(at)
        wait_s = retry_after_s(response.headers.get("Retry-After"), self._now())
        return Answer(response.status_code, text, wait_s)

    def _words(self, error: BaseException) -> str:
        """What ERROR says; httpx often leaves that to the error behind it."""
        text, behind = str(error), error.__cause__ or error.__context__
        while not text and behind is not None:
            text, behind = str(behind), behind.__cause__ or behind.__context__
        return quoted(self._secret.hide_in(text or type(error).__name__))

    async def _addresses(self, host: str) -> tuple[str, ...]:
        try:
            return (str(ip_address(host)),)
        except ValueError:
            pass
        try:
            return await self._resolve(host)
        except LookupFailedError as error:
            raise PublishError(f"{host}: {error}", unsent=True) from None


def _not_yet_valid(error: BaseException) -> bool:
    """Whether a certificate is refused because it is not valid yet: nearly always our clock is behind."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, ssl.SSLCertVerificationError):
            return behind.verify_code == _CERT_NOT_YET_VALID
        behind = behind.__cause__ or behind.__context__
    return False


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Trust what is in CA_FILE, None: the usual ($SSL_CERT_FILE, or certifi). Raise ConfigError."""
    if ca_file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"[publish] ca_file = {ca_file}: {error.strerror or error}; it takes PEM") from None
