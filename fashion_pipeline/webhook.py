"""Posting a message to a webhook of the operator's: Slack, Mattermost and the like read its `text`."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

from fashion_pipeline.errors import PermanentError, TransientError

#: A sensor's tick has a minute for all that it does.
TIMEOUT = 10.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the message to an address that nobody set."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(url: str, message: Mapping[str, Any], *, secrets: Iterable[str] = ()) -> None:
    """POST `message` as JSON; none of `secrets` is in what is sent.

    Raises:
        TransientError: the other side is away or busy: post it again later.
        PermanentError: it refuses the message; the error does not hold the URL, which is a secret itself.
    """
    body = json.dumps(scrubbed(message, tuple(secrets))).encode()
    request = urllib.request.Request(  # noqa: S310 - the settings allow http(s) alone
        url, body, {"Content-Type": "application/json", "User-Agent": "fashion-pipeline"}, method="POST"
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT):
            return
    except urllib.error.HTTPError as error:
        error.close()
        said = f"the alert webhook answered {error.code}"
        if error.code in (408, 425, 429) or error.code >= 500:
            raise TransientError(f"{said}: the alert is sent again at the next tick") from None
        raise PermanentError(f"{said}: check FASHION_PIPELINE_ALERT_WEBHOOK") from None
    except (OSError, ValueError) as error:
        raise TransientError(
            f"the alert webhook cannot be reached ({type(error).__name__}): the alert is sent again at the next tick"
        ) from None


def scrubbed(value: Any, secrets: tuple[str, ...]) -> Any:
    """`value` with every secret in its texts blanked out."""
    if isinstance(value, str):
        for secret in secrets:
            if secret:
                value = value.replace(secret, "[secret]")
        return value
    if isinstance(value, Mapping):
        return {name: scrubbed(each, secrets) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(each, secrets) for each in value]
    return value
