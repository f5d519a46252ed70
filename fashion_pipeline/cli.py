"""`fashion-pipeline`: commands for people. Heavy imports happen inside the command that needs them."""

import logging
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from fashion_pipeline.commands.index_app import index
from fashion_pipeline.errors import FashionPipelineError
from fashion_pipeline.logs import formatter
from fashion_pipeline.settings import load_settings

app = typer.Typer(
    help="Product feeds of fashion stores, as clean PostgreSQL rows and FashionSigLIP vectors in Qdrant.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    query: Annotated[str, typer.Option(help="what to search for at the end")] = "red striped dress",
) -> None:
    """Run the whole line on embedded parts: two days of all demo stores, then a search."""
    from fashion_pipeline.commands.demo import run_demo

    raise typer.Exit(run_demo(load_settings(), query))


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="0 takes a free one")] = 0,
    host: Annotated[str, typer.Option(help="loopback: the UI has no login")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI on this data folder, until Ctrl-C."""
    from fashion_pipeline.commands.dev import run_dev

    raise typer.Exit(run_dev(load_settings(), host, port))


@app.command()
def doctor() -> None:
    """Say for every part what is used, whether it answers, and what to do if not."""
    from fashion_pipeline.commands.doctor import run_doctor

    raise typer.Exit(run_doctor(load_settings()))


@app.command()
def migrate() -> None:
    """Bring the tables to the newest migration."""
    from fashion_pipeline.catalog.migrate import migrate as upgrade
    from fashion_pipeline.home import project_root
    from fashion_pipeline.parts import open_database

    database = open_database(load_settings())
    database.ping()
    before = upgrade(database, project_root() / "alembic.ini")
    if before.up_to_date:
        print(f"the tables are at revision {before.newest}: nothing to do")
    else:
        print(f"the tables went from revision {before.current or 'nothing'} to {before.newest}")


@app.command()
def pools() -> None:
    """Set how many steps at once encode, write points, and fetch, in Dagster's database."""
    from fashion_pipeline.commands.pools import run_pools

    raise typer.Exit(run_pools(load_settings()))


@app.command()
def retire(
    store: Annotated[str, typer.Argument(help="a store that is `retired` in feeds.yaml")],
    apply: Annotated[bool, typer.Option(help="do it; without it this is a preview")] = False,
) -> None:
    """Make a retired store's products tombstones and delete its points, after a preview."""
    from fashion_pipeline.commands.retire import run_retire

    raise typer.Exit(run_retire(load_settings(), store, apply=apply))


@app.command()
def prune(
    keep_days: Annotated[int, typer.Option(min=1, help="what is younger stays")],
    delete: Annotated[bool, typer.Option(help="remove it; without it nothing changes")] = False,
) -> None:
    """Find feeds, rejected items, pictures and vectors that are older than so many days and not needed."""
    from fashion_pipeline.commands.prune import run_prune

    raise typer.Exit(run_prune(load_settings(), keep_days, delete=delete))


@app.command()
def backfill(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="first day")],
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="last day; the first one if not given"),
    ] = None,
    store: Annotated[list[str] | None, typer.Option(help="only these stores, not every active one")] = None,
    asset: Annotated[list[str] | None, typer.Option(help="only these assets, not the whole line")] = None,
    priority: Annotated[int, typer.Option(help="below 0: behind the day's own runs")] = -1,
    ui: Annotated[str | None, typer.Option(help="address of the Dagster UI")] = None,
) -> None:
    """Ask the running Dagster for a run of the line, or of some assets, for each store and day."""
    from fashion_pipeline.commands.backfill import BackfillRequest, run_backfill

    settings = load_settings()
    request = BackfillRequest(
        stores=tuple(store or ()),
        first=first.date(),
        last=(last or first).date(),
        assets=tuple(asset or ()),
        priority=str(priority),
    )
    raise typer.Exit(run_backfill(settings, request, ui or settings.ui_url))


@app.command()
def down(
    delete: Annotated[bool, typer.Option(help="remove its files too: products, ledgers, runs")] = False,
) -> None:
    """Stop the embedded PostgreSQL of this data folder."""
    from fashion_pipeline.parts import embedded_postgres

    settings = load_settings()
    if not settings.embedded:
        print("the profile is not `embedded`: there is nothing of ours to stop")
        return
    server = embedded_postgres(settings)
    print("stopped" if server.stop() else "the embedded PostgreSQL was not running")
    if delete:
        server.delete()
        print("its files are removed")


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="what to look for, in words")] = None,
    like: Annotated[
        list[str] | None, typer.Option(help="id of a product to find the like of; several make a taste")
    ] = None,
    unlike: Annotated[list[str] | None, typer.Option(help="id of a product that the taste dislikes")] = None,
    image: Annotated[Path | None, typer.Option(help="a picture to find the like of")] = None,
    store: Annotated[list[str] | None, typer.Option(help="only these stores")] = None,
    brand: Annotated[str | None, typer.Option(help="only this brand")] = None,
    category: Annotated[str | None, typer.Option(help="only this category, or a level of it")] = None,
    color: Annotated[str | None, typer.Option(help="only this colour")] = None,
    gender: Annotated[str | None, typer.Option(help="only for female, male or unisex")] = None,
    availability: Annotated[
        str | None, typer.Option(help="only in_stock, out_of_stock, preorder, backorder")
    ] = None,
    price_min: Annotated[float | None, typer.Option(help="in major units; give --currency too")] = None,
    price_max: Annotated[float | None, typer.Option(help="in major units; give --currency too")] = None,
    currency: Annotated[str | None, typer.Option(help="only prices in this ISO 4217 code")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table")] = False,
    out: Annotated[Path | None, typer.Option(help="write a contact sheet: FILE.png or FILE.html")] = None,
) -> None:
    """Search the serving collection by words, by a product or by a picture."""
    from fashion_pipeline.commands.search import SearchRequest, run_search

    request = SearchRequest(
        text=text,
        like=tuple(like or ()),
        unlike=tuple(unlike or ()),
        image=image,
        stores=tuple(store or ()),
        brand=brand,
        category=category,
        color=color,
        gender=gender,
        availability=availability,
        price_min=price_min,
        price_max=price_max,
        currency=currency,
        limit=limit,
    )
    raise typer.Exit(run_search(load_settings(), request, as_json=as_json, out=out))


@app.command()
def rejected(
    store: Annotated[str, typer.Option(help="store in feeds.yaml")],
    day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="day of the snapshot")],
    reason: Annotated[str | None, typer.Option(help="only items with this reason")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
) -> None:
    """Show the items of a store's day that were rejected, with place, reasons and raw content."""
    from fashion_pipeline.commands.rejected import show_rejected

    raise typer.Exit(show_rejected(load_settings(), store, day.date(), reason, limit))


app.add_typer(index, name="index")

feeds = typer.Typer(help="What stores send.", no_args_is_help=True)
app.add_typer(feeds, name="feeds")


@feeds.command("check")
def check_feed(
    source: Annotated[str, typer.Argument(metavar="FILE_OR_URL", help="the feed, as it is or packed")],
    format_name: Annotated[str | None, typer.Option("--format", help="its kind, where it is known")] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code for prices that name none")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="the shop's address, for feeds with handles only")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="for bytes that are no UTF-8 and name none: cp1252, shift_jis, ...")
    ] = None,
    supplement: Annotated[
        bool, typer.Option("--supplement", help="a file of ids and a few columns, joined to a feed")
    ] = False,
) -> None:
    """Profile a feed before it is added: its kind, its columns, what would be rejected, and the entry to paste."""
    from fashion_pipeline.commands.feeds_check import CheckRequest, run_feeds_check

    request = CheckRequest(source, format_name, currency, base_url, encoding, supplement)
    raise typer.Exit(run_feeds_check(load_settings(), request))


@feeds.command("skip")
def skip_feed(
    store: Annotated[str, typer.Option(help="store in feeds.yaml")],
    day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="day that stays unreadable")],
    reason: Annotated[str, typer.Option(help="why; it is kept with the snapshot")],
) -> None:
    """Give up a captured day that cannot be applied, so that later deltas need not wait for it."""
    from fashion_pipeline.commands.feeds_skip import run_feeds_skip

    raise typer.Exit(run_feeds_skip(load_settings(), store, day.date(), reason))


images = typer.Typer(help="The pictures.", no_args_is_help=True)
app.add_typer(images, name="images")


@images.command("retry")
def retry_images(
    store: Annotated[str, typer.Option(help="store in feeds.yaml")],
    error: Annotated[list[str] | None, typer.Option(help="only these classes, http_404 for one")] = None,
) -> None:
    """Have a store's failed pictures asked for again, those with a lasting failure included."""
    from fashion_pipeline.commands.images import run_retry

    raise typer.Exit(run_retry(load_settings(), store, tuple(error or ())))


@images.command("verify")
def verify_images(
    sample: Annotated[int, typer.Option(min=1, help="so many, drawn by chance")] = 1000,
    every: Annotated[bool, typer.Option("--all", help="all of them")] = False,
    repair: Annotated[bool, typer.Option(help="have what is damaged or missing fetched anew")] = False,
    repair_many: Annotated[bool, typer.Option(help="with --repair: more than a tenth of them, too")] = False,
) -> None:
    """Re-hash stored pictures; exit code 1 where one is damaged or missing."""
    from fashion_pipeline.commands.images import run_verify

    raise typer.Exit(
        run_verify(load_settings(), None if every else sample, repair=repair, repair_many=repair_many)
    )


@images.command("gc")
def collect_images(
    older_than_days: Annotated[float, typer.Option(min=1, help="a run under way is younger")] = 7,
    delete: Annotated[bool, typer.Option(help="remove them; without it nothing changes")] = False,
    delete_many: Annotated[bool, typer.Option(help="with --delete: more than a tenth of all, too")] = False,
) -> None:
    """Find files of pictures that nothing names any more."""
    from fashion_pipeline.commands.images import run_garbage

    raise typer.Exit(run_garbage(load_settings(), older_than_days, delete=delete, delete_many=delete_many))


@images.command("sheet")
def show_images(
    store: Annotated[str, typer.Option(help="store in feeds.yaml")],
    out: Annotated[Path, typer.Option(help="FILE.png, or of another kind that Pillow writes")],
    limit: Annotated[int, typer.Option(min=1, max=400)] = 40,
) -> None:
    """Write a store's newest pictures as one contact sheet."""
    from fashion_pipeline.commands.images import run_sheet

    raise typer.Exit(run_sheet(load_settings(), store, out, limit))


model = typer.Typer(help="The embedding model.", no_args_is_help=True)
app.add_typer(model, name="model")


@model.command()
def check() -> None:
    """Load the model of the settings, embed a built-in picture and text, and say what it is."""
    from fashion_pipeline.commands.model import check_model

    raise typer.Exit(check_model(load_settings()))


@model.command()
def pull(
    folder: Annotated[Path, typer.Argument(help="where the model's folder is made")],
    repo: Annotated[str, typer.Option(help="repository of weights and config")] = "Marqo/marqo-fashionSigLIP",
    revision: Annotated[
        str, typer.Option(help="branch, tag or commit, where no lock file pins one")
    ] = "main",
    lock: Annotated[Path | None, typer.Option(help="lock file of a pulled folder: the same bytes")] = None,
) -> None:
    """Download weights, config and tokenizer into a folder, check every digest, pin them in a lock file."""
    from fashion_pipeline.commands.model import pull as pull_model

    raise typer.Exit(pull_model(folder, repo=repo, revision=revision, lock=lock))


@model.command()
def keep(
    photos: Annotated[Path | None, typer.Option(help="JPEGs to measure draft decoding on")] = None,
) -> None:
    """Keep golden vectors and the measure of draft decoding with the folder of the settings' model."""
    from fashion_pipeline.commands.model import keep as keep_model

    raise typer.Exit(keep_model(load_settings(), photos))


embeddings = typer.Typer(help="The stored vectors.", no_args_is_help=True)
app.add_typer(embeddings, name="embeddings")


@embeddings.command()
def verify(
    sample: Annotated[int, typer.Option(min=1, help="vectors to look at")] = 256,
    seed: Annotated[int, typer.Option(help="another seed, another sample")] = 0,
    candidate: Annotated[bool, typer.Option(help="of the settings' model, not of the serving one")] = False,
    repair: Annotated[bool, typer.Option(help="have wrong vectors embedded anew")] = False,
    repair_many: Annotated[
        bool, typer.Option(help="with --repair: more than a tenth of the sample, too")
    ] = False,
) -> None:
    """Embed a sample of pictures anew in fp32 and compare; exit code 1 where a vector is wrong."""
    from fashion_pipeline.commands.embeddings import run_verify

    raise typer.Exit(
        run_verify(
            load_settings(),
            sample=sample,
            seed=seed,
            candidate=candidate,
            repair=repair,
            repair_many=repair_many,
        )
    )


@embeddings.command()
def compact(
    rows: Annotated[int, typer.Option(min=2, help="vectors of a merged shard")] = 100_000,
) -> None:
    """Merge small shards; the old files stay until they are collected."""
    from fashion_pipeline.commands.embeddings import run_compact

    raise typer.Exit(run_compact(load_settings(), rows=rows))


@embeddings.command()
def collect(
    hours: Annotated[float, typer.Option(min=0, help="for how long no row may have named a file")] = 24.0,
    remove: Annotated[bool, typer.Option(help="remove them; without it they are only counted")] = False,
) -> None:
    """Find shard files that no row names: merged ones, and what killed runs left."""
    from fashion_pipeline.commands.embeddings import run_collect

    raise typer.Exit(run_collect(load_settings(), hours=hours, remove=remove))


def main() -> None:
    """The console script: our own errors are one line and exit code 1."""
    handler = logging.StreamHandler()
    # Dagster lowers the level of our loggers for its own log; the terminal shows what needs a person.
    handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler])
    # As an exit, so that what this process started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        handler.setFormatter(formatter(load_settings().log_format))
        app()
    except FashionPipelineError as error:
        sys.exit(f"fashion-pipeline: {error}")


if __name__ == "__main__":
    main()
