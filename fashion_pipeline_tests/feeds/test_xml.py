"""XML: what counts as a field, what is mended, and what is refused."""

from pathlib import Path

import pytest

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.items import ReadReport
from fashion_pipeline.feeds.readers.xml_mending import mend
from fashion_pipeline.feeds.records import Tally
from fashion_pipeline_tests.feeds.conftest import read, store

OPEN = '<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>Shop</title>'
CLOSE = "</channel></rss>"
ITEM = "<item><g:id>1</g:id><title>One</title></item>"


def _rss(*items: str) -> str:
    return OPEN + "".join(items) + CLOSE


def test_atom_prefers_google_fields_and_the_alternate_link(feed) -> None:
    result = feed(
        """<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
  <title>Shop</title><link rel="self" href="https://x.example/feed"/>
  <entry>
    <id>tag:x.example,2026:1</id><g:id>SKU-1</g:id>
    <title>Plain</title>
    <link rel="edit" href="https://x.example/edit"/>
    <link rel="alternate" href="https://x.example/p/1"/>
    <summary>A &lt;b&gt;dress&lt;/b&gt;</summary>
    <g:price>10.00 EUR</g:price>
  </entry>
</feed>""",
        "google_xml",
    )
    [item] = result.items
    assert item["external_id"] == "SKU-1"
    assert item["product_url"] == "https://x.example/p/1"
    assert item["description"] == "A <b>dress</b>"
    assert item["title"] == "Plain"


def test_fields_of_other_namespaces_stand_back(feed) -> None:
    """A picture's title is not the product's, wherever it stands; alone it is better than none."""
    spaces = 'xmlns:media="http://search.yahoo.com/mrss/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    data = (
        f"<rss {spaces}><channel><item><media:title>Front view</media:title><id>1</id><title>Dress</title>"
        "<dc:description>Linen</dc:description></item></channel></rss>"
    )
    [item] = feed(data, "google_xml").items
    assert (item["external_id"], item["title"], item["description"]) == ("1", "Dress", "Linen")


def test_only_direct_children_are_fields(feed) -> None:
    result = feed(
        _rss(
            "<item><g:id>1</g:id><title>One</title>"
            "<g:shipping><g:price>4.99 USD</g:price></g:shipping></item>"
        ),
        "google_xml",
    )
    assert "price" not in result.items[0]
    assert "4.99 USD" in result.raws[0]


def test_a_path_that_the_mapping_names_is_a_field(feed) -> None:
    data = (
        '<shop><offer id="7" sku="A"><name>One</name><cost unit="EUR"><now>5</now></cost><cost><now>6</now></cost>'
        "<pictures><big><url>a</url><url>b</url></big></pictures></offer></shop>"
    )
    fields = {
        "external_id": "@id",
        "title": "name",
        "price": "cost.now",
        "currency": "cost.@unit",
        "additional_image_urls": "pictures.big.url",
    }
    result = feed(data, "xml", mapping={"records": "offer", "fields": fields})
    assert result.items == [
        {
            "external_id": "7",
            "title": "One",
            "price": ["5", "6"],
            "currency": "EUR",
            "additional_image_urls": ["a", "b"],
        }
    ]


def test_values_are_as_they_stand(feed) -> None:
    result = feed(
        _rss(
            "<item><g:id> 1 </g:id><title><![CDATA[A & B <i>&nbsp;]]></title>"
            "<description>x &amp;amp; y<b>bold</b> tail<br/></description><g:color></g:color></item>"
        ),
        "google_xml",
    )
    [item] = result.items
    assert item["external_id"] == " 1 "
    assert item["title"] == "A & B <i>&nbsp;"
    assert item["description"] == "x &amp; y<b>bold</b> tail<br/>"
    assert item["color"] == ""
    assert result.report.recoveries == []


def test_repeated_elements(feed) -> None:
    result = feed(
        _rss(
            "<item><g:id>1</g:id><title>One</title>"
            "<g:additional_image_link>https://x/1.jpg</g:additional_image_link>"
            "<g:additional_image_link>https://x/f_auto,q_1/2.jpg, https://x/3.jpg</g:additional_image_link>"
            "<g:product_type/><g:product_type>Shoes</g:product_type><g:product_type>Boots</g:product_type></item>"
        ),
        "google_xml",
    )
    assert result.items[0]["additional_image_urls"] == [
        "https://x/1.jpg", "https://x/f_auto,q_1/2.jpg", "https://x/3.jpg",
    ]  # fmt: skip
    assert result.items[0]["product_type"] == "Shoes"


def test_undeclared_prefix_is_mended(feed) -> None:
    result = feed(
        "<rss><channel>\n<item><g:id>1</g:id><title>One</title><c:tag>x</c:tag></item></channel></rss>",
        "google_xml",
    )
    assert result.column("external_id") == ["1"]
    assert result.recovery("undeclared namespace prefix g:") == 1
    assert [r.places for r in result.report.recoveries] == [("line 2",), ("line 2",)]


def test_an_undeclared_prefix_far_into_the_file(feed) -> None:
    late = "<item><g:id>2</g:id><title>Two</title><z:late>x</z:late></item>"
    result = feed(_rss(ITEM, " " * 200_000, late), "google_xml")
    assert result.column("external_id") == ["1", "2"]


def test_raw_ampersands_and_html_entities_are_kept_as_text(feed) -> None:
    result = feed(
        _rss(
            "<item><g:id>1</g:id>\n<title>H&M &nbsp; AT&T; Salt &amp; Pepper &#38; &#x26; &lt;</title></item>"
        ),
        "google_xml",
    )
    assert result.column("title") == ["H&M &nbsp; AT&T; Salt & Pepper & & <"]
    assert result.recovery("raw & escaped") == 3
    assert result.report.recoveries[0].places == ("line 2", "line 2", "line 2")


def test_blanks_before_the_declaration_and_control_characters(feed) -> None:
    result = feed(
        '\n\n  <?xml version="1.0" encoding="utf-8"?>'
        + _rss("<item><id>1</id><title>O\x0bn\x00e &#11;x</title></item>"),
        "google_xml",
    )
    assert result.column("title") == ["One &#11;x"]
    assert result.recovery("blanks before") == 1
    assert result.recovery("control characters") == 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 17, 64])
def test_mending_does_not_depend_on_chunks(size: int) -> None:
    text = _rss(
        "<item><id>1</id><title>a & b &amp; c &am d</title><d><![CDATA[x & y &amp; z]]> & ]]</d></item>" * 3
    ).encode()
    whole = b"".join(mend(iter([text]), Tally(ReadReport())))
    parts = (text[n : n + size] for n in range(0, len(text), size))
    tally = Tally(ReadReport())
    assert b"".join(mend(parts, tally)) == whole
    assert whole.count(b"&amp;") == 3 * 5
    tally.close()
    assert tally.report.recoveries[0].count == 3 * 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (OPEN + ITEM, "ends before its closing tag: truncated"),
        (OPEN + ITEM + "</channel>", "truncated"),
        (OPEN + ITEM + "<item><g:id>2</g:id><tit", "truncated"),
        (OPEN + ITEM + "<item><g:id>2</g:id><title>x</titel></item>" + CLOSE, "not well-formed"),
        (_rss(ITEM) + "<b>more</b>", "not well-formed"),
        (_rss(), "0 products"),
        ("<feed/>", "0 products"),
        ("<urlset><url><loc>x</loc></url></urlset>", "(<item> or <entry>|no <item>)"),
        (
            _rss("<item><g:sku>1</g:sku><title>One</title></item>"),
            "no record of the first 1 has a field for external_id",
        ),
        ("<html><head><title>Just a moment...</title></head></html>", "HTML page titled 'Just a moment...'"),
        ("<!DOCTYPE html>\n<p>No", "HTML page"),
        ('<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html>', "HTML page"),
        ('{"error": "Not Found", "code": 404}', "JSON error message \\(error: Not Found, code: 404\\)"),
        ('{"products": []}', "looks like a JSON object.*`format: shopify_json, "),
        ("id,title\n1,One\n", "looks like text.*google_csv"),
        ("", "empty file"),
        ("  \n ", "nothing but blanks"),
        ("%PDF-1.7", "a PDF"),
    ],
)
def test_refused(feed, data: str, words: str) -> None:
    with pytest.raises(FeedError, match=f"^store 'shop': .*{words}"):
        feed(data, "google_xml")


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1 or str()};" * 10}">' for n in range(1, 10))
    + "]><rss><channel><item><id>1</id><title>&lol9;</title></item></channel></rss>"
)


@pytest.mark.parametrize(
    "data",
    [
        LAUGHS,
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><item><id>1</id><title>&x;</title></item></rss>',
    ],
)  # fmt: skip
def test_entities_are_not_expanded(feed, data: str) -> None:
    with pytest.raises(FeedError, match="DTD"):
        feed(data, "google_xml")


def test_entities_of_a_dtd_that_hides_behind_blanks_stay_text(feed) -> None:
    dtd = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    data = (
        '<?xml version="1.0"?>' + " " * 400_000 + dtd + "<rss><item><id>1</id><title>&x;</title></item></rss>"
    )
    assert feed(data, "google_xml").column("title") == ["&x;"]


def test_a_plain_doctype_is_harmless(feed) -> None:
    data = '<!DOCTYPE rss PUBLIC "-//x//DTD RSS 0.91//EN" "http://127.0.0.1:9/x.dtd">' + _rss(ITEM)
    assert feed(data, "google_xml").column("external_id") == ["1"]


@pytest.mark.parametrize(
    "data",
    [
        OPEN + "<item><id>1</id><title>" + "x" * 11_000_000 + "</title></item>" + CLOSE,
        OPEN + "<a>" * 5_000 + "</a>" * 5_000 + ITEM + CLOSE,
        OPEN + "<item><id>1</id><title>x</title>" + "<a>y</a>" * 2_500_000 + "</item>" + CLOSE,
        OPEN + "<junk>y</junk>" * 1_300_000 + CLOSE,
    ],
    ids=["huge value", "deep", "huge record", "no records"],
)
def test_sizes_are_bounded(feed, data: str) -> None:
    with pytest.raises(FeedError, match=r"^store 'shop': "):
        feed(data, "google_xml")


def test_own_record_element(feed) -> None:
    result = feed(
        "<catalog><produit><ref>7</ref><nom>Robe</nom></produit></catalog>",
        "google_xml",
        mapping={"records": "produit", "fields": {"external_id": "ref", "title": "nom"}},
    )
    assert result.items[0]["title"] == "Robe"


def test_batches(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_text(_rss(*(f"<item><id>{n}</id><title>t</title></item>" for n in range(25))))
    result = read(path, store("google_xml"), batch_size=10)
    assert result.column("external_id") == [str(n) for n in range(25)]
    assert result.records == list(range(1, 26))
    assert result.places[24].startswith("item 25 ")
