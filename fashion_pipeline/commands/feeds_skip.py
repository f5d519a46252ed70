"""`fashion-pipeline feeds skip`: a day that stays unreadable no longer holds up the deltas after it."""

from datetime import date

from fashion_pipeline import parts
from fashion_pipeline.line.apply import skip_day
from fashion_pipeline.settings import Settings


def run_feeds_skip(settings: Settings, store_id: str, day: date, reason: str) -> int:
    """Give up a captured day of a store; the exit code."""
    count = skip_day(parts.open_database(settings), store_id, day, reason)
    print(
        f"store {store_id}, {day}: {count} snapshot{'s' if count > 1 else ''} given up ({reason}); later deltas can "
        "be applied now. What that day alone told is missing until the next full feed"
    )
    return 0
