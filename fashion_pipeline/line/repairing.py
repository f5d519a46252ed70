"""How much a repair or a clean-up of stored files does without being told twice."""

from fashion_pipeline.errors import PermanentError
from fashion_pipeline.storage import DataLocation

#: At most this share of what was looked at is made anew or removed, and always so many: a data location that is
#: not mounted, or another one, must not have everything fetched and embedded again, and another database must
#: not have every file removed.
SHARE, ALWAYS = 0.10, 20


def check_extent(wrong: int, looked_at: int, what: str, data: DataLocation, insist: str) -> None:
    """Refuse a repair or a clean-up that is too large to be one.

    Args:
        what: what is wrong, in words, after its count.
        insist: the option that does it all the same.

    Raises:
        PermanentError: more than a tenth of what was looked at is wrong, and more than `ALWAYS`.
    """
    if wrong > max(ALWAYS, SHARE * looked_at):
        raise PermanentError(
            f"{wrong:,} of {looked_at:,} {what} in the data location {data.url!r}, and nothing was changed. See that "
            f"it is mounted and that FASHION_PIPELINE_DATA and DATABASE_URL belong together, then repeat with {insist}"
        )
