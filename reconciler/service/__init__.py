"""The loop that keeps a fleet as it should be: looks, tells what changed, and applies where it is told to. Prints nothing."""
