"""What gpurec does, for any caller: load, look, plan, check a saved plan, apply, drift."""
