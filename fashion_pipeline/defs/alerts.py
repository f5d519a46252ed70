"""`alerts`: one message when a store's line breaks, one when it holds again.

An incident is a store whose line failed, or another job that did (by store where the job is), until what failed
succeeds. Open ones stand in the sensor's cursor, so that a store that fails each hour is told once. So do the
messages that wait for a webhook that is away; one that the webhook refuses is logged and dropped, lest it hold up
the others.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from fashion_pipeline import webhook
from fashion_pipeline.defs.partitions import DAY, STORE
from fashion_pipeline.errors import PermanentError, TransientError
from fashion_pipeline.settings import Settings, load_settings

FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
FINISHED = [*FAILED, dg.DagsterRunStatus.SUCCESS]
#: New finished runs that one tick reads; the next one goes on from there.
BATCH = 500
#: Seconds of a tick after which the messages left wait for the next one: Dagster ends it after a minute, and
#: then forgets what was posted.
POSTING = 30.0
#: Seconds of finished runs that are read again: runs of the same instant are told apart by their ids.
OVERLAP = 1.0
#: Stores that a message names; the health table has them all.
NAMED = 20

NEXT_STEP = {
    "VerdictError": "look at the findings of clean_products; accept the feed there, or wait for a better one",
    "DagsterAssetCheckFailedError": "look at the blocking check that failed; where the guards refused a feed that "
    "is right, accept it in clean_products",
    "FeedError": "look at the feed; the next run of raw_feeds fetches it anew",
    "ForbiddenAddressError": "allow the host by name in FASHION_PIPELINE_ALLOWED_HOSTS, or mend the address",
    "SettingsError": "run `fashion-pipeline doctor`",
    "ModelError": "run `fashion-pipeline model check`",
    "CollectionError": "run `fashion-pipeline doctor`, then `fashion-pipeline index reconcile`",
    "TransientError": "nothing yet: it is tried again at the next tick; look at the other side if it stays",
    "PermanentError": "mend what the message names, then materialize the failed asset's partition again",
    "cancelled": "materialize the partition again; what was committed stays",
    "worker lost": "nothing yet: Dagster starts the run again; look at the machine's memory if it stays",
}


@dataclass(frozen=True)
class Incident:
    """What broke: job and store, since which run, why."""

    job: str
    store: str
    day: str
    run_id: str
    step: str
    error_class: str
    message: str


def build(settings: Settings, environment: Mapping[str, str]) -> dg.SensorDefinition:
    """The sensor; it runs from the start where a webhook is set."""
    running = dg.DefaultSensorStatus.RUNNING if settings.alert_webhook else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=30,
        default_status=running,
        description="Posts one message when a store's line breaks and one when it holds again, to "
        "FASHION_PIPELINE_ALERT_WEBHOOK.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = load_settings(environment or None)
        if now.alert_webhook is None:
            return dg.SkipReason("FASHION_PIPELINE_ALERT_WEBHOOK is not set")
        url = now.alert_webhook.get_secret_value()
        state = _State.of(context.cursor)
        opened, closed = state.read(context.instance, now.secrets)
        state.waiting += [*_broken(opened, now.ui_url), *_mended(closed, now.ui_url)]
        said = _post(context, state.waiting, url)
        context.update_cursor(state.cursor())
        return dg.SkipReason(f"{said}; {len(state.open)} incidents are open")

    return alerts


def _post(context: dg.SensorEvaluationContext, waiting: list[dict[str, Any]], url: str) -> str:
    """Post the messages that wait, and take those that are done out of the list; what was done, in words.

    Raises:
        TransientError: the webhook is away and nothing was posted, so that nothing is forgotten with the tick.
    """
    began = time.monotonic()
    posted = refused = 0
    while waiting and time.monotonic() - began < POSTING:
        try:
            webhook.post(url, waiting[0])
            posted += 1
        except PermanentError as error:
            refused += 1
            context.log.warning("%s; this message is dropped: %s", error, waiting[0]["text"])
        except TransientError as error:
            if not posted and not refused:
                raise
            context.log.warning("%s", error)
            break
        del waiting[0]
    return f"{posted} messages, {refused} refused, {len(waiting)} wait"


class _State:
    """The cursor: open incidents by job and store, messages that wait, how far the finished runs were read."""

    def __init__(
        self, since: float, seen: set[str], open_: dict[str, Incident], waiting: list[dict[str, Any]]
    ) -> None:
        self.since, self.seen, self.open, self.waiting = since, seen, open_, waiting

    @classmethod
    def of(cls, cursor: str | None) -> "_State":
        if cursor is None:
            # History from before the sensor is not news.
            return cls(datetime.now(UTC).timestamp() - 3600, set(), {}, [])
        told = json.loads(cursor)
        incidents = {key: Incident(**each) for key, each in told["open"].items()}
        # Cursors of before messages waited in them have none.
        return cls(told["since"], set(told["seen"]), incidents, told.get("waiting", []))

    def cursor(self) -> str:
        incidents = {key: asdict(each) for key, each in self.open.items()}
        return json.dumps(
            {"since": self.since, "seen": sorted(self.seen), "open": incidents, "waiting": self.waiting}
        )

    def read(
        self, instance: dg.DagsterInstance, secrets: tuple[str, ...]
    ) -> tuple[list[Incident], list[Incident]]:
        """Incidents that opened and that closed since the last reading; none of `secrets` is in them."""
        after = datetime.fromtimestamp(self.since, UTC) - timedelta(seconds=OVERLAP)
        records = instance.get_run_records(
            dg.RunsFilter(statuses=FINISHED, updated_after=after),
            # Whatever is read again is in `seen`: however many ended at once, new ones are read too.
            limit=BATCH + len(self.seen),
            order_by="update_timestamp",
            ascending=True,
        )
        opened: dict[str, Incident] = {}
        closed: dict[str, Incident] = {}
        stamps: dict[str, float] = {}
        for record in records:
            run = record.dagster_run
            stamps[run.run_id] = record.update_timestamp.replace(tzinfo=UTC).timestamp()
            if run.run_id in self.seen or run.tags.get("dagster/will_retry") == "true":
                continue
            store, key = _whose(run)
            if run.status is dg.DagsterRunStatus.SUCCESS:
                if key not in self.open or not _mends(run, self.open[key]):
                    continue
                incident = self.open.pop(key)
                # What broke and was mended between two ticks is no news.
                if opened.pop(key, None) is None:
                    closed[key] = incident
            elif key not in self.open:
                opened[key] = self.open[key] = _incident(instance, run, store, secrets)
                if key in closed:
                    del closed[key], opened[key]
        self.since = max([self.since, *stamps.values()])
        self.seen = {run_id for run_id, stamp in stamps.items() if stamp >= self.since - OVERLAP}
        return list(opened.values()), list(closed.values())


def _whose(run: dg.DagsterRun) -> tuple[str, str]:
    """The store of a run, if any, and what its incident is known by."""
    store = run.tags.get(f"dagster/partition/{STORE}")
    if store:
        # Not by job: what is run again by hand or by a backfill is no run of the job `line`.
        return store, f"store/{store}"
    # That of a job by store.
    partition = run.tags.get("dagster/partition", "")
    return partition, f"job/{run.job_name}" + (f"/{partition}" if partition else "")


def _mends(run: dg.DagsterRun, incident: Incident) -> bool:
    """Whether a run that succeeded did what had failed, or all of it."""
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    if not selected or not incident.step:
        return True
    # A check's step is named after its asset and runs with it.
    return any(incident.step == name or incident.step.startswith(f"{name}_") for name in selected)


def _incident(
    instance: dg.DagsterInstance, run: dg.DagsterRun, store: str, secrets: tuple[str, ...]
) -> Incident:
    step, error_class, message = "", "worker lost", "the worker ended before it could say why"
    if run.status is dg.DagsterRunStatus.CANCELED:
        error_class, message = "cancelled", "a person or the machine stopped the run"
    else:
        failures = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        for entry in failures[:1]:
            event = entry.get_dagster_event()
            data = event.step_failure_data
            step = str(event.step_key)
            causes = []
            cause = data.error
            while cause is not None:
                causes.append(cause)
                cause = cause.cause
            names = [str(each.cls_name) for each in causes]
            # Ours says what to do; what is under it, what the library called it.
            error_class = next(
                (name for name in names if name in NEXT_STEP), names[-1] if names else "Failure"
            )
            described = data.user_failure_data.description if data.user_failure_data else None
            message = described or (causes[-1].message if causes else "") or "no message"
    day = run.tags.get(f"dagster/partition/{DAY}", "")
    # Before it is cut: half a secret would not be found.
    told = webhook.scrubbed(message.strip(), secrets)[:500]
    return Incident(run.job_name, store, day, run.run_id, step, error_class, told)


def _grouped(incidents: Iterable[Incident]) -> Iterator[list[Incident]]:
    """What broke together for one reason is one incident to whoever is woken by it."""
    groups: dict[tuple[str, str, str], list[Incident]] = {}
    for incident in incidents:
        groups.setdefault((incident.job, incident.step, incident.error_class), []).append(incident)
    yield from groups.values()


def _broken(incidents: Iterable[Incident], ui_url: str | None) -> Iterator[dict[str, Any]]:
    for group in _grouped(incidents):
        first = group[0]
        step = NEXT_STEP.get(first.error_class, NEXT_STEP["PermanentError"])
        lines = [
            f"BROKEN: {_whom(group)}: {first.step or first.job} failed",
            f"{first.error_class}: {first.message}",
            f"next: {step}",
            _link(first, ui_url),
        ]
        yield _message("broken", group, lines, next_step=step, link=_link(first, ui_url))


def _mended(incidents: Iterable[Incident], ui_url: str | None) -> Iterator[dict[str, Any]]:
    for group in _grouped(incidents):
        lines = [f"MENDED: {_whom(group)}: {group[0].step or group[0].job} succeeded"]
        yield _message("mended", group, lines, next_step="nothing", link=_link(group[0], ui_url))


def _message(kind: str, group: list[Incident], lines: list[str], **told: str) -> dict[str, Any]:
    first = group[0]
    return {
        "text": "\n".join(lines),
        "kind": kind,
        "job": first.job,
        "stores": [each.store for each in group if each.store],
        "day": first.day,
        "step": first.step,
        "error_class": first.error_class,
        "error": first.message,
        "run_id": first.run_id,
        **told,
    }


def _whom(group: list[Incident]) -> str:
    stores = [
        f"{each.store} ({each.day})" if each.day else f"{each.store} ({each.job})"
        for each in group
        if each.store
    ]
    if not stores:
        return f"job {group[0].job}"
    more = f" and {len(stores) - NAMED} more" if len(stores) > NAMED else ""
    word = "store" if len(stores) == 1 else f"{len(stores)} stores"
    return f"{word} {', '.join(stores[:NAMED])}{more}"


def _link(incident: Incident, ui_url: str | None) -> str:
    return f"{ui_url.rstrip('/')}/runs/{incident.run_id}" if ui_url else f"run {incident.run_id}"
