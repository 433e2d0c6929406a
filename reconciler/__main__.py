"""`python -m reconciler` is `gpurec`."""

from reconciler.cli.main import main

if __name__ == "__main__":
    main()
