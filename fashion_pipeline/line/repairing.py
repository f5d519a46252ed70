"""How much a repair of stored files does without being told twice."""

from fashion_pipeline.errors import PermanentError
from fashion_pipeline.storage import DataLocation

#: Repair has at most this share of what was looked at made anew, and always so many: a data location that is
#: not mounted, or another one, must not have everything fetched and embedded again.
REPAIR_SHARE, REPAIR_ALWAYS = 0.10, 20


def check_extent(wrong: int, looked_at: int, what: str, data: DataLocation) -> None:
    """Refuse a repair that is too large to be one.

    Args:
        what: what is wrong, in words, after its count.

    Raises:
        PermanentError: more than a tenth of what was looked at is wrong, and more than `REPAIR_ALWAYS`.
    """
    if wrong > max(REPAIR_ALWAYS, REPAIR_SHARE * looked_at):
        raise PermanentError(
            f"{wrong:,} of {looked_at:,} {what} in the data location {data.url!r}, and nothing was repaired. See that "
            "it is mounted and that FASHION_PIPELINE_DATA and DATABASE_URL belong together, then repeat with "
            "--repair-many"
        )
