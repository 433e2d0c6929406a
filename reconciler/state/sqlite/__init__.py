"""The state in one SQLite file; what above it is told of is the protocol, and the files that only it has."""
