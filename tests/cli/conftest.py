"""Which files of this directory are for this machine."""

import os

# What only root needs is not to be had by others.
collect_ignore = [] if os.geteuid() == 0 else ["test_servers_as_root.py"]
