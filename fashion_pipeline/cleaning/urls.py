"""URLs of pages and pictures, and the key under which a picture's URL is known.

A shop's image address changes while its picture does not, because a number is put behind it to get
past caches. `image_key` is made without those parts, so that such a change is no change of the product.
"""

import hashlib
import re
from collections.abc import Sequence
from operator import methodcaller
from urllib.parse import quote, urljoin, urlsplit

from fashion_pipeline.cleaning.reasons import RowWarning

#: RFC 7230 asks for 8,000 octets at least; what is longer is data, not an address.
MAX_LENGTH = 8_000

_ORIGIN_PATTERN = r"https?://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
_ORIGIN = re.compile(_ORIGIN_PATTERN + "/")
_PLAIN = re.compile(_ORIGIN_PATTERN + r"(?:/[A-Za-z0-9._~/%+-]*)?(?:\?[A-Za-z0-9._~%&=+-]*)?")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._~/%?&=+-]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HOST = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?"
)
#: A second address that does not stand where a proxy takes one (`...?url=https://`, `/fetch/https://`).
_GLUED = re.compile(r"(?<=[A-Za-z0-9])https?:/", re.IGNORECASE)
_DROPPED = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff\ud800-\udfff]")
_SAFE = "!#$%&'()*+,/:;=?@[]~-._"

_NUMBER_LIKE = r"(?:[0-9]+(?:\.[0-9]+)*|[0-9a-f]{8,64}|[0-9]{4}-?[0-9]{2}-?[0-9]{2}[0-9T:%A-]*)"
#: Parameters that only get past caches. `v` and its like count when the value is a number, a version
#: or a digest (`v=front` chooses a picture); `t` and `_` when it is as long as a time in seconds;
#: the others whatever they hold.
_BUSTER = re.compile(
    rf"(?:v|ver|version|rev)={_NUMBER_LIKE}|(?:t|_)=[0-9]{{8,}}"
    r"|(?:_t|ts|_ts|timestamp|_v|cb|cachebuster|cache_?bust|nocache|no_cache|mtime|lastmod|last_modified)=[^&]*"
    r"|[0-9]{6,}",
    re.IGNORECASE,
)


def normalize_url(text: str, base_url: str | None = None) -> tuple[str | None, RowWarning | None]:
    """An absolute `http`, `https` or `file` URL in ASCII, or None and why there is none.

    White space is dropped at the ends and escaped inside, `&amp;` decoded, `//host` completed, an
    international host put into its ASCII form; a relative address is joined to `base_url`. The
    warning is of the `IMAGE_` kind; callers with a page's address give their own.
    """
    if is_plain_url(text):
        return text, None
    url = _DROPPED.sub("", text).strip()
    if not url or len(url) > MAX_LENGTH:
        return None, RowWarning.IMAGE_URL_INVALID
    if _GLUED.search(url, 1):
        return None, RowWarning.IMAGE_URL_GLUED
    url = url.replace("&amp;", "&").replace("\\/", "/")
    if url.startswith("//"):
        url = "https:" + url
    elif url.lower().startswith("www."):
        url = "https://" + url
    elif not _SCHEME.match(url):
        if not base_url or not re.match(r"[\w./?#%~-]", url) or " " in url.strip().partition("?")[0]:
            return None, RowWarning.IMAGE_URL_INVALID
        url = urljoin(base_url, url)
    try:
        normal = _rebuild(url)
    except ValueError:
        normal = None
    return (normal, None) if normal else (None, RowWarning.IMAGE_URL_INVALID)


def is_plain_url(text: str) -> bool:
    """Whether `text` is one address that `normalize_url` would leave as it is; False where that is not sure."""
    return _PLAIN.fullmatch(text) is not None and len(text) <= MAX_LENGTH


def are_normalized(urls: Sequence[str]) -> bool:
    """Whether `normalize_url` would change none of `urls`: they are of one origin and plain throughout.

    False where that is not sure. One scan of all of them costs a tenth of a look at each.
    """
    origin = _ORIGIN.match(urls[0]) if urls else None
    if origin is None or max(map(len, urls)) > MAX_LENGTH:
        return False
    if not all(map(methodcaller("startswith", origin[0]), urls)):
        return False
    return _NOT_PLAIN.search("".join(urls).replace(origin[0], "")) is None


def _rebuild(url: str) -> str | None:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme == "file":
        return (
            f"file://{quote(parts.path, safe=_SAFE)}" + (f"?{parts.query}" if parts.query else "")
            if parts.path
            else None
        )
    # A user name or password in an address is refused by whoever would ask for it, and no table's business.
    if scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    literal = ":" in host
    if not literal and not _HOST.fullmatch(host):
        return None
    port = parts.port
    authority = f"[{host}]" if literal else host.lower()
    if port is not None:
        authority += f":{port}"
    tail = quote(parts.path, safe=_SAFE)
    if parts.query:
        tail += "?" + quote(parts.query, safe=_SAFE)
    if parts.fragment:
        tail += "#" + quote(parts.fragment, safe=_SAFE)
    return f"{scheme}://{authority}{tail}"


def without_cache_busters(url: str) -> str:
    """`url` without fragment and without the parameters that only get past caches."""
    if "#" in url:
        url = url.partition("#")[0]
    path, mark, query = url.partition("?")
    if not mark or (query[:2] == "v=" and query[2:].isdecimal()):
        return path
    kept = [part for part in query.split("&") if not _BUSTER.fullmatch(part)]
    return f"{path}?{'&'.join(kept)}" if kept else path


def image_key(url: str) -> str:
    """SHA-256 of a normalized URL without cache-busters, 64 hexadecimal digits."""
    return hashlib.sha256(without_cache_busters(url).encode()).hexdigest()
