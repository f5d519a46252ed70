"""A dump of WooCommerce REST v3: a variable product is the parent of its variations, wherever they stand.

https://woocommerce.github.io/woocommerce-rest-api-docs/#product-variations
"""

from collections.abc import Iterator

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.readers.json_records import JsonRecords, read_records
from fashion_pipeline.feeds.readers.json_shapes import json_elements
from fashion_pipeline.feeds.readers.rows import Fields
from fashion_pipeline.feeds.records import Read, Source

#: Name under which the ids of the products that have variations in the dump are known.
PARENTS = "parents"


def read_woocommerce_rest(source: Source) -> Iterator[Read]:
    """Records of one document of a dump; parents of variations that the dump holds are context.

    Raises:
        FeedError: as `read_json`.
    """
    if PARENTS not in source.known:
        source.known[PARENTS] = frozenset(_parents(source))
    yield from read_records(source, _Products(source))


def _parents(source: Source) -> Iterator[str]:
    """Ids of products that records of the dump name as their parent."""
    for document in source.whole():
        records = JsonRecords(document)
        try:
            for element in json_elements(document, records.is_record):
                record = element.value if isinstance(element.value, dict) else {}
                if (parent := str(record.get("parent_id") or "0")) != "0":
                    yield parent
        except FeedError:
            # Reading the document fails as well, and tells it with the store and the place.
            continue


class _Products(JsonRecords):
    def context_of(self, fields: Fields) -> str | None:
        """A variable product beside its variations; alone it has no price of its own."""
        if "variable" not in str(fields.get("type") or "").casefold():
            return None
        if str(fields.get("id")) in self.source.known[PARENTS]:
            return "variable product"
        inside = fields.get("variations")
        nested = isinstance(inside, list) and any(isinstance(one, dict) for one in inside)
        if not nested and fields.get("price") and not fields.get("price_html"):
            fields["price"] = f"from {fields['price']}"
        return None
