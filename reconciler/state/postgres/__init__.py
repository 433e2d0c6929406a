"""A state in PostgreSQL: a schema for each fleet of a database. Needs the extra `postgres`."""
