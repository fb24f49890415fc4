"""The console: pages for people who operate Subledger, rendered here and shown by any browser."""
