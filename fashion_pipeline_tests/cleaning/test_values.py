"""Value maps in ten languages, placeholders, rules for what no list can hold."""

import time

import pytest
import yaml

from fashion_pipeline.cleaning.currencies import read_data
from fashion_pipeline.cleaning.values import (
    MAPPED_FIELDS,
    category_path,
    clean_value,
    normalize,
    value_key,
    value_map,
)

LANGUAGES = {"en", "de", "fr", "es", "it", "nl", "da", "pl", "ja", "ru"}

#: field, normalized value, the word in en, de, fr, es, it, nl, da, pl, ja, ru
WORDS = [
    ("color", "black", "Black Schwarz Noir Negro Nero Zwart Sort Czarny ブラック Черный"),
    ("color", "red", "red rot rouge rojo rosso rood rød czerwony 赤 красный"),
    ("color", "white", "white weiß blanche blanco bianco wit hvid biały ホワイト белый"),
    ("color", "green", "green grün vert verde verde groen grøn zielony グリーン зелёный"),
    (
        "color",
        "navy",
        "navy dunkelblau marine marino blu_navy marineblauw marineblå granatowy ネイビー тёмно-синий",
    ),
    ("color", "pink", "pink rosa rose rosa rosa roze lyserød różowy ピンク розовый"),
    ("gender", "female", "Women Damen Femme Mujer Donna Dames Dame Damskie レディース женский"),
    ("gender", "male", "men's Herren homme hombre uomo heren herre męskie メンズ мужской"),
    (
        "gender",
        "unisex",
        "unisex damen_und_herren mixte ambos entrambi uniseks kønsneutral uniseks 男女兼用 унисекс",
    ),
    ("age_group", "adult", "adults Erwachsene adulte adulto adulto volwassenen voksne dorosły 大人 взрослый"),
    ("age_group", "kids", "children Kinder enfant niños bambini kinderen børn dzieci キッズ детский"),
    ("age_group", "infant", "baby säugling bébé bebé lattante zuigeling spædbarn niemowlę ベビー младенец"),
    ("condition", "new", "New neu neuf nuevo nuovo nieuw ny nowy 新品 новый"),
    ("condition", "used", "used gebraucht occasion usado usato tweedehands brugt używany 中古 б/у"),
    (
        "availability",
        "in_stock",
        "in_stock verfügbar disponible en_stock disponibile op_voorraad på_lager dostępny 在庫あり в_наличии",
    ),
    (
        "availability",
        "out_of_stock",
        "sold_out ausverkauft épuisé agotado esaurito uitverkocht udsolgt niedostępny 在庫なし распродано",
    ),
    (
        "availability",
        "preorder",
        (
            "preorder vorbestellung précommande preventa preordine voorbestelling forudbestilling "
            "przedsprzedaż 予約 предзаказ"
        ),
    ),
    ("size", "L", "large groß grand L L groot stor duży Lサイズ большой"),
    (
        "size",
        "one_size",
        (
            "one_size Einheitsgröße taille_unique talla_única taglia_unica één_maat onesize "
            "uniwersalny フリーサイズ единый_размер"
        ),
    ),
]


@pytest.mark.parametrize(("field", "expected", "words"), WORDS, ids=[f"{row[0]}-{row[1]}" for row in WORDS])
def test_ten_languages(field: str, expected: str, words: str) -> None:
    listed = words.split()
    assert len(listed) == len(LANGUAGES)
    for word in listed:
        normal = normalize(field, word.replace("_", " "))
        assert normal is not None
        assert (normal.value, normal.known) == (expected, True), word


@pytest.mark.parametrize("field", MAPPED_FIELDS)
def test_maps_have_every_language_and_one_meaning_per_word(field: str) -> None:
    meanings: dict[str, str] = {}
    for canonical, languages in yaml.safe_load(read_data(f"{field}.yaml")).items():
        assert set(languages) == LANGUAGES, canonical
        for word in (word for words in languages.values() for word in words):
            assert isinstance(word, str), (canonical, word)
            assert value_key(word), word
            assert meanings.setdefault(value_key(word), canonical) == canonical, word


@pytest.mark.parametrize("field", MAPPED_FIELDS)
def test_normalized_values_stay_themselves(field: str) -> None:
    for canonical in set(value_map(field).values()):
        normal = normalize(field, canonical)
        assert normal is not None
        assert (normal.value, normal.known) == (canonical, True)


@pytest.mark.parametrize(
    ("field", "raw", "expected"),
    [
        ("availability", "https://schema.org/InStock", "in_stock"),
        ("availability", "http://schema.org/OutOfStock", "out_of_stock"),
        ("availability", "schema.org/PreOrder", "preorder"),
        ("availability", "InStock", "in_stock"),
        ("availability", "OUT_OF_STOCK", "out_of_stock"),
        ("availability", "true", "in_stock"),
        ("availability", "False", "out_of_stock"),
        ("availability", "1", "in_stock"),
        ("availability", "0", "out_of_stock"),
        ("availability", "17", "in_stock"),
        ("availability", "-2", "out_of_stock"),
        ("condition", "https://schema.org/NewCondition", "new"),
        ("color", "Black/Black/Black", "black"),
        ("color", "Red / White", "red/white"),
        ("color", "schwarz, weiß", "black/white"),
        ("gender", "Women,Men", "unisex"),
        ("gender", "female|Damen", "female"),
        ("size", "2XL", "XXL"),
        ("size", "S/M", "S/M"),
        ("size", "s-m", "S/M"),
        ("size", "O/S", "one_size"),
        ("size", "X-Large", "XL"),
        ("size", "38", "38"),
        ("size", "38,5", "38,5"),
        ("size", "EU 42", "EU 42"),
        ("size", "W32 L34", "W32 L34"),
        ("size", '50" × 60"', '50" × 60"'),
        ("size", "6-9M", "6-9M"),
        ("size", "75B", "75B"),
        ("size", "98-104", "98-104"),
    ],
)
def test_rules(field: str, raw: str, expected: str) -> None:
    normal = normalize(field, raw)
    assert normal is not None
    assert (normal.value, normal.known) == (expected, True)


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        ("color", "Moonlit Leopard"),
        ("color", "Nocturnal"),
        ("color", "Black/Nocturnal"),
        ("size", "MED/LENGTH"),
        ("gender", "dogs"),
        ("age_group", "adult, kids"),
        ("availability", "maybe"),
        ("availability", "1.5"),
    ],
)
def test_unknown_stays_as_it_was(field: str, raw: str) -> None:
    normal = normalize(field, f" {raw} ")
    assert normal is not None
    assert (normal.value, normal.known) == (raw, False)


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        ("color", "See product page"),
        ("size", "Default Title"),
        ("product_type", "Placeholder"),
        ("brand", " N/A "),
        ("material", "null"),
        ("title", "NONE"),
        ("description", "-"),
        ("mpn", "Does not apply"),
        ("color", "нет данных"),
        ("brand", "なし"),
    ],
)
def test_placeholders_are_nothing(field: str, raw: str) -> None:
    assert clean_value(field, raw) is None
    if field in MAPPED_FIELDS:
        assert normalize(field, raw) is None


def test_a_placeholder_of_one_field_is_a_value_of_another() -> None:
    assert clean_value("title", "See product page") == "See product page"
    assert clean_value("description", "Placeholder") == "Placeholder"


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("Women>Dresses", "Women > Dresses"),
        ("Women &gt; Dresses  &gt;  Midi", "Women > Dresses > Midi"),
        ("Women~~Dresses", "Women > Dresses"),
        ("Women » Dresses »", "Women > Dresses"),
        ("Shirts & Tops", "Shirts & Tops"),
        (">", None),
        ("Uncategorized", None),
    ],
)
def test_category_path(raw: str, path: str | None) -> None:
    assert category_path(raw) == path


@pytest.mark.parametrize("raw", ["1-" * 400, "1 " * 19 + "!", "xl" * 4000, "/" * 4000, "9" * 39 + "q"])
def test_hostile_sizes_are_fast(raw: str) -> None:
    started = time.process_time()
    normalize("size", raw)
    normalize("color", raw)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("field", MAPPED_FIELDS)
def test_no_word_is_looked_up_by_nothing(field: str) -> None:
    """A word of signs only would make every such text mean the same."""
    assert "" not in value_map(field)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        # Words that mean nothing elsewhere are an availability.
        ("availability", "Non disponible", "out_of_stock"),
        ("availability", "Nicht verfügbar", "out_of_stock"),
        ("availability", "Brak", "out_of_stock"),
        ("availability", "нет", "out_of_stock"),
        ("availability", "10+", "in_stock"),
        ("availability", "\\N", None),
        ("gender", "Dziewczęca", "female"),
        ("gender", "Мужчинам", "male"),
        ("age_group", "Для детей", "kids"),
        ("condition", "comme neuf", "used"),
        ("color", "Solid Baby Blue Blend", "blue"),
        ("color", "Athletic Heather", "grey"),
        ("color", "noir et blanc", "black/white"),
        ("color", "Schwarz-Weiß", "black/white"),
        ("color", "9001 - BLACK", "black"),
        ("color", "marrone scuro", "brown"),
        ("color", "тёмно-зелёный", "green"),
        ("color", "ライトブルー", "blue"),
        ("color", "Navy-Blue", "navy"),
        ("size", "Taille 38", "38"),
        ("size", "maat 40", "40"),
        ("size", "L (40-42)", "L"),
        ("size", "8 (S)", "8"),
        ("size", "10 lat", "10 lat"),
        ("size", "10.5 US", "10.5 US"),
    ],
)
def test_values_as_shops_write_them(field: str, text: str, value: str | None) -> None:
    found = normalize(field, text)
    assert (found and (found.value, found.known)) == (value and (value, True))


@pytest.mark.parametrize("text", ["Leopard", "Dark Floral", "Light", "001", "Black Leopard", "—"])
def test_a_colour_with_an_unknown_word_stays_as_it_is(text: str) -> None:
    found = normalize("color", text)
    assert found is None or (found.value, found.known) == (text, False)
