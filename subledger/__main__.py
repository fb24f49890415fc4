"""`python -m subledger` is the `subledger` command."""

from subledger.cli.app import main

if __name__ == "__main__":
    main()
