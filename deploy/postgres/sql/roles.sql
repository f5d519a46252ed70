-- Run as a superuser on the server's first database. psql variables: migrate, write, read, dagster (passwords).
CREATE ROLE fashion_migrate LOGIN PASSWORD :'migrate';
CREATE ROLE fashion_write LOGIN PASSWORD :'write';
CREATE ROLE fashion_read LOGIN PASSWORD :'read';
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE DATABASE fashion OWNER fashion_migrate;
CREATE DATABASE dagster OWNER dagster;
REVOKE CONNECT, TEMPORARY ON DATABASE fashion FROM PUBLIC;
REVOKE CONNECT, TEMPORARY ON DATABASE dagster FROM PUBLIC;
-- Applying a snapshot goes through temporary tables.
GRANT CONNECT, TEMPORARY ON DATABASE fashion TO fashion_write;
GRANT CONNECT ON DATABASE fashion TO fashion_read;
