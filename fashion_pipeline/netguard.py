"""Where the line may connect to: the checks on URLs, names and addresses that feeds and images share.

Three checks stand one behind the other. `check_url` reads the URL as the client will; the resolver of
`guarded_connector` checks every address that a name has and hands exactly those to the client, so that a
name that answers differently the next time changes nothing; and each socket checks the address that it is
about to connect to. Nothing here trusts a proxy or the environment.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urljoin, urlsplit, urlunsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from fashion_pipeline.errors import ForbiddenAddressError, PermanentError, SettingsError

Address = IPv4Address | IPv6Address
DEFAULT_PORTS = frozenset({80, 443})
REDIRECTS = frozenset({301, 302, 303, 307, 308})

# The IANA special-purpose registries (RFC 6890 and its updates) by our own hand: `ipaddress.is_global`
# changes its mind between patch releases of Python.
FORBIDDEN_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT or cloud metadata"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),
        ("169.254.0.0/16", "link-local or cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved or cloud metadata"),
        ("192.0.2.0/24", "reserved for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for documentation"),
        ("203.0.113.0/24", "reserved for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved or broadcast"),
    )
)
FORBIDDEN_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "a local translation prefix"),
        ("fc00::/7", "private or cloud metadata"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "Teredo or reserved"),
        ("2001:db8::/32", "reserved for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "reserved for documentation"),
    )
)
GLOBAL_V6 = IPv6Network("2000::/3")
# Prefixes whose last 32 bits are the IPv4 address that is meant: mapped (RFC 4291), translated (RFC 2765)
# and the well-known NAT64 prefix (RFC 6052), which a network with DNS64 puts before public addresses.
EMBEDDED_V4 = tuple(IPv6Network(prefix) for prefix in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))

# Sent again after a redirect to another origin; anything else may be a secret of the first one.
SAFE_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "if-modified-since", "if-none-match", "user-agent"}
)

LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
HOST = re.compile(rf"{LABEL}(\.{LABEL})*")
NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # and bytes of a header that are no UTF-8
SECRET_WORDS = re.compile("token|secret|passw|pwd|accesskey|keyid|signature|credential|auth|session|jwt|hmac")
SECRET_NAMES = frozenset({"key", "sig", "sid", "pass", "code", "policy", "user", "username", "login"})
SECRET_PATHS = frozenset({"key", "apikey", "token", "accesstoken", "secret", "password", "signature", "auth"})


class RedirectError(PermanentError):
    """A chain of redirects is too long, leads from https to http, or names no place."""


@dataclass(frozen=True)
class AddressPolicy:
    """What may be reached.

    `allowed_hosts` holds host names and literal addresses, which match the URL's host by name and then may
    have any address and port, and networks (`10.0.0.0/8`), which match any address inside them.
    """

    allowed_hosts: frozenset[str] = frozenset()
    file_roots: tuple[Path, ...] = ()
    max_redirects: int = 3

    def __post_init__(self) -> None:
        try:
            _allowed(self.allowed_hosts)
        except ValueError as error:
            raise SettingsError(f"allowed hosts: {error}; write names, addresses or networks") from error

    def allows_host(self, host: str) -> bool:
        """Whether `host` is allowed by its own name, written in any case, with or without a last dot."""
        return _normal_host(host) in _allowed(self.allowed_hosts)[0]

    def allows_address(self, address: Address) -> bool:
        """Whether `address` lies in an allowed network."""
        return any(address in network for network in _allowed(self.allowed_hosts)[1])


@lru_cache(maxsize=64)
def _allowed(entries: frozenset[str]) -> tuple[frozenset[str], tuple[IPv4Network | IPv6Network, ...]]:
    names = frozenset(_normal_host(entry) for entry in entries if "/" not in entry)
    return names, tuple(ip_network(entry, strict=False) for entry in sorted(entries) if "/" in entry)


def _normal_host(host: str) -> str:
    bare = host.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")
    address = _literal(bare)
    return str(address) if address is not None else bare


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def forbidden_reason(address: Address) -> str | None:
    """Why nothing may connect to `address`, in a few words; None for a public unicast address."""
    if isinstance(address, IPv4Address):
        return next((why for network, why in FORBIDDEN_V4 if address in network), None)
    if any(address in prefix for prefix in EMBEDDED_V4):
        return forbidden_reason(IPv4Address(int(address) & 0xFFFFFFFF))
    for network, why in FORBIDDEN_V6:
        if address in network:
            return why
    return None if address in GLOBAL_V6 else "not a public unicast address"


def check_address(address: str, host: str, policy: AddressPolicy) -> None:
    """Check one address that `host` (a name or a literal) has.

    Raises:
        ForbiddenAddressError: it is private, loopback, link-local, multicast, reserved, carrier-grade NAT,
            unspecified, a cloud's metadata service, or IPv6 around such an IPv4 address, and neither the
            host nor a network around it is allowed.
    """
    if policy.allows_host(host):
        return
    literal = _literal(address)
    if literal is None or (isinstance(literal, IPv6Address) and literal.scope_id):
        raise ForbiddenAddressError(f"{host} has {address!r}, which is not an address that can be checked")
    reason = forbidden_reason(literal)
    if reason is not None and not policy.allows_address(literal):
        raise ForbiddenAddressError(
            f"{host} leads to {address}, which is {reason}; if that is meant, allow the host by name"
        )


def check_url(url: str, policy: AddressPolicy) -> SplitResult:
    """Check all of an http(s) URL that can be checked before a name is resolved, and split it.

    The host is read as the client reads it (after IDNA), so that both agree on who is asked.

    Raises:
        ForbiddenAddressError: another scheme, userinfo, another port than 80 and 443, no proper host, a
            number that is not a dotted IPv4 address, or a literal address that is not public.
    """
    return _checked(url, policy)[0]


def _checked(url: str, policy: AddressPolicy) -> tuple[SplitResult, URL]:
    if CONTROL.search(url):
        raise _refused(url, "control characters in the URL")
    try:
        split, parsed = urlsplit(url), URL(url)
        named, host, port = split.hostname or "", parsed.raw_host, parsed.port
    except (ValueError, UnicodeError) as error:
        raise _refused(url, "cannot be read as a URL") from error
    if split.scheme not in ("http", "https") or parsed.scheme != split.scheme:
        raise _refused(url, "only http and https are allowed")
    if "@" in split.netloc:
        raise _refused(url, "no user name or password may stand in a URL")
    problem = _host_problem(named, host or "", port, policy)
    if problem is not None:
        raise _refused(url, problem)
    return split, parsed


# Asked for every picture, and a store's pictures lie on a few hosts.
@lru_cache(maxsize=4096)
def _host_problem(named: str, host: str, port: int | None, policy: AddressPolicy) -> str | None:
    """Why a URL of that host, as it is written and as the client reads it, may not be asked for."""
    if not host or not named or (named.isascii() and _normal_host(named) != _normal_host(host)):
        return "no host, or one that can be read in two ways"
    allowed = policy.allows_host(host)
    address = _literal(host)
    if address is not None:
        allowed = allowed or policy.allows_address(address)
        try:
            check_address(host, host, policy)
        except ForbiddenAddressError as error:
            return str(error)
    else:
        name = host.removesuffix(".")
        if not HOST.fullmatch(name) or len(name) > 253:
            return "not a host name"
        # A last label that is a number makes libc read the whole as an IPv4 address in one of its old
        # forms (RFC 3986, section 7.4): 127.1, 0x7f000001, 0177.0.0.1, 2130706433.
        if NUMERIC_LABEL.fullmatch(name.rsplit(".", 1)[-1]):
            return "write an IPv4 address as four decimal numbers"
    if port not in DEFAULT_PORTS and not allowed:
        return f"port {port} is only allowed for allowed hosts"
    return None


def _refused(url: str, why: str) -> ForbiddenAddressError:
    return ForbiddenAddressError(f"{redact(url)}: {why}")


def resolve_file_url(url: str, policy: AddressPolicy) -> Path:
    """The real path, symlinks resolved, of a `file:` URL (query and fragment ignored) or a plain path.

    The file need not exist.

    Raises:
        ForbiddenAddressError: it is not below one of the policy's roots, or names another machine.
    """
    if url[:5].lower() == "file:":
        try:
            split = urlsplit(url)
        except ValueError as error:
            raise _refused(url, "cannot be read as a URL") from error
        if split.netloc.lower() not in ("", "localhost"):
            raise _refused(url, "a file URL may not name another machine")
        plain = unquote(split.path)
    else:
        plain = url
    if not plain or CONTROL.search(plain):
        raise ForbiddenAddressError(f"{plain!r}: not a path")
    try:
        real = Path(plain).resolve()
    except (OSError, RuntimeError) as error:
        raise ForbiddenAddressError(f"{plain}: a path that cannot be resolved") from error
    if not any(real.is_relative_to(root.resolve()) for root in policy.file_roots):
        raise ForbiddenAddressError(
            f"{plain}: not below a folder that files may be read from (the data folder, "
            "FASHION_PIPELINE_FILE_ROOTS)"
        )
    return real


class _Guard(AbstractResolver):
    """Resolves a name, checks every answer, and remembers which addresses belong to allowed names."""

    def __init__(self, policy: AddressPolicy, lookup: AbstractResolver) -> None:
        self._policy = policy
        self._lookup = lookup
        self._allowed: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answers = await self._lookup.resolve(host, port, family)
        for answer in answers:
            check_address(answer["host"], host, self._policy)
            if self._policy.allows_host(host):
                self._allowed.add(answer["host"])
        return answers

    async def close(self) -> None:
        await self._lookup.close()

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Open the socket for one `getaddrinfo` entry; the last check before a connection is made."""
        family, kind, protocol, _, (address, port, *_rest) = info
        literal = _literal(address)
        allowed = address in self._allowed or (literal is not None and self._policy.allows_address(literal))
        if not allowed:
            check_address(address, address, self._policy)
            if port not in DEFAULT_PORTS and not self._policy.allows_host(address):
                raise ForbiddenAddressError(f"{address}: port {port} is only allowed for allowed hosts")
        return socket.socket(family, kind, protocol)


def guarded_connector(
    policy: AddressPolicy, *, lookup: AbstractResolver | None = None, **limits: Any
) -> aiohttp.TCPConnector:
    """A connector that connects to nothing that `policy` forbids, whatever URL it is given.

    `limits` go to `aiohttp.TCPConnector`; `lookup` replaces the system's resolver. Call it in the event
    loop that will use it. A request through it may raise ForbiddenAddressError.
    """
    guard = _Guard(policy, lookup if lookup is not None else aiohttp.ThreadedResolver())
    return aiohttp.TCPConnector(resolver=guard, socket_factory=guard.socket, **limits)


async def send_get(
    session: aiohttp.ClientSession,
    url: str,
    policy: AddressPolicy,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - the client's own kinds of timeout
) -> aiohttp.ClientResponse:
    """One GET of a checked URL that follows no redirect; the caller closes the response.

    Raises:
        ForbiddenAddressError: the URL or an address of its host is not allowed.
        aiohttp.ClientError, TimeoutError: as aiohttp raises them.
    """
    _, parsed = _checked(url, policy)
    options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    return await session.get(parsed, headers=headers, allow_redirects=False, **options)


def redirect_target(response: aiohttp.ClientResponse, url: str, policy: AddressPolicy) -> str | None:
    """Where `response` to `url` redirects to, checked; None when it is no redirect.

    Raises:
        RedirectError: no place is named, or it leads from https to http.
        ForbiddenAddressError: the place is not allowed.
    """
    if response.status not in REDIRECTS:
        return None
    location = response.headers.get("Location", "")
    if not location:
        raise RedirectError(f"{redact(url)}: a redirect to nowhere")
    try:
        target = urljoin(url, location)
    except ValueError as error:
        raise RedirectError(f"{redact(url)}: a redirect to what is not a URL") from error
    if check_url(target, policy).scheme == "http" and urlsplit(url).scheme == "https":
        raise RedirectError(f"{redact(url)}: a redirect from https to http ({redact(target)})")
    return target


async def guarded_get(
    session: aiohttp.ClientSession,
    url: str,
    policy: AddressPolicy,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - the client's own kinds of timeout
) -> aiohttp.ClientResponse:
    """GET `url`, following at most `policy.max_redirects` redirects, each hop checked.

    The session must have a `guarded_connector` of the same policy and no `trust_env`. After a redirect to
    another origin only `SAFE_HEADERS` are sent on. `timeout` counts per hop. Use the result as
    `async with await guarded_get(...) as response`.

    Raises:
        ForbiddenAddressError: this URL, or one that it redirects to, is not allowed.
        RedirectError: too many redirects, or one from https to http.
        aiohttp.ClientError, TimeoutError: as aiohttp raises them.
    """
    sent = dict(headers or {})
    for _ in range(policy.max_redirects + 1):
        response = await send_get(session, url, policy, headers=sent, timeout=timeout)
        try:
            target = redirect_target(response, url, policy)
        except BaseException:
            response.close()
            raise
        if target is None:
            return response
        response.release()
        if URL(target).origin() != URL(url).origin():
            sent = {name: value for name, value in sent.items() if name.lower() in SAFE_HEADERS}
        url = target
    raise RedirectError(f"{redact(url)}: more than {policy.max_redirects} redirects")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is_secret(name: str) -> bool:
    plain, words = _plain(name), re.split(r"[^a-z0-9]+", name.lower())
    return (
        plain.endswith("key") or not SECRET_NAMES.isdisjoint(words) or SECRET_WORDS.search(plain) is not None
    )


def redact(url: str) -> str:
    """`url` as it may stand in a log, a table or an error.

    Userinfo and fragment go, and so do the values of query parameters and path parts that are named like
    secrets (`token=...`, `apikey/<key>`). What cannot be read as a URL is shown up to its first `?`, `#`
    or `@`. Never raises.
    """
    clean = CONTROL.sub("_", url)
    try:
        split = urlsplit(clean)
        query = parse_qsl(split.query, keep_blank_values=True)
    except ValueError:
        return re.split(r"[?#@]", clean, maxsplit=1)[0] + "..."
    parts = (split.path if split.netloc else split.path.rpartition("@")[2]).split("/")
    for index in range(1, len(parts)):
        if parts[index] and _plain(parts[index - 1]) in SECRET_PATHS:
            parts[index] = "***"
    shown = "&".join(
        f"{quote(name, safe='[]')}={'***' if _is_secret(name) else quote(value, safe='/:,*')}"
        for name, value in query
    )
    host = split.netloc.rpartition("@")[2]
    return urlunsplit((split.scheme, host, "/".join(parts), shown, ""))
