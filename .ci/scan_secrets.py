"""Looks for secrets in every tracked file: keys by their shape, and values beside words that name secrets.

Needs nothing but Python and git. A line that must look like one (a test's planted value) says `not-a-secret`,
or holds one of the words that invented values are made of.
"""

import re
import subprocess
import sys
from pathlib import Path

SHAPES = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    "Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "Slack webhook": re.compile(r"hooks\.slack\.com/services/T[A-Z0-9]+/"),
    "Google key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "PyPI token": re.compile(r"\bpypi-[A-Za-z0-9_-]{50,}"),
    "JSON Web Token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."),
    "password in a URL": re.compile(r"[a-z][a-z0-9+]*://[^\s:/@'\"{}$<>]+:([^\s:/@'\"{}$<>]{6,})@"),
    "assigned secret": re.compile(
        r"(?i)\b[a-z_]*(?:password|passwd|secret|token|api_?key)s?(?:_[a-z]+)?\s*[:=]\s*['\"]([A-Za-z0-9+/_-]{20,})['\"]"
    ),
}
#: What invented values are made of, here and in documentation.
INVENTED = re.compile(
    r"(?i)not-a-secret|planted|example|password|secret|invented|s3cr3t|hunter2|dummy|token|changeme|topsecret"
)
SKIPPED = {".png", ".webp", ".jpg", ".safetensors", ".lock", ".gz", ".parquet"}


def findings(name: str, text: str) -> list[str]:
    """What looks like a secret in one file: name, line, kind; never the value."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for kind, shape in SHAPES.items():
            match = shape.search(line)
            if match is None:
                continue
            value = match.group(1) if match.groups() else match.group()
            if "not-a-secret" in line or INVENTED.search(value):
                continue
            found.append(f"{name}:{number}: looks like a {kind}")
    return found


def main() -> int:
    """Scan the tracked files of the repository; 1 where something was found."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=False)  # noqa: S607
    if listed.returncode:
        print("secret scan: skipped, this is no git checkout")
        return 0
    names = [name for name in listed.stdout.decode().split("\0") if name]
    found = []
    for name in names:
        path = Path(name)
        if path.suffix in SKIPPED or not path.is_file():
            continue
        found += findings(name, path.read_text(encoding="utf-8", errors="replace"))
    print("\n".join(found) or f"secret scan: nothing in {len(names)} tracked files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
