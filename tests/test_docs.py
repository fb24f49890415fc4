"""The pages are true: the names in them exist, the queries run, the links lead somewhere."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import opentelemetry.environment_variables
import opentelemetry.sdk.environment_variables
import pytest
import typer.main
from starlette.routing import Route

from billing.kinds.lists import THROUGH
from billing.kinds.registry import KINDS
from cli.app import app
from db.connection import Pool
from runtime.limits import OPERATION
from runtime.settings import SECRETS, Settings
from sandbox import STORIES
from tests.places import ROOMS, ROOT
from webhooks.app import create_app
from worker.lists import steps

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text()
LIMITS = README[README.index("## Limits") : README.index("## Benchmarks")]
VARIABLES = frozenset(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
SOURCE = "\n".join(path.read_text() for room in ROOMS for path in room.rglob("*.py"))
CONSTANTS = frozenset(re.findall(r"^([A-Z][A-Z_]+)(?:: .+)? = ", SOURCE, re.MULTILINE))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(params=PAGES, ids=named)
def page(request: pytest.FixtureRequest) -> Path:
    """Each page in turn."""
    path: Path = request.param
    return path


def claims(page: Path) -> str:
    """What the page says exists: everything but the README's Limits, which name what does not."""
    return page.read_text().replace(LIMITS, "")


def code_of(text: str) -> Iterator[str]:
    """The code of a page: fenced blocks and words in backquotes."""
    yield from re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def commands_in(text: str) -> set[tuple[str, ...]]:
    """Our commands in a page's code: (command,) or (group, command)."""
    found: set[tuple[str, ...]] = set()
    for code in code_of(text):
        for first, second in re.findall(r"(?<![\w./-])subledger ([a-z]+)(?: ([a-z]+))?", code):
            found.add((first, second) if first == "events" and second else (first,))
    return found


def known_commands() -> set[tuple[str, ...]]:
    """The commands that exist."""
    root = typer.main.get_command(app)
    known: set[tuple[str, ...]] = set()
    for name, command in getattr(root, "commands", {}).items():
        known.add((name,))
        known |= {(name, inner) for inner in getattr(command.load(), "commands", {})}
    return known


def known_routes() -> set[str]:
    """The paths that the web process serves."""
    settings = Settings(
        database_url="postgresql://h/d", redis_url="redis://h", stripe_webhook_secrets=("whsec_docs",)
    )
    return {route.path for route in create_app(settings).routes if isinstance(route, Route)}


def test_make_targets_exist(page: Path) -> None:
    """Every `make` command in a page has a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = {
        name for code in code_of(claims(page)) for name in re.findall(r"(?:^|\n|\s)make ([a-z]+)", f" {code}")
    }
    assert set() == said - targets


def test_commands_exist(page: Path) -> None:
    """Every command that a page names is one of `subledger --help`."""
    assert set() == commands_in(claims(page)) - known_commands()


def test_readme_names_every_command() -> None:
    """The README names every command: nobody finds one that it leaves out."""
    said = commands_in(README) | {("up",)}  # `make up` runs it
    assert {name for name in known_commands() if len(name) == 1} <= {name[:1] for name in said}


def test_limits_are_true() -> None:
    """What the README says is missing is missing: building it means removing the sentence."""
    assert 10 < LIMITS.count("\n* **")
    assert set() == commands_in(LIMITS) & known_commands()
    paths = {path for code in code_of(LIMITS) for path in re.findall(r"^(/[a-z]+)$", code)}
    assert set() == {path for path in paths for route in known_routes() if route.startswith(path)}


def test_routes_exist(page: Path) -> None:
    """Every route that a page names with its method is served."""
    shapes = {re.sub(r"\{[^}]+\}", "{}", route) for route in known_routes()}
    said = {
        re.sub(r"\{[^}]+\}|cus_[\w.]+", "{}", path)
        for code in code_of(claims(page))
        for path in re.findall(r"(?:POST|GET) (/[^?\s]+)", code)
        if not path.startswith("/v1/")  # Stripe's
    }
    assert set() == said - shapes


def test_readme_has_every_variable() -> None:
    """The README's table lists exactly the settings."""
    table = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert VARIABLES == table


def test_defaults_are_those_of_the_settings() -> None:
    """The README's defaults are those of the settings."""
    absent = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| (.+) \|$", README, re.MULTILINE))
    settings = Settings.from_env({"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h"})
    assert str(settings.port) == absent["PORT"]
    assert f"`{settings.log_format}`" == absent["LOG_FORMAT"]
    assert f"`{settings.stripe_api_base}`" == absent["STRIPE_API_BASE"]
    assert f"{settings.gap_fill_seconds:g}" == absent["GAP_FILL_SECONDS"]
    assert f"{settings.usage_seconds:g}" == absent["USAGE_SECONDS"]
    assert f"`{str(settings.past_due_has_access).lower()}`" == absent["PAST_DUE_HAS_ACCESS"]
    live, test, double = [
        Settings(database_url="", redis_url="", stripe_api_key=key, stripe_api_base=base).api_limits
        for key, base in (
            ("sk_live_1", settings.stripe_api_base),
            ("sk_test_1", settings.stripe_api_base),
            ("sk_test_1", "http://localhost"),
        )
    ]
    assert double.none
    said = f"{live.account:.0f} live, {test.account:.0f} test, no limit to a test double"
    assert said == absent["STRIPE_RATE_MAX"]
    said = f"{live.operation:.0f} live, {test.operation:.0f} test; at most {OPERATION:.0f}"
    assert said == absent["STRIPE_OPERATION_RATE_MAX"]


def test_variables_exist(page: Path) -> None:
    """Every variable that a page names is read somewhere."""
    said = {
        name
        for code in code_of(claims(page))
        for name in re.findall(r"(?:export |^)([A-Z]+(?:_[A-Z]+)+)(?==|$)", code, re.MULTILINE)
    }
    as_files = {f"{name}_FILE" for name in SECRETS}
    for_compose = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text()))
    of_traces = vars(opentelemetry.sdk.environment_variables).keys() | vars(
        opentelemetry.environment_variables
    )
    assert set() == said - VARIABLES - CONSTANTS - as_files - for_compose - of_traces


SQL = [
    pytest.param(statement, id=f"{named(page)}-{number}")
    for page in PAGES
    for number, statement in enumerate(
        re.findall(r"^```sql\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    )
]


@pytest.mark.parametrize("statement", SQL)
async def test_sql_runs(pool: Pool, statement: str) -> None:
    """Each query of the pages runs on a migrated database that knows its API key's mode."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute("insert into sync.key (account_id, live_mode) values ('acct_1', false)")
            await connection.execute(statement)
        finally:
            await transaction.rollback()


def test_sql_is_found() -> None:
    """The pages' queries are found: the list is not empty by mistake."""
    assert 3 <= sum(str(case.id).startswith("README.md") for case in SQL)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_resolve(page: Path) -> None:
    """Each relative link leads to a file, and to a heading of it if it names one."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert [] == broken


def test_paths_exist(page: Path) -> None:
    """A file that a page names is where the page says."""
    places = (ROOT, ROOT / "tests", page.parent)
    said = {
        path for code in code_of(claims(page)) for path in re.findall(r"^[\w./]+\.(?:py|sql|toml|md)$", code)
    }
    # A bare name may belong to the room that the sentence is about.
    names = {path.name for room in (*ROOMS, ROOT / "tests") for path in room.rglob("*.*")}
    lost = {
        path
        for path in said
        if not any((place / path).exists() for place in places) and ("/" in path or path not in names)
    }
    assert set() == lost


@cache
def known_tests() -> frozenset[str]:
    """The names of all tests, and of the files that hold them."""
    names = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        names.add(path.stem)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                names.add(node.name)
    return frozenset(names)


def test_walks_name_files_that_exist() -> None:
    """The walks of ARCHITECTURE.md go through files that exist, and through each file once."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    walks = page[page.index("## A walk through the files") : page.index("## The fence")]
    files = re.findall(r"^.{11}([a-z_]+/[\w/]+(?:\.py|/))", walks, re.MULTILINE)
    assert len(files) > 30
    assert sorted(set(files)) == sorted(files)
    assert [] == [file for file in files if not (ROOT / file).exists()]


def test_wings_name_every_file_of_the_worker() -> None:
    """ARCHITECTURE.md's drawing of the worker leaves out no file."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    wings = page[page.index("The worker has three wings") : page.index("**Three schemas.**")]
    drawn = set(re.findall(r"[a-z_]+", wings))
    assert [] == [
        path for path in (ROOT / "worker").rglob("*.py") if path.stem[:2] != "__" and path.stem not in drawn
    ]


PLANS = {
    "backfill of everything": steps.BACKFILL,
    "backfill with bounds": steps.BACKFILL_OF_ENTITLEMENTS,
    "backfill of one customer": steps.BACKFILL_OF_CUSTOMER,
    "audit of everything": steps.REPAIRING_AUDIT,
    "audit with bounds": steps.REPAIRING_AUDIT_OF_KINDS,
}


def test_steps_of_scans_are_drawn() -> None:
    """ARCHITECTURE.md draws the steps of each scan as worker/lists/steps.py has them."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    (repair,) = re.findall(r"° with --repair: (.+)$", page, re.MULTILINE)
    drawn = {
        scan: line.replace("*", "").replace("repair°", repair).removesuffix("end").split(" ▶ ")
        for scan, line in re.findall(r"^  ((?:backfill|audit) [a-z ]+?)  +(begin .+)$", page, re.MULTILINE)
    }
    # `done` only ends a scan.
    planned = {scan: [*(step for step in plan.steps if step != "done"), ""] for scan, plan in PLANS.items()}
    assert planned == drawn


def test_tests_exist(page: Path) -> None:
    """Every test that a page names exists."""
    assert set() == set(re.findall(r"\btest_\w+\b", page.read_text())) - known_tests() - VARIABLES


def test_every_invariant_has_tests() -> None:
    """ARCHITECTURE.md names, for each of the invariants, the tests that hold it."""
    rows = re.findall(r"^\| (I\d+) \|[^|]+\|(.*)\|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    names = [name for name, _ in rows]
    assert [f"I{number}" for number in range(1, 11)] == names[:10]
    assert [f"I{number}" for number in range(11, 15) if f"I{number}" in names] == names[10:]
    assert [] == [name for name, held_by in rows if "test_" not in held_by]


def test_covered_cases_are_told() -> None:
    """Each case that a story covers is in docs/cases.md, in the section of its letter."""
    page = (ROOT / "docs/cases.md").read_text()
    told = {
        letter + number
        for letter, section in re.findall(r"^## ([A-F])\. (.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
        for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)
    }
    covered = {case for story in STORIES.values() for case in story.covers}
    assert covered
    assert set() == covered - told


BILLING_COLUMNS = """
select c.relname, a.attname
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'billing'::regnamespace and c.relkind = 'r'
"""


async def test_record_page_names_every_column(pool: Pool) -> None:
    """docs/record.md names every column of the records."""
    page = (ROOT / "docs/record.md").read_text()
    untold = [
        f"{row['relname']}.{row['attname']}"
        for row in await pool.fetch(BILLING_COLUMNS)
        if row["attname"] not in page or f"billing.{row['relname']}" not in page
    ]
    assert [] == untold


async def test_mirror_page_tells_of_every_table(pool: Pool) -> None:
    """docs/mirror.md lists every table, and says what keeps it up to date, as the registry does."""
    page = (ROOT / "docs/mirror.md").read_text()
    lines = {line.split("|")[2].strip(): line for line in page.splitlines() if line.startswith("| `stripe.")}
    assert {kind.stripe_object for kind in KINDS.values()} == set(lines)
    for kind in KINDS.values():
        line = lines[kind.stripe_object]
        assert f"| {kind.confirmed_by} |" in line, kind.name
        if kind.list_path is not None and kind.name not in THROUGH:
            assert f"`{kind.list_path}`" in line, kind.name
    tables = await pool.fetch("select tablename from pg_tables where schemaname = 'stripe'")
    assert [] == [row[0] for row in tables if f"stripe.{row[0]}" not in page]
