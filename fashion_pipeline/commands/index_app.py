"""`fashion-pipeline index ...`: what it takes; heavy imports happen inside the command that needs them."""

from typing import Annotated

import typer

from fashion_pipeline.settings import load_settings

index = typer.Typer(help="The Qdrant collection.", no_args_is_help=True)


@index.command()
def reconcile(
    repair: Annotated[bool, typer.Option(help="mend what differs")] = False,
    store: Annotated[list[str] | None, typer.Option(help="only these stores")] = None,
    collection: Annotated[str | None, typer.Option(help="another one than the serving one")] = None,
    remove_many: Annotated[bool, typer.Option(help="remove more than a tenth of the points")] = False,
) -> None:
    """Compare the serving collection with PostgreSQL, id by id; exit code 1 where they differ."""
    from fashion_pipeline.commands.reconcile import run_reconcile

    raise typer.Exit(
        run_reconcile(
            load_settings(),
            tuple(store or ()),
            repair=repair,
            collection=collection,
            remove_many=remove_many,
        )
    )


@index.command()
def collections() -> None:
    """Show every collection of the alias: which serves, since when, how complete, and which may be deleted."""
    from fashion_pipeline.commands.index import show_collections

    raise typer.Exit(show_collections(load_settings()))


@index.command()
def fill(
    store: Annotated[list[str] | None, typer.Option(help="only these stores")] = None,
    max_pictures: Annotated[
        int, typer.Option(min=0, help="embed at most so many for a store")
    ] = 1_000_000_000,
) -> None:
    """Fill the candidate that the settings name; exit code 1 where pictures are left for another run."""
    from fashion_pipeline.commands.index import fill as fill_stores

    raise typer.Exit(fill_stores(load_settings(), tuple(store or ()), max_pictures))


@index.command()
def promote(
    margin: Annotated[float, typer.Option(min=0.0, max=1.0, help="recall@10 that it may lose")] = 0.01,
) -> None:
    """Point the alias at the candidate once it is complete, reconciled, green and finds as well."""
    from fashion_pipeline.commands.index import promote_candidate

    raise typer.Exit(promote_candidate(load_settings(), margin))


@index.command()
def rollback() -> None:
    """Point the alias back at the collection that served before."""
    from fashion_pipeline.commands.index import roll_back

    raise typer.Exit(roll_back(load_settings()))


@index.command()
def rebuild() -> None:
    """Make a new collection from the vector shards and PostgreSQL, without the model, and move the alias to it."""
    from fashion_pipeline.commands.index import rebuild_collection

    raise typer.Exit(rebuild_collection(load_settings()))


@index.command()
def delete(
    name: Annotated[
        str, typer.Argument(help="a collection that `index collections` shows and that does not serve")
    ],
) -> None:
    """Drop a collection that does not serve, and its ledger."""
    from fashion_pipeline.commands.index import delete as delete_one

    raise typer.Exit(delete_one(load_settings(), name))
