"""A feed that cannot be read fails with one line, changes nothing, and is fetched anew."""

import gzip
import re
from datetime import timedelta

import pytest

from fashion_pipeline.errors import FeedError
from fashion_pipeline_tests.line.conftest import DAY, World, item, items

NEXT = DAY + timedelta(days=1)

XML = (
    '<?xml version="1.0"?><rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>'
    + "".join(
        f"<item><g:id>{n}</g:id><title>Dress {n}</title><g:price>10.00 EUR</g:price></item>"
        for n in range(50)
    )
    + "</channel></rss>"
)


def google(world: World) -> World:
    update = {
        "format": "google_xml",
        "mapping": type(world.store.mapping)(),
        "location": str(world.folder / "feed-{date}.xml"),
    }
    world.store = world.store.model_copy(update=update)
    return world


def broken(world: World, content: bytes) -> str:
    (world.folder / f"feed-{NEXT}.xml").write_bytes(content)
    world.capture(NEXT)
    with pytest.raises(FeedError) as caught:
        world.clean(NEXT)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><head><title>503</title></head><body>Sorry</body></html>", "HTML"),
        (XML[: len(XML) // 2].encode(), "truncated|cut|ends"),
        (gzip.compress(XML.encode())[:200], "truncated|cut|ends"),
        (b'{"products": [{"id": 1, "title": "x"}]}', "JSON"),
        (b"id,title,price\n1,Dress,10 EUR\n", "google_xml|XML"),
        (XML.split("<item>")[0].encode() + b"</channel></rss>", "no item|0 |no product|none"),
    ],
    ids=["empty", "html", "cut", "cut gzip", "json", "csv", "no items"],
)
def test_an_unreadable_feed_fails_with_one_line_and_changes_nothing(
    world: World, content: bytes, said: str
) -> None:
    google(world)
    (world.folder / f"feed-{DAY}.xml").write_text(XML)
    world.run(DAY)
    before = world.products()
    message = broken(world, content)
    assert "\n" not in message
    assert "shop" in message
    assert re.search(said, message), message
    assert world.products() == before
    (world.folder / f"feed-{NEXT}.xml").write_text(XML.replace("10.00", "11.00", 1))
    assert world.capture(NEXT).action == "fetched"
    world.clean(NEXT)
    assert world.apply(NEXT).changed == 1


def test_a_broken_row_costs_that_row(world: World) -> None:
    rows = [*items(20), item(20, price="12.00 to 15.00 EUR"), item(21, title=""), item(22, price="-3 EUR")]
    report = world.run(DAY, rows)
    assert report.new == 20
    account = world.clean(DAY).account
    assert (account["items"], account["clean"], account["rejected"]) == (23, 20, 3)


def test_rejected_items_are_kept_with_place_reasons_and_content(world: World) -> None:
    world.run(DAY, [*items(20), item(20, price="", title="")])
    (kept,) = world.rejected(DAY)
    assert (kept.external_id, kept.record) == ("sku-20", 21)
    assert set(kept.reasons) == {"price_missing", "title_missing"}
    assert "22" in kept.place
    assert "cdn.example/20.jpg" in kept.raw
    assert world.rejected(DAY, reason="price_negative") == []


def test_cleaning_again_replays_and_does_not_repeat(world: World) -> None:
    world.run(DAY, [*items(20), item(20, price="")])
    assert world.clean(DAY).action == "reused"
    assert len(world.rejected(DAY)) == 1
    fields = dict(world.store.mapping.fields or {}) | {"brand": ("brand",)}
    changed = world.store.mapping.model_copy(update={"fields": fields})
    world.store = world.store.model_copy(update={"mapping": changed})
    assert world.clean(DAY).action == "cleaned"
    assert len(world.rejected(DAY)) == 1
