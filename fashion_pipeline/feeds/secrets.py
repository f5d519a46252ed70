"""Secrets in `feeds.yaml`: only as `${NAME}`, never written out."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

REFERENCE = re.compile(r"\$\{([^{}]*)\}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_WORD = re.compile(
    r"auth|token|secret|passw|pwd|cookie|signature|credential|api[-_]?key|access[-_]?key|session"
)
SECRET_PATH = re.compile(r"/(?:api[-_]?key|access[-_]?token|token|secret|password)/([^/?#]+)", re.IGNORECASE)


def resolve_references(
    text: str, environ: Mapping[str, str], used: dict[str, str]
) -> tuple[str, tuple[str, ...]]:
    """`text` with every `${NAME}` answered by `environ`, and the names that it does not have.

    What was answered is added to `used`. An empty value counts as missing.
    """
    missing: list[str] = []

    def answer(found: re.Match[str]) -> str:
        name = found.group(1)
        value = environ.get(name, "") if NAME.fullmatch(name) else ""
        if not value:
            missing.append(name)
            return ""
        used[name] = value
        return value

    return REFERENCE.sub(answer, text), tuple(missing)


def check_location(location: str) -> list[str]:
    """What is wrong with the secrets of a location as it stands in the file; it names no value."""
    problems = []
    blank = REFERENCE.sub("\x00", location)
    if "${" in blank:
        problems.append("a reference is not closed: write ${NAME}")
    try:
        split = urlsplit(blank)
    except ValueError:
        return ["cannot be read as a URL"]
    if "@" in split.netloc:
        problems.append(
            "no user name or password may stand in a URL: "
            'use `headers: {Authorization: "Basic ${NAME}"}` instead'
        )
    named = [name for name, value in parse_qsl(split.query) if value and "\x00" not in value]
    problems.extend(
        f"the value of {name!r} looks like a secret: write ${{NAME}} and set NAME in the environment"
        for name in named
        if SECRET_WORD.search(name.lower()) or name.lower() in ("key", "sig")
    )
    if any("\x00" not in value for value in SECRET_PATH.findall(split.path)):
        problems.append("the path holds a key: write ${NAME} and set NAME in the environment")
    return problems


def check_secret_header(name: str, value: str) -> list[str]:
    """What is wrong with a request header as it stands in the file; it names no value."""
    if SECRET_WORD.search(name.lower()) and value and not REFERENCE.search(value):
        return [f"header {name} holds a secret: write ${{NAME}} and set NAME in the environment"]
    return []
