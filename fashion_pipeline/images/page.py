"""A contact sheet as one HTML file that needs nothing beside it: pictures inside, no script, no address asked."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from fashion_pipeline.images.thumbnails import thumbnails

#: Pixels of a picture's longer side: sharp at the 200 it is shown at, on a screen of two pixels to one.
_SIZE = 400

_STYLE = """
:root { color-scheme: light; font: 14px/1.4 system-ui, sans-serif; color: #18181b; background: #f4f4f5 }
body { margin: 24px auto; max-width: 1180px; padding: 0 16px }
h1 { font-size: 20px; margin: 0 0 4px } p { color: #71717a; margin: 0 0 16px }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 12px; margin: 0; padding: 0 }
li { list-style: none; background: #fff; border: 1px solid #dcdce0; border-radius: 8px; padding: 8px }
img, .blank { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #ececef;
  border-radius: 4px }
.blank { display: grid; place-items: center; color: #71717a }
h2 { font-size: 14px; margin: 8px 0 2px; overflow-wrap: anywhere } h2 a { color: inherit }
.price { font-weight: 600 } .more { color: #71717a; display: flex; justify-content: space-between; gap: 8px }
"""


@dataclass(frozen=True)
class Card:
    """One result: its encoded picture (None for none), and what is said of it; `link` opens the shop's page."""

    image: bytes | None
    title: str
    price: str
    store: str
    score: str
    link: str | None = None


def html_sheet(cards: Sequence[Card], *, title: str, about: str) -> str:
    """The cards as an HTML document; text of feeds is escaped, links lead to http(s) only."""
    pictures = thumbnails((card.image for card in cards), _SIZE)
    items = []
    for card, picture in zip(cards, pictures, strict=True):
        if picture is None:
            shown = '<div class="blank">no picture</div>'
        else:
            target = BytesIO()
            picture.convert("RGB").save(target, "WEBP", quality=80)
            source = f"data:image/webp;base64,{base64.b64encode(target.getvalue()).decode()}"
            shown = f'<img src="{source}" alt="{_text(card.title)}">'
        name = _text(card.title)
        if card.link and card.link.startswith(("http://", "https://")):
            name = f'<a href="{_text(card.link)}" rel="noreferrer">{name}</a>'
        items.append(
            f'<li>{shown}<h2>{name}</h2><div class="price">{_text(card.price)}</div>'
            f'<div class="more"><span>{_text(card.store)}</span><span>{_text(card.score)}</span></div></li>'
        )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{_text(title)}</h1><p>{_text(about)}</p>\n<ol>\n"
        + "\n".join(items)
        + "\n</ol></body></html>\n"
    )


def _text(value: str) -> str:
    return html.escape(value, quote=True)
