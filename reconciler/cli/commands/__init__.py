"""One file a command: parse, call an operation, show."""
