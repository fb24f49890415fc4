"""What is started on this machine: embedded servers, and the whole system of `make up`."""
