"""The schema of a database as text, by pg_dump."""

import os
import re
import subprocess
from urllib.parse import urlsplit, urlunsplit

from db.migrate import MIGRATIONS_TABLE
from local.postgres import postgres_program


def schema_of(database_url: str) -> str:
    """The schema of a migrated database as SQL, the same text whenever it is the same schema."""
    url = urlsplit(database_url)
    # The password goes by the environment: arguments can be seen by every account of the machine.
    environment = os.environ | ({"PGPASSWORD": url.password} if url.password else {})
    without_password = urlunsplit(url._replace(netloc=url.netloc.replace(f":{url.password}@", "@")))
    arguments = ["--schema-only", "--no-owner", f"--exclude-table={MIGRATIONS_TABLE}"]
    dumped = subprocess.run(
        [str(postgres_program("pg_dump")), *arguments, f"--dbname={without_password}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [
        line
        for line in dumped.splitlines()
        if not re.match(r"--|SET |\\|SELECT pg_catalog\.set_config", line)
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
