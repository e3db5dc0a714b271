"""A Postgres URL: each parameter of libpq is passed on, translated, or refused by name in one sentence."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from datalayer import ConfigurationError
from datalayer.dialects.postgresql_connector import Connector
from datalayer.dialects.postgresql_dump import dump_commands
from datalayer.dialects.postgresql_parameters import DRIVER, REFUSED, TRANSLATED, VARIABLES
from datalayer.dialects.postgresql_passfile import PassFile
from datalayer.dialects.postgresql_url import PostgresURL, parse_url

SECRET = "hunter2"
# Postgres 17, "Parameter Key Words", in the order of its manual, and what Postgres 18 adds.
OF_17 = """
    host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding
    options application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
    tcp_user_timeout replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslpassword
    sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version
    krbsrvname gsslib gssdelegation service target_session_attrs load_balance_hosts
""".split()  # noqa: SIM905
OF_18 = """
    min_protocol_version max_protocol_version sslkeylogfile scram_client_key scram_server_key servicefile
    oauth_issuer oauth_client_id oauth_client_secret oauth_scope
""".split()  # noqa: SIM905
# "Environment Variables", without those of the session (PGTZ ...) and of service files.
VARIABLES_OF_17 = """
    PGHOST PGSSLNEGOTIATION PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGREQUIREAUTH PGCHANNELBINDING
    PGSERVICE PGOPTIONS PGAPPNAME PGSSLMODE PGREQUIRESSL PGSSLCOMPRESSION PGSSLCERT PGSSLKEY PGSSLCERTMODE
    PGSSLROOTCERT PGSSLCRL PGSSLCRLDIR PGSSLSNI PGREQUIREPEER PGSSLMINPROTOCOLVERSION PGSSLMAXPROTOCOLVERSION
    PGGSSENCMODE PGKRBSRVNAME PGGSSLIB PGGSSDELEGATION PGCONNECT_TIMEOUT PGCLIENTENCODING PGTARGETSESSIONATTRS
    PGLOADBALANCEHOSTS
""".split()  # noqa: SIM905


def parsed(rest: str, **environment: str) -> PostgresURL:
    return parse_url(f"postgresql://{rest}", environment)


def driver_url(rest: str) -> str:
    """The URL that the driver gets."""
    [(_, arguments)] = parsed(rest).attempts()
    return str(arguments["dsn"])


def tried(url: PostgresURL, first: tuple[str, int] | None = None) -> list[str]:
    """The hosts of a URL in the order in which they are tried."""
    return [host for (host, _), _ in url.attempts(first)]


def refusal(url: str, **environment: str) -> str:
    with pytest.raises(ValueError) as caught:
        parse_url(url, environment)
    words = str(caught.value)
    assert SECRET not in words
    assert "\n" not in words
    return words


def test_each_parameter_of_libpq_has_one_fate() -> None:
    fates = [*DRIVER, *TRANSLATED, *REFUSED]
    assert sorted(fates) == sorted(OF_17 + OF_18)
    assert set(VARIABLES) == {*VARIABLES_OF_17, "PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION"}
    assert set(VARIABLES.values()) <= set(fates)


@pytest.mark.parametrize("name", sorted(DRIVER))
def test_a_parameter_that_the_driver_knows_reaches_it(name: str) -> None:
    assert driver_url(f"db/x?{name}=a%20value") == f"postgresql://?{name}=a%20value"


def test_the_driver_knows_these_parameters() -> None:
    import asyncpg.connect_utils  # noqa: PLC0415

    source = Path(asyncpg.connect_utils.__file__).read_text("utf-8")
    for name in (*DRIVER, "sslrootcert"):
        assert f"'{name}' in query" in source, name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_parameter_that_would_be_ignored_is_refused_by_name(name: str) -> None:
    values, why = REFUSED[name]
    for value in values:
        assert name not in driver_url(f"db/x?{name}={value}")
    assert refusal(f"postgresql://me:{SECRET}@db/x?{name}=other").endswith(f": {why}")
    for variable in [variable for variable, of in VARIABLES.items() if of == name]:
        assert refusal("postgresql://db/x", **{variable: "other"}).startswith(f"cannot be used with {variable}")


TRANSLATIONS: list[tuple[str, str, Any]] = [
    ("db/x", "servers", (("db", 5432),)),
    ("db:5433/x", "servers", (("db", 5433),)),
    ("[::1]:5433/x", "servers", (("::1", 5433),)),
    ("one:1,two:2/x", "servers", (("one", 1), ("two", 2))),
    ("one,two:2/x", "servers", (("one", 5432), ("two", 2))),
    ("one,two/x?port=7", "servers", (("one", 7), ("two", 7))),
    ("/x?host=/run/sockets", "servers", (("/run/sockets", 5432),)),
    ("%2Frun%2Fsockets:5433/x", "servers", (("/run/sockets", 5433),)),
    ("/x?host=one,two&port=1,2", "servers", (("one", 1), ("two", 2))),
    ("/x?hostaddr=10.0.0.1", "servers", (("10.0.0.1", 5432),)),
    ("", "servers", (("", 5432),)),
    (":5433/x", "servers", (("", 5433),)),
    ("db", "servers", (("db", 5432),)),
    ("db?dbname=x", "login", {"database": "x"}),
    ("[::1]/x", "servers", (("::1", 5432),)),
    ("[fe80::1%25eth0]:5433/x", "servers", (("fe80::1%eth0", 5433),)),
    ("[::1]:1,[::2],db:3/x", "servers", (("::1", 1), ("::2", 5432), ("db", 3))),
    ("/x?host=::1,fe80::1", "servers", (("::1", 5432), ("fe80::1", 5432))),
    ("/x?hostaddr=::1,10.0.0.1&port=1,2", "servers", (("::1", 1), ("10.0.0.1", 2))),
    ("10.0.0.1/x?hostaddr=10.0.0.1", "servers", (("10.0.0.1", 5432),)),
    ("/x?host=%2Frun,db&port=,7", "servers", (("/run", 5432), ("db", 7))),
    ("one:1/x?host=two", "servers", (("two", 1),)),
    ("one:1/x?port=2", "servers", (("one", 2),)),
    ("one/x?port=1&port=2", "servers", (("one", 2),)),
    ("d%62/x", "servers", (("db", 5432),)),
    ("db:54%33%33/x", "servers", (("db", 5433),)),
    (
        "me:p%3A%2F%3F%23%5B%5D%40%25%26%3D%2B@db/x",
        "login",
        {"user": "me", "password": "p:/?#[]@%&=+", "database": "x"},
    ),
    ("me:a:b@db/x", "login", {"user": "me", "password": "a:b", "database": "x"}),
    ("me:a@b@db/x", "login", {"user": "me", "password": "a@b", "database": "x"}),
    ("me:100%@db/x", "login", {"user": "me", "password": "100%", "database": "x"}),
    ("m%C3%A9:p%E5%A4%A9@db/d%20%C3%A9", "login", {"user": "mé", "password": "p天", "database": "d é"}),
    ("me@db/x", "login", {"user": "me", "database": "x"}),
    ("me:@db/x", "login", {"user": "me", "database": "x"}),
    (":p@db/x", "login", {"password": "p", "database": "x"}),
    ("me%40corp:p@db/x", "login", {"user": "me@corp", "password": "p", "database": "x"}),
    ("db/a/b", "login", {"database": "a/b"}),
    ("db/a%2Fb%3Fc", "login", {"database": "a/b?c"}),
    ("db/x?password=p%26q%3Dr%20s", "login", {"password": "p&q=r s", "database": "x"}),
    ("db/x?pass%77ord=p", "login", {"password": "p", "database": "x"}),
    ("db/x?user=&password=", "login", {"database": "x"}),
    ("db/x?&sslmode=require&", "driver", {"sslmode": "require"}),
    # The URLs of hosted databases.
    ("u.ref:p@aws-0-eu.pooler.supabase.com:6543/postgres?pgbouncer=true", "pooler", "transaction"),
    (
        "u.ref:p@aws-0-eu.pooler.supabase.com:5432/postgres",
        "login",
        {"user": "u.ref", "password": "p", "database": "postgres"},
    ),
    ("u:p@ep-x-pooler.eu.aws.neon.tech/neondb?sslmode=require&channel_binding=require", "pooler", "auto"),
    (
        "u:p@ep-x.neon.tech/neondb?options=endpoint%3Dep-x",
        "server_settings",
        {"application_name": "threadkeeper", "options": "endpoint=ep-x"},
    ),
    (
        "u%40srv:p@srv.postgres.database.azure.com:6432/postgres?sslmode=require",
        "servers",
        (("srv.postgres.database.azure.com", 6432),),
    ),
    ("db/x?dbname=y", "login", {"database": "y"}),
    ("db/x?database=y", "login", {"database": "y"}),
    ("me:p%40ss@db/a%20b", "login", {"user": "me", "password": "p@ss", "database": "a b"}),
    ("db/x?user=me&password=a+b", "login", {"user": "me", "password": "a+b", "database": "x"}),
    ("db/x?passfile=/etc/pass", "passfile", Path("/etc/pass")),
    ("db/x?passfile=/etc/pass", "login", {"database": "x"}),
    ("db/x", "passfile", None),
    ("db/x", "connect_seconds", 10.0),
    ("db/x?connect_timeout=7", "connect_seconds", 7),
    ("db/x?connect_timeout=1", "connect_seconds", 2),
    ("db/x?connect_timeout=0", "connect_seconds", None),
    ("one,two/x?connect_timeout=7", "connect_seconds", 14),
    ("db/x?timeout=2.5", "connect_seconds", 2.5),
    ("db/x?command_timeout=30", "command_seconds", 30.0),
    ("db/x", "server_settings", {"application_name": "threadkeeper"}),
    ("db/x?application_name=chat", "server_settings", {"application_name": "chat"}),
    ("db/x?fallback_application_name=chat", "server_settings", {"application_name": "chat"}),
    (
        "db/x?options=-c%20geqo%3Doff",
        "server_settings",
        {"application_name": "threadkeeper", "options": "-c geqo=off"},
    ),
    ("db/x", "socket_options", {"SO_KEEPALIVE": 1}),
    ("db/x?keepalives=0&keepalives_idle=9", "socket_options", {"SO_KEEPALIVE": 0}),
    ("db/x?keepalives=0&tcp_user_timeout=600", "socket_options", {"SO_KEEPALIVE": 0, "TCP_USER_TIMEOUT": 600}),
    ("db/x?tcp_user_timeout=600", "server_settings", {"application_name": "threadkeeper"}),
    ("db/x?tcp_user_timeout=0&keepalives_count=0", "socket_options", {"SO_KEEPALIVE": 1}),
    ("db/x?connect_timeout=-1", "connect_seconds", None),
    (
        "db/x?keepalives_idle=9&keepalives_interval=8&keepalives_count=7&tcp_user_timeout=600",
        "socket_options",
        {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 9, "TCP_KEEPINTVL": 8, "TCP_KEEPCNT": 7, "TCP_USER_TIMEOUT": 600},
    ),
    ("db/x?load_balance_hosts=random", "shuffled", True),
    ("db/x?sslrootcert=/ca.pem", "driver", {"sslrootcert": "/ca.pem"}),
    ("db/x?sslrootcert=system", "driver", {"sslmode": "verify-full"}),
    ("db/x?sslmode=require&channel_binding=require", "driver", {"sslmode": "verify-full"}),
    (
        "db/x?channel_binding=require&sslrootcert=/ca.pem",
        "driver",
        {"sslmode": "verify-full", "sslrootcert": "/ca.pem"},
    ),
    ("db/x?channel_binding=prefer", "driver", {}),
    ("db/x?requiressl=1", "driver", {"sslmode": "require"}),
    ("db/x?ssl=true", "driver", {"sslmode": "require"}),
    ("db/x?ssl=prefer", "driver", {"sslmode": "prefer"}),
    ("db/x?direct_tls=true", "driver", {"sslnegotiation": "direct"}),
    ("db/x", "pooler", "auto"),
    ("db/x?pooler=session", "pooler", "session"),
    ("db/x?pgbouncer=true", "pooler", "transaction"),
    ("db/x?prepared_statement_cache_size=0", "pooler", "transaction"),
    ("db/x?statement_cache_size=0", "pooler", "transaction"),
    ("db/x?statement_cache_size=7", "caches", {"statement_cache_size": 7}),
]


@pytest.mark.parametrize(("rest", "field", "value"), TRANSLATIONS)
def test_a_parameter_is_translated(rest: str, field: str, value: object) -> None:
    assert getattr(parsed(rest), field) == value


def test_every_translated_parameter_is_tried_here() -> None:
    tried = " ".join(rest for rest, _, _ in TRANSLATIONS)
    in_the_service_tests = {"service", "servicefile"}
    assert {name for name in TRANSLATED if f"{name}=" not in tried} == in_the_service_tests


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://db/x", "must start with postgresql://"),
        ("postgresql+psycopg://db/x", "names another driver than asyncpg (postgresql+psycopg://): write postgresql://"),
        ("postgresql://me:hun#ter2@db/x", "contains a #"),
        (f"postgresql://me:{SECRET}:x@db:port/x", "has a port that is not a number from 1 to 65535"),
        (f"postgresql://me:a/{SECRET}@db/x", "has a port that is not a number"),
        ("postgresql://db:65536/x", "has a port that is not a number"),
        ("postgresql://[::1/x", "has an IPv6 address without its closing bracket"),
        ("postgresql://one,two,three/x?port=1,2", "has 3 hosts and 2 ports"),
        ("postgresql://db/x?hostaddr=10.0.0.1", "has hostaddr beside a host"),
        (f"postgresql://me:{SECRET}@%40sockets/x", "names a socket in the abstract namespace (@)"),
        ("postgresql:///x?host=db,%40sockets", "names a socket in the abstract namespace (@)"),
        (f"postgresql://me:{SECRET}%00@db/x", "contains %00, which no value can contain"),
        ("postgresql://db/x%00y", "contains %00, which no value can contain"),
        ("postgresql://db/x?keepalives_idle=1_0", "has keepalives_idle=1_0; it must be a whole number"),
        ("postgresql://db/x?connect_timeout=%D9%A3", "it must be a whole number"),
        (
            "postgresql://db/x?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "has ssl_min_protocol_version=TLSv1.3 above ssl_max_protocol_version=TLSv1.2",
        ),
        ("postgresql://one,/x", "has an empty host among several"),
        ("postgresql:///x?host=,one", "has an empty host among several"),
        ("postgresql://[::1]5433/x", "has an IPv6 address without its closing bracket"),
        ("postgresql://::1/x", "has a port that is not a number"),
        ("postgresql://db:0/x", "has a port that is not a number"),
        ("postgresql://db:+5432/x", "has a port that is not a number"),
        ("postgresql://db:٣/x", "has a port that is not a number"),
        ("postgresql://db/x?port=1,x", "has a port that is not a number"),
        (f"postgresql://me:{SECRET}?x@db/x", "has a port that is not a number"),
        (f"postgresql://me?{SECRET}@db/x", "has a parameter without a value"),
        (f"postgresql://me:a%zz/{SECRET}@db/x", "has a port that is not a number"),
        ("postgresql:/db/x", "must start with postgresql://"),
        ("host=db dbname=x", "must start with postgresql://"),
        ("postgres+psycopg2://db/x", "names another driver than asyncpg (postgres+psycopg2://): write postgresql://"),
        ("postgresql://db/x?max_protocol_version=3.1", "cannot be used with max_protocol_version=3.1"),
        ("postgresql://db/x?sslcertmode=disable", "cannot be used with sslcertmode=disable"),
        ("postgresql://db/x?require_auth=scram-sha-256", "cannot be used with require_auth"),
        ("postgresql://db/x?scram_client_key=hunter2", "cannot be used with scram_client_key: "),
        ("postgresql://db/x?oauth_issuer=https://me.example", "cannot be used with oauth_issuer: "),
        ("postgresql://db/x?keepalives_idle=soon", "has keepalives_idle=soon; it must be a whole number"),
        ("postgresql://db/x?pgbouncer=true&connection_limit=1", "of another client, such as Prisma or node-postgres"),
        ("postgresql://db/x?schema=chat", "write options=-c%20search_path%3Dname"),
        ("postgresql://db/x?sslmode=require&supa=base-pooler.x", 'has "supa" in the URL'),
        ("postgresql://db/x?pgbouncer=maybe", "has pgbouncer=maybe; it must be one of: false, true"),
        ("postgresql://db/x?statement_timeout=5", 'has an unknown parameter "statement_timeout" in the URL'),
        ("postgresql://db/x?sslmode", "has a parameter without a value"),
        (f"postgresql://db/x?{SECRET}@=1", "has an unknown parameter with other characters than letters"),
        ("postgresql://db/x?connect_timeout=soon", "has connect_timeout=soon; it must be a whole number"),
        ("postgresql://db/x?keepalives_idle=-1", "has keepalives_idle=-1; it must be a whole number"),
        ("postgresql://db/x?command_timeout=0", "has command_timeout=0; it must be a number of seconds above 0"),
        ("postgresql://db/x?command_timeout=nan", "has command_timeout=nan; it must be a number of seconds above 0"),
        ("postgresql://db/x?load_balance_hosts=all", "has load_balance_hosts=all; it must be one of: disable, random"),
        ("postgresql://db/x?pooler=maybe", "has pooler=maybe; it must be one of: auto, transaction, session, none"),
        ("postgresql://db/x?channel_binding=maybe", "has channel_binding=maybe; it must be one of: prefer, disable"),
        ("postgresql://db/x?channel_binding=require&sslmode=disable", "has channel_binding=require, which needs TLS"),
        ("postgresql:///x?channel_binding=require&host=/run", "has channel_binding=require, which needs TLS"),
        ("postgresql://db/x?sslrootcert=system&sslmode=require", "which needs sslmode=verify-full"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_without_secrets(url: str, words: str) -> None:
    assert words in refusal(url)


def test_a_host_address_of_the_environment_is_refused_by_its_name() -> None:
    assert refusal("postgresql://db/x", PGHOSTADDR="10.0.0.1").startswith("has PGHOSTADDR beside a host: ")
    assert parsed("/x", PGHOSTADDR="10.0.0.1").servers == (("10.0.0.1", 5432),)


def test_schemes_of_asyncpg_are_accepted() -> None:
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"):
        assert parse_url(f"{scheme}://db/x", {}).servers == (("db", 5432),)


def test_hosts_are_shuffled_for_each_connection() -> None:
    url = parsed("a,b,c,d,e,f,g,h/x?load_balance_hosts=random")
    orders = {tuple(tried(url)) for _ in range(20)}
    assert len(orders) > 1
    assert {tuple(sorted(order)) for order in orders} == {tuple("abcdefgh")}


@pytest.mark.parametrize(
    ("role", "tried_after_b"), [("read-write", "bac"), ("primary", "bac"), ("any", "abc"), ("standby", "abc")]
)
def test_the_server_that_had_a_role_that_only_one_has_is_tried_first(role: str, tried_after_b: str) -> None:
    url = parsed(f"a,b,c/x?target_session_attrs={role}")
    assert tried(url) == list("abc")
    assert tried(url, first=("b", 5432)) == list(tried_after_b)


def test_any_server_is_tried_after_all_were_asked_for_a_standby() -> None:
    attempts = parsed("a,b/x?target_session_attrs=prefer-standby").attempts()
    roles = [(arguments["host"], arguments["dsn"].rpartition("=")[2]) for _, arguments in attempts]
    assert roles == [("a", "standby"), ("b", "standby"), ("a", "any"), ("b", "any")]


def test_each_of_several_servers_has_its_part_of_the_time() -> None:
    assert parsed("a,b/x?connect_timeout=7").attempt_seconds == 7
    assert parsed("a,b/x").attempt_seconds == 5
    assert parsed("a,b/x?target_session_attrs=prefer-standby").attempt_seconds == 2.5
    assert parsed("a,b/x?target_session_attrs=prefer-standby&connect_timeout=7").attempt_seconds == 7
    assert parsed("a,b/x?connect_timeout=0").attempt_seconds is None


@pytest.fixture
def service_file(tmp_path: Path) -> Path:
    path = tmp_path / "services.conf"
    path.write_text(
        "# ours\n[chat]\nhost=db\nport=5433\ndbname=threads\nuser=me\npassword=100%hunter2\nsslmode=require\n"
        "connect_timeout=7\n[odd]\nhost=db\nrequirepeer=root\n[new]\ncolour=red\n"
    )
    return path


def test_a_service_gives_all_parameters(service_file: Path, tmp_path: Path) -> None:
    found = [
        parsed(f"?service=chat&servicefile={service_file}"),
        parsed("", PGSERVICE="chat", PGSERVICEFILE=str(service_file)),
    ]
    (tmp_path / "pg_service.conf").write_bytes(service_file.read_bytes())
    (tmp_path / ".pg_service.conf").write_text("[other]\n")
    found.append(parsed("?service=chat", HOME=str(tmp_path), PGSYSCONFDIR=str(tmp_path)))
    for url in found:
        assert (url.servers, url.connect_seconds) == ((("db", 5433),), 7)
        assert url.login == {"user": "me", "password": "100%hunter2", "database": "threads"}
        assert url.driver == {"sslmode": "require"}


def test_the_url_precedes_the_service_and_the_service_the_environment(service_file: Path) -> None:
    given = {"PGSERVICE": "chat", "PGSERVICEFILE": str(service_file), "PGDATABASE": "env", "PGAPPNAME": "env"}
    url = parsed("other/", **given)
    assert url.servers == (("other", 5433),)
    assert (url.login["database"], url.server_settings["application_name"]) == ("threads", "env")


def test_a_service_that_cannot_be_used_is_told(service_file: Path, tmp_path: Path) -> None:
    file = f"servicefile={service_file}"
    assert 'names the service "none", which is not defined in' in refusal(f"postgresql://?service=none&{file}")
    assert "cannot be used with requirepeer: " in refusal(f"postgresql://?service=odd&{file}")
    assert 'unknown parameter "colour" in the service "new"' in refusal(f"postgresql://?service=new&{file}")
    assert "does not exist" in refusal(f"postgresql://?service=chat&servicefile={tmp_path}/none")
    assert "which cannot be read (Is a directory)" in refusal(f"postgresql://?service=chat&servicefile={tmp_path}")
    for text, words in (
        (f"[chat]\npassword {SECRET}\n", "has a line that is not a parameter"),
        ("[chat]\nservice=other\n", 'has the parameter "service" within the service "chat"'),
        ("[chat]\nHOST=db\n", 'unknown parameter "HOST"'),
    ):
        service_file.write_text(text)
        assert words in refusal(f"postgresql://?service=chat&{file}")
    service_file.write_bytes(b"[chat]\npassword=\xff\n")
    assert "is not in UTF-8" in refusal(f"postgresql://?service=chat&{file}")


def test_a_service_file_is_read_as_by_libpq(service_file: Path, tmp_path: Path) -> None:
    service_file.write_text(
        "nonsense before the first section\n[other]\nno parameter\n"
        " [chat] a comment\r\n\n  # indented\nhost=db\n   port=5433  \n\tdbname = a b\nhost=second\n"
        "password= p;#=q\n[chat]\nuser=later\n"
    )
    url = parsed(f"?service=chat&servicefile={service_file}")
    assert url.servers == (("db", 5433),)
    assert url.login == {"database": "a b", "password": " p;#=q"}
    # The file that is named comes before that of the system, which has what it lacks.
    (tmp_path / "pg_service.conf").write_text("[chat]\nhost=system\n[ours]\nhost=system\n")
    given = {"PGSYSCONFDIR": str(tmp_path), "PGSERVICEFILE": str(service_file)}
    assert parsed("", PGSERVICE="chat", **given).servers == (("db", 5433),)
    assert parsed("", PGSERVICE="ours", **given).servers == (("system", 5432),)
    given["PGSERVICEFILE"] = str(tmp_path / "none")
    assert parsed("", PGSERVICE="ours", **given).servers == (("system", 5432),)


PASSES = r"""
# 127.0.0.1:5432:x:me:comment
#
db:5432:x:other:of another user
db:5433:x:me:of another port
one:*:*:me:same
two:*:*:me:same
three:5432:*:me:different
localhost:5432:x:me:of a socket
/srv/sockets:5432:x:me:of a folder
\:\:1:5432:x:me:of six
d\\b:5432:x:me:of a backslash
db:5432:x:me
db:5432:x:me:
db:5432:x:me:p\:a\\s\s : and more
*:5432:y:*:of any
"""


@pytest.mark.parametrize(
    ("rest", "password"),
    [
        ("db/x", "p:a\\ss "),
        ("db:5433/x", "of another port"),
        ("db:5434/x", None),
        ("db/z", None),
        ("anything/y", "of any"),
        ("", "of a socket"),
        ("/x?host=/run/postgresql", "of a socket"),
        ("/x?host=/srv/sockets", "of a folder"),
        ("/x?host=/srv/others", None),
        ("[::1]/x", "of six"),
        ("d%5Cb/x", "of a backslash"),
        ("one,two/x", "same"),
        ("one,four/x", "same"),
        ("10.0.0.1/y?hostaddr=10.0.0.1", "of any"),
    ],
)
def test_a_password_file_is_read_as_by_libpq(tmp_path: Path, rest: str, password: str | None) -> None:
    file = tmp_path / "pass"
    file.write_text(PASSES)
    file.chmod(0o600)
    url = parsed(rest, PGPASSFILE=str(file))
    assert url.passfile == file
    assert PassFile(url.passfile).password(url.servers, url.login.get("database", "x"), "me") == password


def test_a_password_file_with_carriage_returns_and_from_the_home_folder(tmp_path: Path) -> None:
    file = tmp_path / ".pgpass"
    file.write_bytes("db:5432:x:me:天\r\n".encode())
    file.chmod(0o600)
    url = parsed("db/x", HOME=str(tmp_path))
    assert PassFile(url.passfile).password(url.servers, "x", "me") == "天"


def test_hosts_with_different_passwords_are_told(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_text(PASSES)
    file.chmod(0o600)
    with pytest.raises(ValueError, match=r"the hosts have different passwords in .*pass"):
        PassFile(file).password(parsed("one,three/x").servers, "x", "me")


def test_a_password_file_that_is_not_used_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_to_all, folder, broken = tmp_path / "open", tmp_path / "folder", tmp_path / "broken"
    open_to_all.write_text(f"*:*:*:*:{SECRET}\n")
    open_to_all.chmod(0o640)
    folder.mkdir()
    broken.write_bytes(b"*:*:*:*:\xff\n")
    broken.chmod(0o600)
    for path, why in (
        (open_to_all, "its mode has to be 0600"),
        (folder, "it is not a plain file"),
        (broken, "it cannot be read (UnicodeDecodeError)"),
    ):
        caplog.clear()
        passes = PassFile(path)
        for _ in range(2):
            assert passes.password([("db", 5432)], "x", "me") is None
        (line,) = caplog.messages
        assert why in line
        assert SECRET not in line
    caplog.clear()
    for missing in (None, tmp_path / "none", open_to_all / "none"):
        assert PassFile(missing).password([("db", 5432)], "x", "me") is None
    assert not caplog.messages


def test_a_process_whose_user_has_no_name_is_told_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", fail)
    monkeypatch.delenv("PGUSER", raising=False)
    with pytest.raises(ConfigurationError, match="names no user, and the user of this process has no name"):
        Connector("postgresql://db/x")
    Connector("postgresql://me@db/x")


@pytest.mark.parametrize("variable", sorted(set(VARIABLES) - {"PGSERVICE"}))
def test_an_environment_variable_is_its_parameter(variable: str) -> None:
    """The same result, or the same refusal, as of the parameter in the URL."""
    name = VARIABLES[variable]
    for value in ("1", "require", "other"):
        results = []
        for rest, environment in ((f"?{name}={value}", {}), ("", {variable: value})):
            try:
                results.append(repr(parsed(rest, **environment)))
            except ValueError as error:
                results.append(re.sub(rf"\b{variable}\b", name, str(error)))
        assert results[0] == results[1]


def test_the_documentation_has_every_parameter() -> None:
    table = (Path(__file__).parents[2] / "docs" / "postgres.md").read_text("utf-8")
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(documented) == sorted(OF_17 + OF_18)


def test_the_commands_for_dumps_name_everything_but_secrets() -> None:
    url = "postgresql://ada%20l:p%40ss@db1,db2:6000/it's?sslmode=verify-full&sslpassword=hidden&pooler=session"
    made, restored = dump_commands(url, Path("/of today/database.dump"))
    for command in (made, restored):
        assert {"--no-owner", "--no-privileges"} < set(shlex.split(command))
        (given,) = [word for word in shlex.split(command) if word.startswith("--dbname=")]
        assert given == (r"--dbname=host=db1,db2 port=5432,6000 user='ada l' dbname='it\'s' sslmode=verify-full")
        assert "p@ss" not in command
    assert "--file=/of today/database.dump.part" in shlex.split(made)
    assert shlex.split(made)[-4:] == ["&&", "mv", "/of today/database.dump.part", "/of today/database.dump"]
    assert shlex.split(restored)[-1] == "/of today/database.dump"
