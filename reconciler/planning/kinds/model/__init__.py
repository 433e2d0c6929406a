"""A model on an engine: what it is to be, how it differs, and what is done about it. Pure."""
