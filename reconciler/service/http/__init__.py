"""The HTTP API over one loop, with its metrics and its page. Imported only where it is served."""
