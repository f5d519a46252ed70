"""Shopify's product export, and `/products/<handle>.js`."""

import json

import pytest

HEAD = (
    "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,Option2 Value,"
    "Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,Variant Inventory Policy,Variant Price,"
    "Variant Compare At Price,Variant Barcode,Image Src,Image Position,Variant Image,Status\n"
)


def _row(**cells: str) -> str:
    names = HEAD.strip().split(",")
    return (
        ",".join(cells.get(name.replace(" ", "_").replace("(", "").replace(")", ""), "") for name in names)
        + "\n"
    )


FIRST = _row(
    Handle="top", Title="Top", Body_HTML="<p>Soft</p>", Vendor="Acme", Type="Tops", Tags='"new, Gender:Women"',
    Published="true", Option1_Name="Size", Option1_Value="S", Option2_Name="Fit", Option2_Value="Slim",
    Variant_SKU="'00123", Variant_Price="20.00", Variant_Compare_At_Price="25.00", Image_Src="https://x/2.jpg",
    Image_Position="2", Status="active",
)  # fmt: skip
SECOND = _row(
    Handle="top", Option1_Value="M", Option2_Value="Wide", Variant_Price="20.00", Variant_Inventory_Tracker="shopify",
    Variant_Inventory_Qty="0", Variant_Inventory_Policy="deny", Image_Src="https://x/1.jpg", Image_Position="1",
    Variant_Image="https://x/m.jpg",
)  # fmt: skip
#: All sizes have the product's SKU.
SHARED = "".join(
    _row(
        Handle="tee",
        Title=title,
        Option1_Name="Size",
        Option1_Value=size,
        Variant_SKU="TEE",
        Variant_Price="9.00",
    )
    for title, size in (("Tee", "S"), ("", "M"))
)
PICTURE = _row(Handle="top", Image_Src="https://x/3.jpg", Image_Position="3")


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_continuation_rows(feed, batch_size: int) -> None:
    result = feed(
        HEAD + FIRST + SECOND + PICTURE,
        "shopify_csv",
        base_url="https://shop.example/",
        batch_size=batch_size,
    )
    assert result.report.context == {"image-only row": 1}
    first, second = result.items
    assert (first["external_id"], second["external_id"]) == ("00123", "top/M/Wide")
    assert (first["title"], second["title"]) == ("Top - Slim", "Top - Wide")
    assert (first["size"], second["size"]) == ("S", "M")
    assert (first["price"], first["sale_price"]) == ("25.00", "20.00")
    assert (second["price"], second["sale_price"]) == ("20.00", None)
    assert second["brand"] == "Acme"
    assert second["gender"] == "female"
    assert second["description"] == "<p>Soft</p>"
    assert second["item_group_id"] == "top"
    assert (first["availability"], second["availability"]) == ("in_stock", "out_of_stock")
    assert first["image_url"] == "https://x/1.jpg"
    assert first["additional_image_urls"] == ["https://x/2.jpg", "https://x/3.jpg"]
    assert second["image_url"] == "https://x/m.jpg"
    assert second["product_url"] == "https://shop.example/products/top"
    assert result.places == ["line 2", "line 3"]


@pytest.mark.parametrize("change", [("true", "FALSE"), ("active", "draft"), ("active", "Archived")])
def test_unpublished_products_are_context(feed, change: tuple[str, str]) -> None:
    other = FIRST.replace("top", "shirt").replace("'00123", "s-1")
    result = feed(HEAD + FIRST.replace(*change) + SECOND + PICTURE + other, "shopify_csv")
    assert result.column("external_id") == ["s-1"]
    assert result.report.context == {"not published": 3}


def test_a_broken_row_does_not_part_a_product(feed) -> None:
    result = feed(HEAD + FIRST + SECOND.strip() + ",x,y\n" + SECOND, "shopify_csv")
    assert result.column("external_id") == ["00123", "top/M/Wide"]
    assert result.items[1]["title"] == "Top - Wide"
    assert [broken.place for broken in result.broken] == ["line 3"]


def test_backorder_and_unknown_stock(feed) -> None:
    many = SECOND.replace(",0,deny,", ",0,continue,")
    unknown = SECOND.replace(",0,deny,", ",,deny,").replace(",M,", ",L,")
    result = feed(HEAD + FIRST + many + unknown, "shopify_csv")
    assert result.column("availability") == ["in_stock", "backorder", None]


def test_handle_js_has_whole_cents(feed) -> None:
    product = {
        "id": 5, "title": "Top", "handle": "top", "description": "<p>Soft</p>", "vendor": "Acme", "type": "Tops",
        "price": 1999, "images": ["//cdn.x/1.jpg", "//cdn.x/2.jpg"], "options": ["Size"], "url": "/products/top",
        "variants": [
            {"id": 51, "option1": "S", "price": 1999, "compare_at_price": 2999, "available": True,
             "featured_image": {"src": "//cdn.x/2.jpg"}},
            {"id": 52, "option1": "M", "price": 1999, "compare_at_price": None, "available": False,
             "featured_image": None},
        ],
    }  # fmt: skip
    result = feed(json.dumps(product), "shopify_js", base_url="https://shop.example")
    small, medium = result.items
    assert (small["price"], small["sale_price"], small["currency_minor_unit"]) == ("2999", "1999", "2")
    assert (medium["price"], medium["sale_price"]) == ("1999", None)
    assert (small["image_url"], medium["image_url"]) == ("//cdn.x/2.jpg", "//cdn.x/1.jpg")
    assert small["product_url"] == "https://shop.example/products/top?variant=51"
    assert (small["size"], small["product_type"], small["description"]) == ("S", "Tops", "<p>Soft</p>")
    assert (small["availability"], medium["availability"]) == ("in_stock", "out_of_stock")


def test_one_product_in_a_wrapper(feed) -> None:
    product = {"product": {"id": 1, "title": "A", "handle": "a", "variants": [{"id": 2, "price": "5.00"}]}}
    result = feed(json.dumps(product), "shopify_json")
    assert (result.items[0]["external_id"], result.items[0]["price"]) == ("2", "5.00")


def test_a_sku_that_all_variants_share_is_no_id(feed) -> None:
    result = feed(HEAD + SHARED + FIRST, "shopify_csv")
    assert result.column("external_id") == ["tee/S", "tee/M", "00123"]
    assert result.column("mpn") == ["TEE", "TEE", "00123"]
