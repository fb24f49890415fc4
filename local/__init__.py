"""What starts on this machine: embedded servers, and the whole system of `make up`."""
