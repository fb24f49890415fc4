"""DATABASE_URL as hosters give it, read once for both drivers (asyncpg, and the one of dbmate) and for psql.

Each of them reads a URL in its own way, and sends the parameters that it does not know to the server, which refuses
them. So the URL is read here, by the rules of libpq, and each driver gets only what it understands.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

EXAMPLE = "postgresql://USER:PASSWORD@HOST/DATABASE"
ENCODE = (
    "special characters of the password are %-encoded: %23 for #, %2F for /, %3F for ?, %40 for @, %25 for %"
)
PORT = 5432

BOTH = frozenset(
    {
        "application_name",
        "krbsrvname",
        "options",
        "passfile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
    }
)
"""Parameters that both drivers understand."""
READ_HERE = frozenset(
    {"connect_timeout", "database", "dbname", "host", "password", "port", "target_session_attrs", "user"}
)
"""Parameters for which each driver gets something of its own."""
AS_IT_IS = frozenset(
    {
        ("channel_binding", "disable"),
        ("channel_binding", "prefer"),
        ("client_encoding", "utf8"),
        ("client_encoding", "utf-8"),
        ("client_encoding", "auto"),
        ("gssencmode", "disable"),
        ("gssencmode", "prefer"),
        ("load_balance_hosts", "disable"),
        ("sslcompression", "0"),
        ("sslsni", "1"),
    }
)
"""Parameters that ask for what happens anyway."""
INSTEAD = {
    "channel_binding": "sslmode=verify-full protects from the same",
    "schema": "the names of our schemas are fixed",
    "pgbouncer": "a pooler must be in session mode",
}
"""What to know about a parameter that is left out."""
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
}

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<where>[^/?]*)(?:/(?P<name>[^?]*))?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%25\w+)?)\]|(?P<other>[^\[\]:]*))(?::(?P<port>.*))?")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_HALF_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A database, and how to reach it."""

    hosts: tuple[tuple[str, int], ...]
    """Names or addresses, or directories of Unix sockets, each with its port; tried in turn."""
    database: str
    user: str | None
    password: str | None = field(repr=False)
    connect_timeout_seconds: float | None
    target_session_attrs: str | None
    """Which of several hosts will do."""
    parameters: dict[str, str] = field(repr=False)
    """Those that both drivers understand."""
    left_out: tuple[str, ...]
    """The names of those that are left out."""

    @property
    def application_name(self) -> str | None:
        return self.parameters.get("application_name")

    def hosts_alone(self) -> tuple["Address", ...]:
        """The same with each of the hosts alone."""
        return tuple(replace(self, hosts=(host,)) for host in self.hosts)

    def for_asyncpg(self) -> dict[str, Any]:
        """The arguments of asyncpg.connect that say where the database is; `server_settings` is the caller's."""
        known = {name: value for name, value in self.parameters.items() if name != "application_name"}
        by_system = known.get("sslrootcert") == "system"
        if by_system:
            # What libpq calls so, asyncpg takes for the name of a file. `ssl=True` is the system's, with verify-full.
            del known["sslrootcert"]
        if self.target_session_attrs is not None:
            known["target_session_attrs"] = self.target_session_attrs
        arguments: dict[str, Any] = {
            "dsn": f"postgresql:///?{_query(known)}" if known else "postgresql:///",
            "host": [host for host, _ in self.hosts],
            "port": [port for _, port in self.hosts],
            "database": self.database,
        }
        if by_system:
            arguments["ssl"] = True
        if self.user is not None:
            arguments["user"] = self.user
        if self.password is not None:
            arguments["password"] = self.password
        return arguments

    def for_dbmate(self) -> str:
        """The URL for dbmate, of an address with one host.

        dbmate needs an `sslmode`: none on this machine, elsewhere as the server offers. asyncpg has the same defaults.
        """
        ((host, port),) = self.hosts
        known = dict(self.parameters)
        socket = host.startswith("/")
        known.setdefault("sslmode", "disable" if socket or is_loopback(host) else "prefer")
        if self.connect_timeout_seconds is not None:
            known["connect_timeout"] = f"{self.connect_timeout_seconds:g}"
        login = "" if self.user is None else quote(self.user, safe="")
        if self.password is not None:
            login += f":{quote(self.password, safe='')}"
        where = f"[{host.replace('%', '%25')}]" if ":" in host else host
        if socket:
            known |= {"host": host, "port": str(port)}
        return (
            f"postgresql://{login}{'@' if login else ''}{'' if socket else f'{where}:{port}'}"
            f"/{quote(self.database, safe='')}?{_query(known)}"
        )

    def for_libpq(self) -> dict[str, str]:
        """The environment in which a program of libpq, such as psql, comes to the same database."""
        named = {
            "PGHOST": ",".join(host for host, _ in self.hosts),
            "PGPORT": ",".join(str(port) for _, port in self.hosts),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGTARGETSESSIONATTRS": self.target_session_attrs,
            "PGAPPNAME": self.application_name,
        }
        if self.connect_timeout_seconds is not None:
            named["PGCONNECT_TIMEOUT"] = f"{self.connect_timeout_seconds:g}"
        for name, value in self.parameters.items():
            if name != "application_name":
                named[f"PG{name.replace('_', '').upper()}"] = value
        return {name: value for name, value in named.items() if value is not None}

    @property
    def doubts(self) -> list[str]:
        """What an operator must know about the parameters that are left out: nothing, or one sentence."""
        if not self.left_out:
            return []
        said = [f"{name} ({INSTEAD[name]})" if name in INSTEAD else name for name in self.left_out]
        return [f"DATABASE_URL: parameters that are not supported are left out: {', '.join(said)}"]


def read_address(text: str) -> Address:
    """Read DATABASE_URL. Raises ValueError with what is wrong and the remedy, never with a part of the URL."""
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(f"contains blanks or control characters: give it as {EXAMPLE}; {ENCODE}")
    found = _URL.fullmatch(text)
    if found is None or found["scheme"].lower() not in ("postgresql", "postgres"):
        raise ValueError(f"must start with postgresql:// or postgres://, as in {EXAMPLE}")
    login, _, where = found["where"].rpartition("@")
    name = found["name"] or ""
    if "#" in text or "@" in login or "@" in name or _HALF_ESCAPE.search(text):
        raise ValueError(f"is not a URL: {ENCODE}")
    user, _, password = login.partition(":")
    parameters = _parameters(found["query"] or "")
    left_out = [each for each, value in parameters.items() if _is_left_out(each, value)]
    if any("@" in parameters[each] for each in left_out):
        raise ValueError(f"is not a URL: {ENCODE}")  # a question mark of the password has begun them
    host, port = parameters.pop("host", None), parameters.pop("port", None)
    hosts = _hosts(where) if host is None else _split_hosts(host)
    if not hosts:
        raise ValueError(f"names no host: give it as {EXAMPLE}")
    database = unquote(name) or parameters.pop("dbname", "") or parameters.pop("database", "")
    for alias in ("dbname", "database"):
        parameters.pop(alias, None)
    if not database:
        raise ValueError(f"names no database: give it as {EXAMPLE}")
    given_user, given_password = parameters.pop("user", ""), parameters.pop("password", "")
    for choice, allowed in CHOICES.items():
        if choice in parameters and parameters[choice] not in allowed:
            raise ValueError(f"has a wrong {choice}: it is one of {', '.join(allowed)}")
    timeout = parameters.pop("connect_timeout", "")
    if not re.fullmatch(r"-?[0-9]{0,6}", timeout) or timeout == "-":
        raise ValueError("has a wrong connect_timeout: it is a whole number of seconds")
    if parameters.get("sslrootcert") == "system":
        parameters["sslmode"] = "verify-full"
    session = parameters.get("target_session_attrs", "any")
    return Address(
        hosts=tuple(zip(*_with_ports(hosts, port), strict=True)),
        database=database,
        user=unquote(user) or given_user or None,
        password=unquote(password) or given_password or None,
        # As with libpq, 0 and less say nothing.
        connect_timeout_seconds=float(timeout) if timeout and int(timeout) > 0 else None,
        target_session_attrs=None if session == "any" else session,
        parameters={each: value for each, value in parameters.items() if each in BOTH},
        left_out=tuple(sorted(each if _NAME.fullmatch(each) else "one without a name" for each in left_out)),
    )


def secrets_of(text: str) -> tuple[str, ...]:
    """The passwords in a DATABASE_URL, both as they are written and as they are meant."""
    found = _URL.fullmatch(text)
    if found is None:
        return ()
    written = [found["where"].rpartition("@")[0].partition(":")[2]]
    for part in (found["query"] or "").split("&"):
        name, _, value = part.partition("=")
        if unquote(name) in ("password", "sslpassword"):
            written.append(value)
    return tuple(dict.fromkeys(each for one in written for each in (one, unquote(one)) if each))


def is_loopback(host: str) -> bool:
    """True when `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parameters(query: str) -> dict[str, str]:
    """The parameters; of one that is given twice the last. A plus is a plus, as with libpq."""
    parameters = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"is not a URL: {ENCODE}")
        parameters[unquote(name)] = unquote(value)
    return parameters


def _split_hosts(hosts: str) -> list[tuple[str, str]]:
    """Hosts as a parameter names them: without ports, and IPv6 addresses without brackets."""
    return [(_checked_host(host), "") for host in hosts.split(",")] if hosts else []


def _hosts(where: str) -> list[tuple[str, str]]:
    """Each host with its port, which may be empty."""
    hosts = []
    for part in where.split(",") if where else []:
        found = _HOST.fullmatch(part)
        if found is None:
            raise ValueError(f"is not a URL: {ENCODE}")
        hosts.append((_checked_host(unquote(found["six"] or found["other"])), found["port"] or ""))
    return hosts


def _checked_host(host: str) -> str:
    if not host:
        raise ValueError(f"names no host: give it as {EXAMPLE}")
    if host.startswith("/"):
        return host
    if not re.fullmatch(r"[\w.:%-]+", host):
        raise ValueError(f"is not a URL: {ENCODE}")
    try:
        host.encode("idna")
    except UnicodeError:
        # Python looks no such name up, and its error is none of a network's.
        raise ValueError(
            "has a host that can be none: a part of its name is empty, or longer than 63"
        ) from None
    return host


def _with_ports(hosts: list[tuple[str, str]], ports: str | None) -> tuple[list[str], list[int]]:
    """The hosts, and the port of each: its own, or that of the parameter, which is one for all or a list."""
    further = ports.split(",") if ports else [str(PORT)]
    if len(further) == 1:
        further *= len(hosts)
    if len(further) != len(hosts):
        raise ValueError("has as many ports as hosts, or one for all of them")
    return [host for host, _ in hosts], [
        _port(own or other) for (_, own), other in zip(hosts, further, strict=True)
    ]


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        # Where the password has a special character, a part of it stands where the port would.
        raise ValueError(f"has a port that is not a number from 1 to 65535: give it as {EXAMPLE}; {ENCODE}")
    return int(text)


def _is_left_out(name: str, value: str) -> bool:
    return name not in BOTH | READ_HERE and (name, value.lower()) not in AS_IT_IS


def _query(parameters: Mapping[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
