"""Carries out the steps of models: acts on engines, waits for them, records what was seen."""
