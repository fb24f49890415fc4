"""The one command, `subledger`, and what it starts on this machine."""
