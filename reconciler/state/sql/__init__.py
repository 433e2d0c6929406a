"""A store in SQL that SQLite and PostgreSQL both speak: rows, entries, reading and writing. What differs is in the rooms beside it."""
