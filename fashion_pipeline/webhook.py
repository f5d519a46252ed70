"""Posting a message to a webhook of the operator's: Slack, Mattermost and the like read its `text`."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp

from fashion_pipeline.errors import PermanentError, TransientError

#: For the whole of one message, also from a server that answers byte by byte: a sensor's tick has a minute.
TIMEOUT = 10.0


def post(url: str, message: Mapping[str, Any], *, seconds: float = TIMEOUT) -> None:
    """POST `message` as JSON.

    Redirects are not followed: they would take the message to an address that nobody set.

    Raises:
        TransientError: the other side is away or busy: post it again later.
        PermanentError: it refuses the message; the error does not hold the URL, which is a secret itself.
    """
    try:
        status = asyncio.run(_post(url, message, seconds))
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        raise TransientError(
            f"the alert webhook cannot be reached ({type(error).__name__}): the alert is sent again at the next tick"
        ) from None
    said = f"the alert webhook answered {status}"
    if status in (408, 425, 429) or status >= 500:
        raise TransientError(f"{said}: the alert is sent again at the next tick")
    if status >= 300:
        raise PermanentError(f"{said}: check FASHION_PIPELINE_ALERT_WEBHOOK")


async def _post(url: str, message: Any, seconds: float) -> int:
    async with (
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=seconds),
            headers={"User-Agent": "fashion-pipeline"},
            trust_env=True,
        ) as session,
        session.post(url, json=message, allow_redirects=False) as answer,
    ):
        return answer.status


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """`text` with every secret in it blanked out."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    return text
