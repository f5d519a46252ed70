"""The canonical schemas: a clean row, a rejected item, a deletion. Everything else derives from these."""

import pyarrow as pa

#: NUMERIC(18, 4) in PostgreSQL: wide enough for VND and IDR, fine enough for any ISO 4217 minor unit.
PRICE = pa.decimal128(18, 4)


def _column(name: str, type_: pa.DataType, description: str, *, required: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=not required, metadata={"description": description})


#: What a product says of itself; the names are Google's product data names.
CONTENT_FIELDS = (
    _column("external_id", pa.string(), "id of the item in the store's feed", required=True),
    _column("title", pa.string(), "title as plain text", required=True),
    _column("description", pa.string(), "description as plain text, full length"),
    _column("price", PRICE, "regular price in major units of `currency`", required=True),
    _column("sale_price", PRICE, "reduced price, below `price`"),
    _column("sale_starts_at", pa.timestamp("us", tz="UTC"), "start of the sale price's window"),
    _column("sale_ends_at", pa.timestamp("us", tz="UTC"), "end of the sale price's window"),
    _column("currency", pa.string(), "ISO 4217 code", required=True),
    _column("image_url", pa.string(), "main picture"),
    _column("additional_image_urls", pa.list_(pa.string()), "further pictures in the feed's order"),
    _column("product_url", pa.string(), "page of the product in the shop"),
    _column("brand", pa.string(), "brand"),
    _column("gtin", pa.string(), "GTIN with a right check digit"),
    _column("mpn", pa.string(), "manufacturer part number"),
    _column("item_group_id", pa.string(), "group of variants"),
    _column("product_type", pa.string(), "the shop's own category path, ` > ` between levels"),
    _column("google_product_category", pa.string(), "Google taxonomy id or path"),
    _column("color", pa.string(), "colour"),
    _column("size", pa.string(), "size"),
    _column("gender", pa.string(), "female, male, unisex, or as the feed says"),
    _column("age_group", pa.string(), "newborn, infant, toddler, kids, adult, or as the feed says"),
    _column("material", pa.string(), "material"),
    _column("pattern", pa.string(), "pattern"),
    _column("condition", pa.string(), "new, refurbished, used, or as the feed says"),
    _column("availability", pa.string(), "in_stock, out_of_stock, preorder, backorder, or as the feed says"),
)

#: One row of `clean/.../*.parquet`: the content, then where it came from.
CLEAN_SCHEMA = pa.schema(
    [
        *CONTENT_FIELDS,
        _column("raw_attributes", pa.string(), "JSON object: raw values that were normalized, by column"),
        _column("image_key", pa.string(), "SHA-256 of the picture's URL without cache-busters"),
        _column("content_hash", pa.string(), "hash of the content without cache-busters", required=True),
        _column("warnings", pa.list_(pa.string()), "what was dropped or mended in this row"),
        _column("record", pa.int64(), "number of the source record, from 1", required=True),
        _column("place", pa.string(), "where the item stood in the feed", required=True),
    ]
)

#: One row of `rejected/.../*.parquet`. `external_id` is null where it could not be read.
REJECTED_SCHEMA = pa.schema(
    [
        _column("external_id", pa.string(), "id of the item, where it could be read"),
        _column("record", pa.int64(), "number of the source record, from 1", required=True),
        _column("place", pa.string(), "where the item stood in the feed", required=True),
        _column(
            "reasons", pa.list_(pa.string()), "every reason, from the enumeration `Reason`", required=True
        ),
        _column("severity", pa.string(), "error, or quarantine for conflicting items", required=True),
        _column("detail", pa.string(), "what was found, in words", required=True),
        _column("raw", pa.string(), "the source content as JSON text", required=True),
    ]
)

#: One row of the file of delete records, written only where a feed has some.
DELETION_SCHEMA = pa.schema(
    [
        _column("external_id", pa.string(), "id of the item to delist", required=True),
        _column("record", pa.int64(), "number of the source record, from 1", required=True),
        _column("place", pa.string(), "where the record stood in the feed", required=True),
    ]
)
