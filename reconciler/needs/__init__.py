"""How many bytes a model needs on this fleet, and how we know: declared, measured, computed, file size, catalogue. Pure."""
