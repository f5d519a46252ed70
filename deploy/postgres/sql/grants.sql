-- Run as a superuser on the database of our tables, before the first migration.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO fashion_migrate;
GRANT USAGE ON SCHEMA public TO fashion_write, fashion_read;
-- What fashion_migrate makes from now on: the line writes rows and makes no table; a ranking service reads.
ALTER DEFAULT PRIVILEGES FOR ROLE fashion_migrate IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO fashion_write;
ALTER DEFAULT PRIVILEGES FOR ROLE fashion_migrate IN SCHEMA public
    GRANT SELECT ON TABLES TO fashion_read;
ALTER DEFAULT PRIVILEGES FOR ROLE fashion_migrate IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO fashion_write;
