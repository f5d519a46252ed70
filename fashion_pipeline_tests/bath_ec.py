"""What a real shop changed from one export to the next (`meta_catalog_bath_ec_t1` and `_t2`), by its README.

13 ids gone, 1 new; of the 186 that both have 52 prices, 32 titles, 1 availability, and 4 pictures that appear.
Ten descriptions differ in the files, but eight in the rows: those of 385n-bl and 474233 differ only in the
length of runs of blanks. Every picture's address differs by its `?v=`, which changes no product.
"""

import csv
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

DAYS = ("meta_catalog_bath_ec_t1.csv", "meta_catalog_bath_ec_t2.csv")
GONE = {
    "129204", "4758", "6115sale1", "651280", "651281", "651282", "674280", "674283", "674284", "678280", "678282",
    "678283", "678284",
}  # fmt: skip
NEW = {"635280"}

Rows = Mapping[str, Mapping[str, Any]]


def check_changes(feeds: Path, old: Rows, new: Rows) -> set[str]:
    """Compare the rows of the two days by id; gives the ids whose content changed."""
    common = set(old) - GONE
    assert len(common) == 186

    def changed(name: str) -> set[str]:
        return {key for key in common if old[key][name] != new[key][name]}

    assert (len(changed("price")), len(changed("title"))) == (52, 32)
    assert (old["174652"]["price"], new["174652"]["price"]) == (Decimal(14300), Decimal(17600))
    assert changed("availability") == {"654180"}
    assert (old["654180"]["availability"], new["654180"]["availability"]) == ("out_of_stock", "in_stock")
    assert changed("image_key") == {"654180", "674281", "674330", "678281"}
    assert all(old[key]["image_url"] is None and new[key]["image_url"] for key in changed("image_key"))
    written = [_descriptions(feeds / name) for name in DAYS]
    differing = {key for key in common if written[0][key] != written[1][key]}
    assert (len(differing), len(changed("description"))) == (10, 8)
    assert differing - changed("description") == {"385n-bl", "474233"}
    # Every address differs, and only what else differs is a changed product.
    assert len(changed("image_url")) == 186
    assert len(changed("additional_image_urls")) >= 177
    told = set().union(*map(changed, ("price", "title", "description", "availability", "image_key")))
    assert changed("content_hash") == told
    return told


def _descriptions(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return {row["id"]: row["description"] for row in csv.DictReader(stream)}
