"""The demo stores' feeds in the formats that real shops send, broken rows included.

Each writer gives the exact bytes of one store's feed on one day. The broken rows are of the kinds that real
feeds have; they stay well below the fifth at which a snapshot is refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from fashion_pipeline.demo.stores import DAYS, VERSIONED_PICTURE, Product

_GOOGLE_CATEGORIES = {
    "dress": "2271", "skirt": "1581", "t-shirt": "212", "shirt": "212", "sweater": "212", "hoodie": "212",
    "jacket": "5598",
    "coat": "5598", "trousers": "204", "shorts": "207", "jumpsuit": "5250", "hat": "173", "cap": "173",
    "bag": "3032",
    "backpack": "100", "scarf": "177", "socks": "209", "boots": "187", "sneakers": "187",
}  # fmt: skip
_DEPARTMENTS = {
    "boots": "Shoes", "sneakers": "Shoes", "bag": "Bags", "backpack": "Bags", "hat": "Accessories",
    "cap": "Accessories",
    "scarf": "Accessories", "socks": "Accessories",
}  # fmt: skip

HELD = ("nordlys", 13)
"""Store and number of the product that is clean on the first day and has no price on the second."""


def picture_url(product: Product, pictures: Path) -> str:
    """The `file:` URL of a product's picture below the folder of pictures."""
    url = (pictures / product.store.id / product.picture).absolute().as_uri()
    if (product.store.id, product.number) == VERSIONED_PICTURE:
        return f"{url}?v={product.picture_version}"
    return url


def color_name(product: Product) -> str:
    """The colours as Google's product data wants them: the main one first, with a slash between."""
    garment = product.garment
    return f"{garment.color}/{garment.second_color}" if garment.second_color else garment.color


def category(product: Product) -> str:
    """The shop's category path."""
    kind = product.garment.kind
    return f"{_DEPARTMENTS.get(kind, 'Clothing')} > {kind.title().replace('T-Shirt', 'T-shirts')}"


def google_rss(products: Sequence[Product], day: date, pictures: Path) -> bytes:
    """Google Merchant RSS 2.0, one item per size. Broken: no price, a price in words, no title, a negative
    price.
    """
    items = []
    for product in products:
        for size in product.sizes:
            fields = _google_fields(product, size, pictures)
            if (product.store.id, product.number) == HELD and day >= DAYS[1]:
                del fields["g:price"]
            items.append(fields)
    for number, damage in enumerate(
        [{"g:price": ""}, {"g:price": "see in store"}, {"g:title": " "}, {"g:price": "-249.00 DKK"}]
        + (
            [{"g:image_link": "picture follows", "g:link": "javascript:void(0)", "g:price": "0.00 DKK"}]
            if day >= DAYS[1]
            else []
        )
    ):
        base = _google_fields(products[number * 5 + 1], products[number * 5 + 1].sizes[0], pictures)
        base |= {"g:id": f"NOR-BROKEN-{number + 1}", "g:item_group_id": f"NORBROKEN{number + 1}"} | damage
        items.insert(20 * number + 9, base)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">',
        "<channel>",
        "<title>Nordlys Studio</title>",
        "<link>https://nordlys.example</link>",
        f"<description>All products, {day.isoformat()}</description>",
    ]
    for fields in items:
        content = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
        lines.append(f"<item>{content}</item>")
    return "\n".join([*lines, "</channel>", "</rss>", ""]).encode()


def _google_fields(product: Product, size: str, pictures: Path) -> dict[str, str]:
    price = product.compare_at or product.price
    fields = {
        "g:id": f"{product.group}-{size.replace(' ', '')}",
        "g:title": product.title,
        "g:description": product.description,
        "g:link": f"https://nordlys.example/products/{product.group.lower()}?size={size.replace(' ', '-')}",
        "g:image_link": picture_url(product, pictures),
        "g:availability": "out_of_stock" if size in product.sold_out else "in_stock",
        "g:price": f"{price} {product.store.currency}",
        "g:brand": product.brand,
        "g:condition": "new",
        "g:item_group_id": product.group,
        "g:product_type": category(product),
        "g:google_product_category": _GOOGLE_CATEGORIES[product.garment.kind],
        "g:color": color_name(product),
        "g:size": size,
        "g:gender": product.gender,
        "g:age_group": "adult",
        "g:material": product.material,
        "g:pattern": product.garment.pattern,
    }
    if product.compare_at:
        fields["g:sale_price"] = f"{product.price} {product.store.currency}"
    return fields


def shopify(products: Sequence[Product], day: date, pictures: Path) -> bytes:
    """Shopify `products.json`, sizes as variants. Broken: a product without title, a variant without id, a
    price in words.
    """
    entries = [_shopify_product(product, pictures) for product in products]
    untitled = _shopify_product(products[2], pictures, offset=900_000)
    untitled["title"] = None
    nameless = _shopify_product(products[6], pictures, offset=910_000)
    nameless["variants"] = [nameless["variants"][0] | {"id": None}]
    unpriced = _shopify_product(products[10], pictures, offset=920_000)
    unpriced["variants"] = [unpriced["variants"][0] | {"price": "su richiesta", "compare_at_price": None}]
    for place, broken in ((5, untitled), (17, nameless), (29, unpriced)):
        entries.insert(place, broken)
    return json.dumps({"products": entries}, ensure_ascii=False, indent=1).encode() + b"\n"


def _shopify_product(product: Product, pictures: Path, offset: int = 0) -> dict[str, Any]:
    number = 7_700_000_000 + product.number * 1000 + offset
    created = f"{DAYS[0].isoformat()}T08:00:00+01:00"
    return {
        "id": number,
        "title": product.title,
        "handle": f"{product.group.lower()}-{product.garment.kind}" + (f"-{offset}" if offset else ""),
        "body_html": f"<p>{escape(product.description)}</p><ul><li>{escape(product.material)}</li></ul>",
        "published_at": created,
        "created_at": created,
        "updated_at": created,
        "vendor": product.brand,
        "product_type": category(product),
        "tags": [product.garment.color, product.garment.pattern, product.garment.kind, product.gender],
        "variants": [
            {
                "id": number * 10 + place,
                "title": f"{color_name(product)} / {size}",
                "option1": color_name(product),
                "option2": size,
                "option3": None,
                "sku": f"{product.group}-{size.replace(' ', '')}",
                "requires_shipping": True,
                "taxable": True,
                "featured_image": None,
                "available": size not in product.sold_out,
                "price": str(product.price),
                "grams": 400,
                "compare_at_price": str(product.compare_at) if product.compare_at else None,
                "position": place + 1,
                "product_id": number,
                "created_at": created,
                "updated_at": created,
            }
            for place, size in enumerate(product.sizes)
        ],
        "images": [
            {
                "id": number + 500,
                "position": 1,
                "product_id": number,
                "variant_ids": [],
                "src": picture_url(product, pictures),
                "width": 400,
                "height": 400,
            }
        ],
        "options": [
            {"name": "Color", "position": 1, "values": [color_name(product)]},
            {"name": "Size", "position": 2, "values": list(product.sizes)},
        ],
    }


def delimited(products: Sequence[Product], day: date, pictures: Path) -> bytes:
    """A gzipped CSV with semicolons and the shop's own column names, a row per size.

    Broken: no id, one id with two contents, no price, a picture address that is none, and on the second day
    a short line.
    """
    header = [
        "sku",
        "parent_sku",
        "name",
        "details",
        "list_price",
        "our_price",
        "photo",
        "page",
        "maker",
        "department",
        "main_colour",
        "fit_size",
        "for_whom",
        "made_of",
        "print",
        "stock",
    ]
    rows = [_delimited_row(product, size, pictures) for product in products for size in product.sizes]
    spare = [_delimited_row(p, p.sizes[0], pictures) for p in products if p.number in (1, 9, 15, 25, 33)]
    rows.insert(30, ["", *spare[0][1:]])
    twin = ["SUN-TWIN", *spare[1][1:]]
    rows.insert(60, twin)
    rows.insert(61, [*twin[:2], "A quite different thing", *twin[3:]])
    rows.insert(90, ["SUN-PHOTO", *spare[2][1:6], "htp:/photo missing", *spare[2][7:]])
    rows.insert(120, ["SUN-PRICE", *spare[3][1:4], "", "", *spare[3][6:]])
    if day >= DAYS[1]:
        rows.insert(140, ["SUN-SHORT", *spare[4][1:4]])
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerows([header, *rows])
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(text.getvalue().encode())
    return packed.getvalue()


def _delimited_row(product: Product, size: str, pictures: Path) -> list[str]:
    return [
        f"{product.group}{size.replace(' ', '').upper()}",
        product.group,
        product.title,
        product.description,
        f"${product.compare_at or product.price}",
        f"${product.price}" if product.compare_at else "",
        picture_url(product, pictures),
        f"https://sunday-market.example/p/{product.group}",
        product.brand,
        category(product),
        color_name(product),
        size,
        {"female": "women", "male": "men"}.get(product.gender, "unisex"),
        product.material,
        product.garment.pattern,
        "no" if size in product.sold_out else "yes",
    ]


def parquet(products: Sequence[Product], day: date, pictures: Path) -> bytes:
    """A Parquet export with prices in whole yen.

    Broken: a price of zero, a null title, a negative price; one row stands twice.
    """
    rows = [_parquet_row(product, pictures) for product in products]
    for place, damage in ((11, {"price": Decimal(0)}), (23, {"name": None}), (35, {"price": Decimal(-4500)})):
        rows.insert(place, rows[place + 2] | {"item": f"KIY-BROKEN-{place}"} | damage)
    rows.insert(50, rows[49])
    schema = pa.schema(
        [
            pa.field(name, pa.decimal128(12, 0) if name in ("price", "sale") else pa.string())
            for name in rows[0]
        ]
    )
    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), packed, compression="zstd")
    return packed.getvalue()


def _parquet_row(product: Product, pictures: Path) -> dict[str, object]:
    return {
        "item": product.group,
        "name": product.title,
        "story": product.description,
        "price": product.compare_at or product.price,
        "sale": product.price if product.compare_at else None,
        "photo": picture_url(product, pictures),
        "page": f"https://kiyomi.example/items/{product.group}",
        "label": product.brand,
        "shelf": category(product),
        "colour": color_name(product),
        "size": product.sizes[0],
        "gender": product.gender,
        "fabric": product.material,
        "pattern": product.garment.pattern,
        "condition": "used",
        "availability": "out_of_stock" if product.sold_out else "in_stock",
    }


WRITERS: dict[str, tuple[str, Callable[[Sequence[Product], date, Path], bytes]]] = {
    "nordlys": (".xml", google_rss),
    "marchetti": (".json", shopify),
    "sunday-market": (".csv.gz", delimited),
    "kiyomi": (".parquet", parquet),
}
"""By store: how its files end, and what writes them."""
