"""`python -m cli` is the `subledger` command."""

from cli.app import main

if __name__ == "__main__":
    main()
