"""Delimited text: dialects, headers, rows that do not fit, quotes that run away."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.readers.delimited import _Rows

OWN = {"fields": {"external_id": "sku", "title": ["name", "titel"], "price": "preis"}}


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_dialects_are_found(feed, delimiter: str, newline: str, last: bool) -> None:
    rows = ["sku,name,preis", '1,"A, ""B""; C | D",10', '2,Inch 25",20']
    text = newline.join(rows).replace("A, ", "A ")
    text = text.replace(",", delimiter) + (newline if last else "")
    result = feed(text, "delimited", mapping=OWN)
    assert result.column("title") == ['A "B"; C | D', 'Inch 25"']
    assert result.column("price") == ["10", "20"]
    assert result.places == ["line 2", "line 3"]
    assert result.report.recoveries == []


def test_values_over_lines_and_blank_lines(feed) -> None:
    result = feed('id,title\n\n1,"two\nlines, here"\n \n2,one\n\n')
    assert result.column("title") == ["two\nlines, here", "one"]
    assert result.places == ["line 3", "line 6"]
    assert result.records == [1, 2]


def test_candidates_first_non_empty_wins(feed) -> None:
    result = feed("sku,titel,name\n1,b,a\n2,b, \n3,,\n", "delimited", mapping=OWN)
    assert result.column("title") == ["a", "b", ""]


def test_vendor_comment_rows_before_the_header(feed) -> None:
    result = feed(
        '"# Required | A unique ID | Max characters: 100","# Required | A title, short"\nid,title\n1,One\n',
        "meta_csv",
    )
    assert result.column("title") == ["One"]
    assert result.report.context == {"comment": 1}
    assert (result.report.records, result.records, result.places) == (2, [2], ["line 3"])


def test_meta_nested_fields(feed) -> None:
    result = feed(
        'id,title,"image[0].url","image[1].url","image[2].url"\n1,One,https://x/0,https://x/1,https://x/2\n',
        "meta_csv",
    )
    assert result.items[0]["image_url"] == "https://x/0"
    assert result.items[0]["additional_image_urls"] == ["https://x/1", "https://x/2"]


def test_header_names_in_any_style(feed) -> None:
    result = feed("g:ID,Title ,image link,Item-Group-ID\n1,One,https://x/1,g1\n")
    assert result.items == [
        {"external_id": "1", "title": "One", "image_url": "https://x/1", "item_group_id": "g1"}
    ]


def test_short_rows_are_padded_and_counted(feed) -> None:
    result = feed("id,title,color,size\n1,One\n2,Two,red,M\n3,Three,blue")
    assert result.column("size") == ["", "M", ""]
    assert result.recovery("short rows padded") == 2
    assert result.report.recoveries[0].places == ("line 2", "line 4")


def test_a_short_last_row_without_end_of_line_is_a_cut_file(feed) -> None:
    with pytest.raises(FeedError, match=r"line 3: the last row has 2 of 4 cells.*truncated"):
        feed("id,title,color,size\n1,One,red,M\n2,Tw")


def test_long_rows_cost_themselves(feed) -> None:
    result = feed("id,title\n1,One\n2,Two,too,much\n3,Three,,\n4,Four\n")
    assert result.column("external_id") == ["1", "3", "4"]
    assert result.records == [1, 3, 4]
    [broken] = result.broken
    assert (broken.record, broken.place) == (2, "line 3")
    assert "4 cells where the header has 2" in broken.reason
    assert "2,Two,too,much" in broken.raw


def test_a_stray_quote_costs_nothing_where_the_line_reads_well_without(feed) -> None:
    result = feed('id\ttitle\n1\t"unclosed\n2\tplain\n3\t"fine"\n4\tlast\n', "google_tsv")
    assert result.column("title") == ['"unclosed', "plain", "fine", "last"]
    assert result.column("external_id") == ["1", "2", "3", "4"]
    assert result.places == ["line 2", "line 3", "line 4", "line 5"]
    assert result.recovery("stray quotes") == 1


def test_a_stray_quote_in_a_long_file(feed) -> None:
    rows = "".join(f"{n},plain {n}\n" for n in range(2, 6_000))
    result = feed('id,title\n1,"unclosed\n' + rows)
    assert len(result.items) == 5_999
    assert result.items[0]["title"] == '"unclosed'
    assert result.places[-1] == "line 6000"


def test_a_stray_quote_in_a_broken_row_costs_that_row(feed) -> None:
    result = feed('id,title,size\n1,a,"b,c,d\n2,plain,M\n3,plain,L\n')
    assert result.column("external_id") == ["2", "3"]
    assert [b.place for b in result.broken] == ["line 2"]


def test_cut_inside_of_a_quoted_value(feed) -> None:
    with pytest.raises(FeedError, match=r"line 3: a quoted value does not end.*truncated"):
        feed('id,title,size\n1,One,M\n2,"Two and then\nsome')


def test_too_many_stray_quotes(feed) -> None:
    rows = "".join(f'{n}\t"open {n}\tx\n{n}\tplain\tx\n' for n in range(1_200))
    with pytest.raises(FeedError, match="quoting: false"):
        feed("id\ttitle\tsize\n" + rows, "google_tsv")
    result = feed("id\ttitle\tsize\n" + rows, "google_tsv", mapping={"quoting": False})
    assert len(result.items) == 2_400
    assert result.items[0]["title"] == '"open 0'


def test_constants_values_and_minor_units(feed) -> None:
    result = feed(
        "sku,name,preis,stock\n1,One,1290,Y\n2,Two,,x\n",
        "delimited",
        mapping={
            "fields": {**OWN["fields"], "availability": "stock"},
            "constants": {"currency": "EUR", "price": "99"},
            "values": {"availability": {"y": "in_stock"}},
            "price_unit": "minor",
        },
    )
    assert result.column("availability") == ["in_stock", "x"]
    assert result.column("currency") == ["EUR", "EUR"]
    assert result.column("price") == ["1290", "99"]
    assert result.column("currency_minor_unit") == ["iso", "iso"]


def test_awin_prices_are_a_pair(feed) -> None:
    result = feed(
        "aw_product_id,product_name,search_price,rrp_price\n"
        "1,a,80.00,100.00\n2,b,80.00,80.00\n3,c,80.00,0.00\n4,d,80.00,\n5,e,,100.00\n6,f,ab,100\n",
        "awin",
    )
    assert result.column("price") == ["100.00", "80.00", "80.00", "80.00", "100.00", "ab"]
    assert result.column("sale_price") == ["80.00", None, None, None, None, None]


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("", []),
        (" https://x/a.jpg ", ["https://x/a.jpg"]),
        ("https://x/a.jpg,https://x/b.jpg", ["https://x/a.jpg", "https://x/b.jpg"]),
        ("https://x/a.jpg; https://x/b.jpg | //x/c.jpg", ["https://x/a.jpg", "https://x/b.jpg", "//x/c.jpg"]),
        ("https://x/w_1,h_2/a.jpg,https://x/a b.jpg", ["https://x/w_1,h_2/a.jpg", "https://x/a b.jpg"]),
        ("https://x/a.jpg,https://x/a.jpg", ["https://x/a.jpg"]),
        ("a.jpg, b.jpg", ["a.jpg", "b.jpg"]),
    ],
)
def test_image_lists(feed, value: str, urls: list[str]) -> None:
    result = feed(f'id,title,additional_image_link\n1,One,"{value}"\n')
    assert result.column("additional_image_urls") == [urls]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("sku,name\n1,One\n", "needs columns for external_id .id.; title .title.; found: sku, name"),
        ("id,title\n", "0 products"),
        ("id,title\n1,2,3\n", "0 products .1 broken records, the first at line 2: 3 cells"),
        ("<rss/>", "looks like XML"),
        ('{"a": 1}', "looks like a JSON object"),
        ("id,title," + ",".join(f"c{n}" for n in range(100_000)) + "\n1,2\n", "100,002 columns"),
        ("id,title\n1," + "x" * 10_000_000 + "\n", "a line of more than"),
        ("\x00\x01\x02" * 500, "binary data"),
        ("PAR1" + "x" * 50, "a Parquet file"),
    ],
)
def test_refused(feed, data: str, words: str) -> None:
    with pytest.raises(FeedError, match=f"^store 'shop': .*{words}"):
        feed(data)


def test_refused_with_the_delimiter_that_is_there(feed) -> None:
    with pytest.raises(FeedError, match=r"between '\\t', but the first line is separated by ';'"):
        feed("id;title\n1;One\n", "google_tsv")


def test_a_value_of_some_million_characters_costs_its_row(feed) -> None:
    result = feed("id,title\n1," + "x" * 2_000_000 + "\n2," + '"' + "y" * 2_000_000 + '"\n3,fine\n')
    assert result.column("title") == ["fine"]
    assert [b.place for b in result.broken] == ["line 2", "line 3"]
    assert all(len(b.raw) < 11_000 for b in result.broken)


def test_an_empty_delta_is_no_error(feed) -> None:
    assert feed("id,title\n", mode="delta").items == []


def test_raw_is_the_row(feed) -> None:
    result = feed('id,title,extra\n1,"One ""x""",é\n')
    assert result.raws == ['{"id": "1", "title": "One \\"x\\"", "extra": "é"}']


PIECES = [
    *("a", "é", "日本", '5"', '"', '""', ",", "\n", "\r\n", "\r", " ", "\x00", "\x0b", "\u2028", ";", "'"),
    *('"q"', '"a,b"', '"l1\nl2"', '"l1\r\nl2"', "NULL", "12.50 EUR", "https://a.example/x"),
]
CELLS = st.one_of(
    st.sampled_from(["a", "é", "", "12.50 EUR"]), st.lists(st.sampled_from(PIECES), max_size=3).map("".join)
)
ROWS = st.lists(
    st.tuples(st.one_of(st.just(4), st.integers(1, 6)), st.lists(CELLS, min_size=6, max_size=6)), max_size=8
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, newline=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_blocks_of_rows_read_like_rows_one_by_one(feed, monkeypatch, rows, newline: str, last: bool) -> None:
    text = "id,title,price,link\n" + newline.join(",".join(cells[:width]) for width, cells in rows)
    text += newline if last else ""

    def told() -> object:
        try:
            result = feed(text)
        except FeedError as error:
            return str(error)
        report = result.report
        account = (report.records, report.yielding, report.items, report.broken, report.recoveries)
        return result.items, result.places, result.records, result.broken, result.raws, account

    whole = told()
    with monkeypatch.context() as patch:
        patch.setattr(_Rows, "_take_plain", lambda self, block: False)
        patch.setattr(_Rows, "_take_well_formed", lambda self, lines: 0)
        assert told() == whole


@pytest.mark.parametrize(
    ("row", "title"),
    [
        (r'"1","Dress \"A\", red","5 EUR"', 'Dress "A", red'),
        (r'"1","Jeans 32\"","5 EUR"', 'Jeans 32"'),
        (r'"1","a \"b\" c","5 EUR"', 'a "b" c'),
        ('"1","ends with a \\","5 EUR"', "ends with a \\"),
    ],
)
def test_quotes_that_are_escaped_by_backslashes(feed, row: str, title: str) -> None:
    result = feed(f'"id","title","price"\n{row}\n"2","B","6 EUR"\n')
    assert (result.column("title"), result.column("price")) == ([title, "B"], ["5 EUR", "6 EUR"])
    assert result.recovery("backslashes") == ("\\" not in title)
