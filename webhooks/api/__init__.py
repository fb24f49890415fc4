"""The customers API: for the services that own the customers."""
