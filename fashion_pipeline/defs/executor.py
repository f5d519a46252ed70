"""How a run is executed: its steps one after the other in one process, which keeps its connections."""

import dagster as dg

from fashion_pipeline.catalog.engine import close_connections_at_exit

#: Connections are renewed after these seconds, as a database or a proxy in front of it may expect.
_RENEWED = 300


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Have this process keep its connections to Dagster's PostgreSQL.

    `dagster-postgres` opens one for each thing that it writes or reads, about 250 in a run of the line and 5 ms each;
    the call is the one by which its webserver keeps them. Storages that need none ignore it. They are closed when
    the process ends, before an embedded server is asked whether somebody still uses it.
    """
    close_connections_at_exit()
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=_RENEWED, max_overflow=-1)


@dg.executor(name="in_process", config_schema=dg.in_process_executor.config_schema)  # type: ignore[call-overload,untyped-decorator] # an object that its types do not name
def one_process(init_context: dg.InitExecutorContext) -> dg.Executor:
    """All steps in the process of the run: one per step would import everything and load the model anew each time."""
    keep_connections(init_context.instance)
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return create(init_context)
