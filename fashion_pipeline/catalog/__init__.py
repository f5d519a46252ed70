"""PostgreSQL: models, engine, the embedded server, applying a snapshot, ledgers."""
