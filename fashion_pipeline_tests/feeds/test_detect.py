"""What kind a feed is, told by its content."""
# ruff: noqa: E501 - a feed on one line reads better than on five

import json
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.detect import Detection, detect

PRODUCT = {"id": 1, "title": "A", "handle": "a", "variants": [{"id": 2, "price": "1.00"}]}


def _detect(folder: Path, data: str | bytes) -> Detection:
    path = folder / "feed"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return detect(path)


def _rss(*fields: str, item: str = "item") -> str:
    inner = "".join(f"<g:{name}>x</g:{name}>" for name in fields)
    nested = (
        "<g:shipping><g:country>US</g:country><g:price>1 USD</g:price><g:service>x</g:service></g:shipping>"
    )
    return f'<rss xmlns:g="http://base.google.com/ns/1.0"><channel><{item}>{inner}{nested * 3}</{item}></channel></rss>'


@pytest.mark.parametrize(
    ("data", "format_name"),
    [
        (_rss("id", "title", "price", "link", "image_link", "description", "brand"), "google_xml"),
        ("<products><product><pid>1</pid><name>A</name><price>1</price><purl>u</purl><imgurl>i</imgurl></product></products>", "awin_advertiser_xml"),
        ("pid,name,desc,price,purl,imgurl\n", "awin_advertiser_csv"),
        ("id\ttitle\tprice\tlink\timage_link\n", "google_tsv"),
        ("id,title,price,link,image_link,rich_text_description,image[0].url\n", "meta_csv"),
        ("id,title,price,link,image_link,quantity_to_sell_on_facebook\n", "meta_csv"),
        ("id,title,price,link,image_link,video[0].url,google_product_category\n", "meta_csv"),
        ("id,title,price,link,image_link,canonical_link,custom_label_0\n", "google_csv"),
        ('"# Required","# Required"\nid,title,price,link,image_link\n', "google_csv"),
        ("Handle,Title,Body (HTML),Vendor,Variant Price,Variant SKU,Image Src\n", "shopify_csv"),
        ("ID,Type,SKU,Name,Published,Regular price,Sale price,Categories,Images,Parent\n", "woocommerce_csv"),
        ("aw_product_id,product_name,search_price,merchant_deep_link,merchant_image_url\n", "awin"),
        ("HDR|1|Shop|01/01/2026\n", "rakuten"),
        (json.dumps({"products": [PRODUCT]}), "shopify_json"),
        (json.dumps({"product": PRODUCT}), "shopify_json"),
        (json.dumps(PRODUCT | {"compare_at_price_min": 0, "price_min": 100}), "shopify_js"),
        (json.dumps([{"id": 1, "name": "A", "permalink": "u", "regular_price": "1", "stock_status": "instock"}]), "woocommerce_rest"),
        (json.dumps([{"@type": "Product", "name": "A"}]), "jsonld"),
    ],
)  # fmt: skip
def test_kinds(tmp_path: Path, data: str, format_name: str) -> None:
    assert _detect(tmp_path, data).format == format_name


META = ("id", "title", "price", "link", "image_link", "fb_product_category")


@pytest.mark.parametrize(
    ("data", "format_name", "alike"),
    [
        (_rss(*META), "meta_xml", ""),
        (_rss(*META[:5]), "google_xml", "meta_xml"),
        (_rss(*META[:5], "applink", item="entry"), "meta_xml", ""),
        (",".join(META[:5]) + "\n", "google_csv", "meta_csv"),
    ],
)
def test_meta_is_told_from_google_by_fields_that_google_does_not_have(
    tmp_path: Path, data: str, format_name: str, alike: str
) -> None:
    found = _detect(tmp_path, data)
    assert found.format == format_name
    assert found.notes == (
        (f"its fields are those of {alike} too: it is read alike either way",) if alike else ()
    )


@pytest.mark.parametrize(
    ("data", "encoding"),
    [("é", "utf-8"), ("é", "cp1252"), ("e", "cp1252"), ("é", "utf-16"), ("ワンピース", "cp932")],
)
def test_an_encoding_that_nothing_names_is_guessed(tmp_path: Path, data: str, encoding: str) -> None:
    found = _detect(tmp_path, f"id,title,price,link\n1,{data},1 EUR,u\n".encode(encoding))
    assert found.encoding == (encoding if encoding.startswith("cp") and not data.isascii() else None)


CONTENT_API = (
    '{"resources": [{"offerId": "1", "title": "A", "price": {"value": "20.00", "currency": "USD"}, "link": "u",'
    ' "salePrice": {"value": "15.00"}, "imageLink": "https://x/1.jpg", "itemGroupId": "g"}]}'
)
YML = (
    '<yml_catalog><shop><offers><offer id="1" available="true"><url>u</url><price>20</price><currencyId>RUR</currencyId>'
    "<picture>https://x/1.jpg</picture><name>A</name></offer></offers></shop></yml_catalog>"
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (CONTENT_API, {"external_id": "offerid", "currency": "price.currency", "sale_price": "saleprice.value",
                       "image_url": "imagelink", "item_group_id": "itemgroupid"}),
        (YML, {"external_id": "@id", "currency": "currencyid", "image_url": "picture"}),
        ('<r><p sku="1"><name>A</name><price currency="EUR">5</price><images><image>i</image></images></p></r>',
         {"external_id": "@sku", "currency": "price.@currency", "image_url": "images.image"}),
    ],
)  # fmt: skip
def test_names_that_are_proposed_for_further_kinds(
    tmp_path: Path, data: str, expected: dict[str, str]
) -> None:
    fields = _detect(tmp_path, data).mapping.fields
    assert {name: (fields[name] or ("",))[0] for name in expected} == expected


@pytest.mark.parametrize(
    ("data", "format_name", "records"),
    [
        ("sku;name;preis;bild\n1;a;2;x\n", "delimited", None),
        ('{"items": [{"sku": 1, "name": "a", "images": [{"url": "x"}]}]}', "json", None),
        ('{"a": {"name": "A"}, "b": {"name": "B"}}', "json", None),
        ("<shop><offer><code>1</code><name>a</name><price>2</price></offer></shop>", "xml", "offer"),
    ],
)
def test_a_mapping_is_proposed_for_other_kinds(
    tmp_path: Path, data: str, format_name: str, records: str | None
) -> None:
    found = _detect(tmp_path, data)
    assert (found.format, found.mapping.records) == (format_name, records)
    assert found.mapping.fields["external_id"]
    assert found.mapping.fields["title"] == ("name",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "empty file"),
        ("%PDF-1.7", "a PDF"),
        ("<html><title>Log in</title></html>", "HTML page titled 'Log in' that names no product"),
        ("just some words\nand more\n", "without a header"),
        ("colour;weight\nred;2\n", "no field of this delimited file is known to be external_id or title"),
        ("<a><b>1</b></a>", "XML without records"),
        ('{"total": 3}', "JSON without a list of records|known to be external_id"),
        ("[]", "JSON without a list of records"),
    ],
)
def test_what_is_no_feed(tmp_path: Path, data: Any, words: str) -> None:
    with pytest.raises(FeedError, match=words):
        _detect(tmp_path, data)
