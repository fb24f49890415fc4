"""The database: connections, migrations, and every statement that is sent to it."""
