"""What production tunes of a collection on a server, as one line of settings.

    hnsw_m=32,hnsw_ef_construct=200,quantization=int8,oversampling=2,on_disk_vectors=true,shards=6,replicas=2

A value that is not named is left to the server. `shards` is part of what a collection is: another number
makes another collection, which is filled beside the serving one and promoted. Everything else is applied to the
live collection. `hnsw_ef`, `rescore` and `oversampling` belong to searches.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from fashion_pipeline.errors import SettingsError

QUANTIZATIONS = ("none", "int8", "binary")

#: What Qdrant takes where nobody says; needed to turn a put-off index on.
DEFAULT_HNSW_M = 16


@dataclass(frozen=True)
class Tuning:
    """One value for each thing that is tuned; None leaves it to the server.

    `rescore` reads the original vectors of the best `oversampling` x limit candidates of a quantized search.
    """

    hnsw_m: int | None = None
    hnsw_ef_construct: int | None = None
    hnsw_on_disk: bool | None = None
    on_disk_vectors: bool | None = None
    quantization: str | None = None
    quantized_in_ram: bool | None = None
    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    hnsw_ef: int | None = None
    rescore: bool = True
    oversampling: float = 2.0

    @property
    def quantized(self) -> bool:
        """Whether searches go over quantized vectors first."""
        return self.quantization in {"int8", "binary"}

    def given(self) -> dict[str, Any]:
        """The values that were named."""
        untouched = Tuning()
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(untouched, field.name)
        }


def _flag(value: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return known[value.lower()]


def _at_least(least: int) -> Callable[[str], int]:
    def number(value: str) -> int:
        found = int(value)
        if found < least:
            raise ValueError(value)
        return found

    return number


def _quantization(value: str) -> str:
    if value not in QUANTIZATIONS:
        raise ValueError(value)
    return value


def _oversampling(value: str) -> float:
    found = float(value)
    if not 1.0 <= found <= 100.0:
        raise ValueError(value)
    return found


_POSITIVE, _FLAG = (_at_least(1), "a whole number from 1"), (_flag, "true or false")
#: Name to its reader and what it accepts, in words. Qdrant refuses an `ef_construct` below 4.
_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "hnsw_m": (_at_least(2), "a whole number from 2"),
    "hnsw_ef_construct": (_at_least(4), "a whole number from 4"),
    "hnsw_on_disk": _FLAG,
    "on_disk_vectors": _FLAG,
    "quantization": (_quantization, f"one of {', '.join(QUANTIZATIONS)}"),
    "quantized_in_ram": _FLAG,
    "shards": _POSITIVE,
    "replicas": _POSITIVE,
    "write_consistency": _POSITIVE,
    "hnsw_ef": _POSITIVE,
    "rescore": _FLAG,
    "oversampling": (_oversampling, "a number from 1 to 100"),
}


def read_tuning(line: str | None) -> Tuning:
    """The tuning that `name=value,name=value` says.

    Raises:
        SettingsError: a name is unknown or stands twice, or a value is not of its kind.
    """
    found: dict[str, Any] = {}
    for part in (line or "").split(","):
        if not part.strip():
            continue
        name, _, value = (each.strip() for each in part.partition("="))
        if name not in _READERS:
            raise SettingsError(
                f"QDRANT_TUNING names {name!r}, which is nothing that is tuned: use {', '.join(_READERS)}"
            )
        if name in found:
            raise SettingsError(f"QDRANT_TUNING names {name} twice")
        reader, words = _READERS[name]
        try:
            found[name] = reader(value)
        except (ValueError, KeyError) as error:
            raise SettingsError(f"QDRANT_TUNING: {name} takes {words}, not {value!r}") from error
    tuning = Tuning(**found)
    if tuning.write_consistency is not None and tuning.write_consistency > (tuning.replicas or 1):
        raise SettingsError(
            f"QDRANT_TUNING: write_consistency={tuning.write_consistency} asks for more acknowledgements than "
            f"there are replicas ({tuning.replicas or 1}): no write would ever succeed"
        )
    return tuning
