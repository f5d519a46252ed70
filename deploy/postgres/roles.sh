#!/bin/sh
# Two databases and four roles, once, when the server's data folder is made. Each role may do what its work needs:
# fashion_migrate owns the tables, fashion_write changes rows, fashion_read reads them, dagster has its own database.
set -eu
psql -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" \
    -v migrate="$MIGRATE_PASSWORD" -v write="$WRITE_PASSWORD" -v read="$READ_PASSWORD" -v dagster="$DAGSTER_PASSWORD" \
    -f "${ROLES_SQL:-/docker-entrypoint-initdb.d/sql/roles.sql}"
psql -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d fashion \
    -f "${GRANTS_SQL:-/docker-entrypoint-initdb.d/sql/grants.sql}"
