"""`python -m subledger` is the `subledger` command."""

from subledger.cli import main

if __name__ == "__main__":
    main()
