"""From the core's reports to what people read in the UI: names, order, tables, pictures."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

Metadata = dict[str, dg.MetadataValue[Any]]


def counts(**numbers: int) -> Metadata:
    """Integer metadata in the order given."""
    return {name: dg.MetadataValue.int(int(number)) for name, number in numbers.items()}


def size(value: object) -> int:
    """A count that an account gives as a number, or as the things counted."""
    return len(value) if isinstance(value, list | tuple | dict) else int(str(value))


def seconds(**numbers: float) -> Metadata:
    """Durations, `seconds` prefixed so that they sort together."""
    return {f"seconds_{name}": dg.MetadataValue.float(round(number, 3)) for name, number in numbers.items()}


def shares(**values: float) -> Metadata:
    """Shares between 0 and 1, to four digits."""
    return {name: dg.MetadataValue.float(round(value, 4)) for name, value in values.items()}


def texts(**values: object) -> Metadata:
    """Short texts; None is left out."""
    return {name: dg.MetadataValue.text(str(value)) for name, value in values.items() if value is not None}


def tally(title: str, items: Mapping[str, int]) -> str:
    """A Markdown table of counts by name, greatest first; feed text in it is escaped."""
    if not items:
        return f"no {title}"
    rows = sorted(items.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"| {title} | count |", "|---|---:|"]
    lines += [f"| {escape(name)} | {count:,} |" for name, count in rows]
    return "\n".join(lines)


def table(records: Iterable[Mapping[Any, Any]]) -> dg.MetadataValue[Any]:
    """Records as a table of the UI, "none" where there are none; what is not a number or text becomes text."""
    plain = (str, int, float, bool)
    records = list(records)
    if not records:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    str(name): value if isinstance(value, plain) else "" if value is None else str(value)
                    for name, value in record.items()
                }
            )
            for record in records
        ]
    )


def readable(name: str) -> str:
    """The name of a figure in words."""
    return name.rpartition("/")[2].replace("_", " ")


def picture(image: tuple[bytes, str] | None, alt: str, *, name: str = "contact_sheet") -> Metadata:
    """A picture that the UI shows behind "Show Markdown"; nothing where there is none."""
    if image is None:
        return {}
    data, mime = image
    source = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    return {name: dg.MetadataValue.md(f"![{escape(alt)}]({source})")}


def link(**addresses: str | None) -> Metadata:
    """Where a click leads: a web address opens, a local path can be copied, other places show as text."""
    told: Metadata = {}
    for name, address in addresses.items():
        if not address:
            continue
        if address.startswith(("http://", "https://")):
            told[name] = dg.MetadataValue.url(address)
        elif address.startswith(("/", "file://")):
            told[name] = dg.MetadataValue.path(address)
        else:
            told[name] = dg.MetadataValue.text(address)
    return told


def escape(value: str) -> str:
    """Text of a feed, harmless in Markdown and HTML."""
    return html.escape(value).replace("|", "\\|").replace("\n", " ")


def arrow_columns(schema: pa.Schema) -> dg.TableSchema:
    """Column schema of an Arrow schema, descriptions from the fields' metadata."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=str(field.type),
                description=(field.metadata or {}).get(b"description", b"").decode(),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def model_columns(columns: Sequence[tuple[str, str, str, bool]]) -> dg.TableSchema:
    """Column schema of a database table: (name, type, comment, nullable) of each column."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=type_,
                description=comment,
                constraints=dg.TableColumnConstraints(nullable=nullable),
            )
            for name, type_, comment, nullable in columns
        ]
    )


def column_schema(schema: dg.TableSchema) -> dict[str, dg.TableSchema]:
    """Definition metadata that shows the columns before the first run."""
    return {"dagster/column_schema": schema}
