"""What a customer waits for: apply, confirm, derive."""
