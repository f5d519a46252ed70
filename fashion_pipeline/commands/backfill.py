"""`fashion-pipeline backfill`: asks the running Dagster to bring stores and days up to date, one run each."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from fashion_pipeline import parts
from fashion_pipeline.defs.jobs import LINE_ASSETS
from fashion_pipeline.defs.policies import LINE_SECONDS, MAX_RUNTIME, PRIORITY
from fashion_pipeline.errors import PermanentError, TransientError
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline.settings import PREFIX, Settings

TIMEOUT = 120.0

LAUNCH = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""


@dataclass(frozen=True)
class BackfillRequest:
    """Which partitions of which assets. No store means every active one, no asset the whole line."""

    stores: tuple[str, ...]
    first: date
    last: date
    assets: tuple[str, ...]
    priority: str


def run_backfill(settings: Settings, request: BackfillRequest, ui_url: str | None) -> int:
    """Launch one backfill and print where it can be watched.

    Raises:
        PermanentError: a store, an asset or a day is not there, or Dagster refuses.
        TransientError: no Dagster answers at the UI's address.
    """
    if ui_url is None:
        raise PermanentError(
            f"where is the Dagster UI? Set {PREFIX}UI_URL, or give --ui http://127.0.0.1:3000 "
            "(`fashion-pipeline dev` prints its address)"
        )
    feeds = parts.open_feeds(settings)
    partitions = _partitions(feeds, request)
    unknown = sorted(set(request.assets) - set(LINE_ASSETS))
    if unknown:
        raise PermanentError(
            f"no asset {', '.join(unknown)} in the line; there are: {', '.join(LINE_ASSETS)}"
        )
    assets = [name for name in LINE_ASSETS if not request.assets or name in request.assets]
    params = {
        "assetSelection": [{"path": [name]} for name in assets],
        "partitionNames": partitions,
        # A backfill's runs are not of the job `line` and do not have its tags.
        "tags": [
            {"key": name, "value": value}
            for name, value in {
                **settings.line_tags,
                MAX_RUNTIME: LINE_SECONDS,
                PRIORITY: request.priority,
            }.items()
        ],
        "title": f"{request.first} to {request.last}, {len(partitions)} partitions",
    }
    answer = graphql(ui_url, LAUNCH, {"params": params})["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise PermanentError(
            f"Dagster refuses the backfill ({answer['__typename']}): {answer['message'].rstrip('.')}; "
            "reload the code location where feeds.yaml changed"
        )
    many = f"{len(partitions)} partition{'' if len(partitions) == 1 else 's'}"
    print(f"{many} of {', '.join(assets)}: {ui_url}/runs/b/{answer['backfillId']}")
    return 0


def _partitions(feeds: FeedsConfig, request: BackfillRequest) -> list[str]:
    if request.first > request.last:
        raise PermanentError(f"--from {request.first} is after --to {request.last}")
    if request.first < feeds.first_day:
        raise PermanentError(
            f"--from {request.first} is before first_day {feeds.first_day} of feeds.yaml: move one of them"
        )
    named = [feeds.store(name) for name in request.stores]
    for store in named:
        store.refuse_retired()
    stores = [store.id for store in named or feeds.stores if named or store.status == "active"]
    days = (request.last - request.first).days + 1
    return [f"{request.first + timedelta(days=n)}|{store}" for n in range(days) for store in stores]


def graphql(ui_url: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """What Dagster's webserver answers.

    Raises:
        TransientError: it does not answer.
        PermanentError: it does not understand.
    """
    if not ui_url.startswith(("http://", "https://")):
        raise PermanentError(f"{PREFIX}UI_URL is {ui_url!r}: give the http(s) address of the Dagster UI")
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(  # noqa: S310 - http(s) alone, see above
        f"{ui_url.rstrip('/')}/graphql", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 - the same
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        error.close()
        raise PermanentError(f"{ui_url} answers {error.code}: is it a Dagster UI, and open to you?") from None
    except (OSError, ValueError) as error:
        raise TransientError(
            f"no Dagster answers at {ui_url} ({error}): start it (`fashion-pipeline dev`), or set {PREFIX}UI_URL"
        ) from None
    if answer.get("errors"):
        raise PermanentError(f"{ui_url}: {answer['errors'][0].get('message')}")
    return dict(answer["data"])
