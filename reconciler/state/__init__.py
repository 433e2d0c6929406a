"""The store: what was applied, what is owned, what was measured, who holds the lease."""
