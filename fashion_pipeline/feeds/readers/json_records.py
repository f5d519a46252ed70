"""JSON records of any kind: lines, lists, objects keyed by handle; nested fields by paths in the mapping.

https://jsonlines.org, https://cloud.google.com/retail/docs/reference/rest
"""

from collections.abc import Iterator
from typing import Any

from fashion_pipeline.feeds.items import Value
from fashion_pipeline.feeds.mapping import normal_name
from fashion_pipeline.feeds.paths import Paths
from fashion_pipeline.feeds.readers.json_shapes import KEY, json_elements
from fashion_pipeline.feeds.readers.rows import Fields, RowBatch
from fashion_pipeline.feeds.records import Read, Source, json_text

REPEATED = "repeated on a later page"


def read_json(source: Source) -> Iterator[Read]:
    """Records of one JSON document; those that a crawl saw on an earlier page are context.

    Raises:
        FeedError: no JSON, cut, or nothing in it looks like records.
    """
    yield from read_records(source, JsonRecords(source))


def read_records(source: Source, reader: "JsonRecords") -> Iterator[Read]:
    """The records of one JSON document as `reader` takes them.

    Raises:
        FeedError: as `read_json`.
    """
    for element in json_elements(source, reader.is_record):
        what = f"{element.key!r}" if element.key else f"record {element.number}"
        at = f"line {element.line}"
        place = source.place(at if element.own_line else f"{what} ({at})")
        problem = element.problem or ("" if isinstance(element.value, dict) else "no JSON object")
        if problem:
            yield from reader.batch.flush()
            yield source.tally.broken(place, problem, element.text or json_text(element.value)[:10_000])
            continue
        reader.add(element.value, element.key, place)
        if reader.batch.full:
            yield from reader.batch.flush()
    yield from reader.batch.flush()


class JsonRecords:
    """Turns records into rows by the mapping of a source."""

    def __init__(self, source: Source) -> None:
        self.source, self.paths = source, Paths()
        mapping = source.mapping
        self._needs = [mapping.candidates(column) for column in mapping.needs]
        self._skip = {normal_name(name): set(values) for name, values in mapping.skip.items()}
        self._variants = normal_name(mapping.variants) if mapping.variants else None
        self.batch = RowBatch(source, self._get, _raw)

    def is_record(self, value: dict[str, Any]) -> bool:
        """Whether an object has what a record needs."""
        fields = self.paths.fields(value)
        return all(any(self.paths.get(fields, path) is not None for path in paths) for paths in self._needs)

    def add(self, record: dict[str, Any], key: str, place: str) -> None:
        """Take one record: context, an item, or an item for each of its variants."""
        source, tally, paths = self.source, self.source.tally, self.paths
        fields = paths.fields(record)
        if key:
            fields.setdefault(KEY, key)
        if (kind := self.context_of(fields)) is not None:
            tally.context(kind)
            return
        for name, values in self._skip.items():
            said = paths.get(fields, name)
            if isinstance(said, str) and said.strip().casefold() in values:
                tally.context(f"{name} {said.strip().casefold()}")
                return
        if source.documents > 1 and self._seen(fields):
            tally.context(REPEATED)
            return
        listed = fields.get(self._variants) if self._variants else None
        variants = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        tally.yielding(1, len(variants) or 1)
        number = tally.report.records
        for index, variant in enumerate(variants, 1):
            row = {**fields, **_said(paths.fields(variant)), "record": fields}
            self.batch.add(row, (record, variant, listed), number, f"{place}, variant {index}")
        if not variants:
            self.batch.add(fields, (record, None, None), number, place)

    def context_of(self, fields: Fields) -> str | None:
        """The kind of a record that yields no item by its nature; may change the fields of others."""
        return None

    def _seen(self, fields: Fields) -> bool:
        """Page numbers shift when products change during a crawl."""
        told = next((found for path in self._needs[0] if (found := self.paths.get(fields, path))), None)
        mark = hash(str(told))
        if told is None or mark not in self.source.seen:
            if told is not None:
                self.source.seen.add(mark)
            return False
        return True

    def _get(self, row: Fields, name: str) -> Value:
        return self.paths.get(row, name)


def _said(fields: Fields) -> Fields:
    """What a variant says: nothing, an empty text or list, is inherited."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def _raw(origin: tuple[dict[str, Any], dict[str, Any] | None, Any]) -> dict[str, Any]:
    record, variant, listed = origin
    if variant is None:
        return record
    return {name: [variant] if value is listed else value for name, value in record.items()}
