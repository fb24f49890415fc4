"""What the web process and the worker both need to start."""
