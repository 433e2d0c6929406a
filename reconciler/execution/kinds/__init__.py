"""One folder for each kind of resource: how its steps are carried out."""
