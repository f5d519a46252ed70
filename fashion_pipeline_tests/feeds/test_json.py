"""JSON of every shape: lines, lists, lists further inside, objects keyed by handle; paths; broken records."""
# ruff: noqa: E501 - a record on one line reads better than on five

import io
import json
import zipfile
from typing import Any

import pytest

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.paths import Paths
from fashion_pipeline.feeds.readers.json_shapes import find_records, in_lines

OWN = {
    "fields": {
        "external_id": ["id", "_key"],
        "title": "name",
        "price": "price.amount",
        "currency": "price.currency",
        "image_url": "images[0].url",
        "additional_image_urls": "images[1:].url",
        "color": "attributes[name=colour|color].value",
        "availability": "stock.available",
    }
}


def _record(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"Dress {number}",
        "price": {"amount": 10.50, "currency": "EUR"},
        "images": [
            {"url": f"https://x/{number}.jpg"},
            {"url": "https://x/b.jpg"},
            {"url": "https://x/c.jpg"},
        ],
        "attributes": [{"name": "Size", "value": "M"}, {"name": "Colour", "value": "red"}],
        "stock": {"available": True},
        **fields,
    }


RECORDS = [_record(1), _record(2), _record(3)]
SHAPES = {
    "lines": "\n".join(map(json.dumps, RECORDS)) + "\n",
    "a list on one line": json.dumps(RECORDS),
    "a list over many lines": json.dumps(RECORDS, indent=2),
    "a list of an object": json.dumps({"total": 3, "items": RECORDS}),
    "a list further inside": json.dumps(
        {"meta": {"n": [1]}, "data": {"shop": {"products": RECORDS}}}, indent=1
    ),
    "beside what errors also have": json.dumps({"status": "ok", "message": "", "items": RECORDS}),
    "keyed by handle": json.dumps({f"dress-{r['id']}": r for r in RECORDS}),
    "keyed further inside": json.dumps({"ok": True, "products": {f"dress-{r['id']}": r for r in RECORDS}}),
}


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("batch_size", [2, 100])
def test_shapes(feed, data: str, batch_size: int) -> None:
    result = feed(data, "json", mapping=OWN, batch_size=batch_size)
    assert result.column("external_id") == ["1", "2", "3"]
    assert result.items[1] == {
        "external_id": "2",
        "title": "Dress 2",
        # Numbers keep the digits that they have in the file; json.dumps writes 10.5.
        "price": "10.5",
        "currency": "EUR",
        "image_url": "https://x/2.jpg",
        "additional_image_urls": ["https://x/b.jpg", "https://x/c.jpg"],
        "color": "red",
        "availability": "true",
    }
    assert json.loads(result.raws[2])["name"] == "Dress 3"


def test_one_record_alone(feed) -> None:
    result = feed(json.dumps(RECORDS[0], indent=1), "json", mapping=OWN)
    assert result.column("external_id") == ["1"]


def test_the_key_is_the_id_where_there_is_no_other(feed) -> None:
    records = {"red-dress": {"name": "Red"}, "blue-dress": {"name": "Blue"}}
    result = feed(json.dumps(records), "json", mapping=OWN)
    assert result.column("external_id") == ["red-dress", "blue-dress"]
    assert result.places == ["'red-dress' (line 1)", "'blue-dress' (line 1)"]


def test_records_where_the_mapping_says(feed) -> None:
    data = {"related": RECORDS[:1], "catalog": {"entries": RECORDS[1:]}}
    assert feed(json.dumps(data), "json", mapping=OWN).column("external_id") == ["1"]
    told = {**OWN, "records": "catalog.entries"}
    assert feed(json.dumps(data), "json", mapping=told).column("external_id") == ["2", "3"]
    with pytest.raises(FeedError, match=r"no records at 'catalog\.items' in the JSON"):
        feed(json.dumps(data), "json", mapping={**OWN, "records": "catalog.items"})


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_broken_line_costs_itself(feed, at: int) -> None:
    lines = [json.dumps(record) for record in RECORDS]
    lines.insert(at, '{"id": 9, "name": "no end"')
    lines.insert(2, "")
    result = feed("\n".join(lines) + "\n", "json", mapping=OWN)
    assert result.column("external_id") == ["1", "2", "3"]
    [broken] = result.broken
    line = at + 1 if at < 2 else at + 2
    assert (broken.record, broken.place, broken.raw) == (
        at + 1,
        f"line {line}",
        '{"id": 9, "name": "no end"\n',
    )


def test_lines_that_are_no_objects_cost_themselves(feed) -> None:
    result = feed('{"id": 1, "name": "a"}\n[1]\n"x"\nnonsense\n', "json", mapping=OWN)
    assert [broken.reason for broken in result.broken] == [
        "no JSON object", "no JSON object", "no JSON: Expecting value",
    ]  # fmt: skip


def test_a_broken_element_of_a_list_costs_itself(feed) -> None:
    result = feed('[{"id": 1, "name": "a"}, {"id": 2,}, {"id": 3, "name": "c"}]', "json", mapping=OWN)
    assert result.column("external_id") == ["1", "3"]
    assert [(b.record, b.raw) for b in result.broken] == [(2, '{"id": 2,}')]


ONE, TWO = '{"id": 1, "name": "a"}', '{"id": 2, "name": "b"}'


@pytest.mark.parametrize(
    ("data", "ids", "place"),
    [
        (f"[{ONE}, {TWO},]", ["1", "2"], "line 1"),
        (f"[\n{ONE},\n{TWO},\n]\n", ["1", "2"], "line 4"),
        (f'{{"items": [{ONE}, {TWO} , ], "total": 2}}', ["1", "2"], "line 1"),
        (f'{{"items": [{ONE}, {TWO}], "total": 2, }}', ["1", "2"], "line 1"),
        (f'{{"a": {ONE}, "b": {TWO},\n}}', ["1", "2"], "line 2"),
        (f"{ONE},\n{TWO}", ["1", "2"], "line 1"),
        (f"{ONE}\n{TWO},", ["1", "2"], "line 2"),
    ],
)
def test_a_comma_before_the_end_is_passed_over_and_counted(
    feed, data: str, ids: list[str], place: str
) -> None:
    result = feed(data, "json", mapping=OWN)
    assert result.column("external_id") == ids
    assert [(each.count, each.places) for each in result.report.recoveries] == [(1, (place,))]


@pytest.mark.parametrize(
    "data",
    [f'[{ONE}, {{"id": 2,}}]', f'[{ONE}, {{"id": 2, "x": [1,]}}]', f'[{ONE}, {{"id": 2 "name": 3}}]'],
)
def test_a_broken_last_element_costs_itself_and_is_not_called_cut(feed, data: str) -> None:
    result = feed(data, "json", mapping=OWN)
    assert result.column("external_id") == ["1"]
    assert [(each.record, each.raw) for each in result.broken] == [(2, data[len(ONE) + 3 : -1])]
    assert "truncated" not in result.broken[0].reason


def test_a_single_broken_record_is_not_called_cut(feed) -> None:
    with pytest.raises(
        FeedError, match=r"0 products .1 broken records, the first at record 1 .line 1.: [EI]"
    ):
        feed('{"id": 1, "name": "a",}', "json", mapping={**OWN, "records": "."})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"id": 1, "name": "a"}\n{"id": 2, "na', "line 2: the last line is no whole JSON value: truncated"),
        ('[{"id": 1, "name": "a"}, {"id": 2', "truncated"),
        ('{"a": {"id": 1, "name": "a"}, "b": {"id": 2', "truncated"),
        (f"[{ONE}, {TWO},", "truncated"),
        (f'[{ONE}, {{"id": "2\\', "truncated"),
        (f'[{ONE}, {{"id": 2, "x": [1, 2}}', "truncated"),
        ('{"a": {"id": 1, "name": "a"}, ', "truncated"),
        ('{"a": {"id": 1, "name": "a"}, "b"', "truncated"),
        ('{"total": 3, "page": 1}', "nothing in the JSON looks like a list of records; found: total, page"),
        ('[{"sku": 1}]', "no record of the first 1 has a field for external_id"),
        ("[]", "0 products"),
        ('{"code": "gone", "message": "No", "data": {"status": 404}}', "JSON error message"),
        ('{"items": []}', "0 products|nothing in the JSON"),
        ('{"x": ' * 3000 + "1" + "}" * 3000, "other format|0 products"),
        ("nonsense\nmore\n", "0 products .2 broken records"),
    ],
)
def test_refused(feed, data: str, words: str) -> None:
    with pytest.raises(FeedError, match=words):
        feed(data, "json", mapping=OWN)


def test_a_first_batch_without_ids_is_not_another_format(feed) -> None:
    records = [{"name": "a"}] * 3 + [{"id": 1, "name": "b"}]
    result = feed(json.dumps(records), "json", mapping=OWN, batch_size=1)
    assert result.column("external_id") == [None, None, None, "1"]
    with pytest.raises(FeedError, match="no record of the first 100 has a field for external_id"):
        feed(json.dumps([{"name": "a"}] * 100 + records), "json", mapping=OWN, batch_size=1)


def test_variants_are_items_and_inherit(feed) -> None:
    mapping = {
        "fields": {"external_id": "sku", "title": "name", "price": "price", "color": "color", "item_group_id": "record.sku"},
        "variants": "children",
        "skip": {"status": ["draft"]},
    }  # fmt: skip
    children = [{"sku": "g-1", "color": "red"}, {"sku": "g-2", "price": 6, "name": ""}]
    records = [
        {"sku": "g", "name": "Shirt", "price": 5, "children": children},
        {"sku": "s", "name": "Single", "price": 7, "children": []},
        {"sku": "d", "name": "Draft", "status": "Draft"},
    ]
    result = feed(json.dumps(records), "json", mapping=mapping)
    assert result.column("external_id") == ["g-1", "g-2", "s"]
    assert result.column("title") == ["Shirt", "Shirt", "Single"]
    assert result.column("price") == ["5", "6", "7"]
    assert result.column("item_group_id") == ["g", "g", None]
    assert result.records == [1, 1, 2]
    assert result.report.context == {"status draft": 1}
    assert json.loads(result.raws[1])["children"] == [{"sku": "g-2", "price": "6", "name": ""}]


def test_pages_of_a_crawl_are_one_feed(feed) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("page-1.json", json.dumps(RECORDS[:2]))
        archive.writestr("page-2.json", json.dumps(RECORDS[1:]))
    result = feed(buffer.getvalue(), "json", mapping=OWN)
    assert result.column("external_id") == ["1", "2", "3"]
    assert result.report.context == {"repeated on a later page": 1}


def test_numbers_keep_their_digits(feed) -> None:
    result = feed(
        '[{"id": 12345678901234567890, "name": "a", "price": {"amount": 19.90}}]', "json", mapping=OWN
    )
    assert (result.items[0]["external_id"], result.items[0]["price"]) == ("12345678901234567890", "19.90")


def test_price_ranges(feed) -> None:
    mapping = {
        "fields": {"external_id": "id", "title": "id", "price": "p", "price_low": "lo", "price_high": "hi"}
    }
    records = [{"id": "a", "p": "5", "lo": "5", "hi": "9"}, {"id": "b", "p": "5", "lo": "5.0", "hi": "5.00"},
               {"id": "c", "lo": "7", "hi": "7"}, {"id": "d", "p": "8"}]  # fmt: skip
    result = feed(json.dumps(records), "json", mapping=mapping)
    assert result.column("price") == ["5 - 9", "5", "7", "8"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", "1"),
        ("b.c", "2"),
        ("B.C", "2"),
        ("l", ["x", "y", "z"]),
        ("l[0]", "x"),
        ("l[1:]", ["y", "z"]),
        ("l[7]", None),
        ("l[only]", None),
        ("one[only]", "o"),
        ("objects.n", ["1", "2"]),
        ("objects[1].n", "2"),
        ("objects[n=2].m", "two"),
        ("objects[n=3|2].m", "two"),
        ("b", None),
        ("nothing.here", None),
        ("yes", "true"),
        ("dotted.name", "d"),
    ],
)
def test_paths(path: str, value: Any) -> None:
    paths = Paths()
    record = {
        "a": "1", "b": {"c": "2"}, "l": ["x", "y", "z"], "one": ["o"], "yes": True, "dotted.name": "d",
        "objects": [{"n": "1", "m": "one"}, {"n": "2", "m": "two"}],
    }  # fmt: skip
    assert paths.get(paths.fields(record), path) == value


def test_shapes_are_told_from_a_beginning() -> None:
    def is_record(value: dict[str, Any]) -> bool:
        return "id" in value

    data = json.dumps(
        {"meta": {"tags": [{"x": 1}]}, "rows": [{"id": n, "text": "x" * 50} for n in range(99)]}
    )
    for cut in (len(data), 400, 90):
        assert find_records(data[:cut], is_record) == "rows"
    assert find_records('{"id": 1, "images": [{"id": 1}]}', is_record) == "."
    assert find_records("7", is_record) is None
    assert in_lines('{"id": 1}\n{"id": 2}\n')
    assert not in_lines('{\n"id": 1\n}')
    assert not in_lines('{"id": 1}')
    assert not in_lines("[\n{}\n]")
