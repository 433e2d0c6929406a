"""The kinds of resources that a plan is about, one folder each. Pure."""
