"""What becomes of each connection parameter of libpq: those of Postgres 17, and those that 18 adds.

A parameter that is silently ignored could be the one that protects the connection. So each is passed to the driver,
translated, or refused by name. `docs/postgres.md` has the table; a test compares it.
"""

DRIVER = frozenset(
    """
    sslmode sslcert sslkey sslpassword sslcrl ssl_min_protocol_version ssl_max_protocol_version sslnegotiation
    target_session_attrs krbsrvname gsslib
    """.split()  # noqa: SIM905  one word a line would hide the list
)
"""The driver reads these as libpq does."""

TRANSLATED = frozenset(
    """
    host hostaddr port dbname user password passfile service servicefile connect_timeout application_name
    fallback_application_name options keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout
    sslrootcert channel_binding load_balance_hosts requiressl
    """.split()  # noqa: SIM905  one word a line would hide the list
)
"""`postgresql_url` and `postgresql_connector` do what libpq does with these."""

_NO_OAUTH = "the driver does not speak OAuth"
_LOGIN = "the driver logs in with the password"
_THREE = "the driver speaks version 3.0"
_REFUSED: tuple[tuple[str, str, str], ...] = (
    ("client_encoding", "auto utf8 utf-8 unicode", "the driver speaks UTF-8"),
    ("gssencmode", "disable prefer", "the driver encrypts with TLS alone"),
    ("gssdelegation", "0", "the driver delegates no credentials"),
    ("sslcompression", "0", "the driver compresses nothing"),
    ("sslcertmode", "allow", "the driver itself decides when it sends a certificate"),
    ("sslsni", "1", "the driver always sends the name of the host"),
    ("sslcrldir", "", "the driver reads one file; use sslcrl"),
    ("sslkeylogfile", "", "use the environment variable SSLKEYLOGFILE"),
    ("require_auth", "", "the driver lets the server choose how it asks for the password; use sslmode=verify-full"),
    ("requirepeer", "", "the driver does not look at the owner of the server's process"),
    ("replication", "false off no 0", "a replication connection cannot store threads"),
    ("min_protocol_version", "3.0", _THREE),
    ("max_protocol_version", "3.0 3.2 latest", _THREE),
    ("scram_client_key", "", _LOGIN),
    ("scram_server_key", "", _LOGIN),
    ("oauth_issuer", "", _NO_OAUTH),
    ("oauth_client_id", "", _NO_OAUTH),
    ("oauth_client_secret", "", _NO_OAUTH),
    ("oauth_scope", "", _NO_OAUTH),
)
REFUSED = {name: (frozenset(values.split()), why) for name, values, why in _REFUSED}
"""Refused for this reason, except for these values, which ask for what the driver does anyway."""

_OF_ITS_OWN = "it is a parameter of another client, such as Prisma or node-postgres: leave it out"
_OF_OUR_POOL = f"{_OF_ITS_OWN}, and set DATABASE_CONNECTIONS if you need to"
OF_OTHERS = {
    **dict.fromkeys(("connection_limit", "pool_timeout", "pool_size"), _OF_OUR_POOL),
    **dict.fromkeys(("supa", "workaround", "uselibpqcompat", "socket_timeout"), _OF_ITS_OWN),
    "schema": "it is a parameter of Prisma: write options=-c%20search_path%3Dname",
    "sslaccept": "it is a parameter of Prisma: write sslmode=verify-full for strict, sslmode=require for the other",
}
"""Parameters in the URLs that hosting services show for other clients, and what to do about them."""

OURS = frozenset(
    """
    ssl database direct_tls timeout command_timeout statement_cache_size prepared_statement_cache_size
    max_cached_statement_lifetime max_cacheable_statement_size pooler pgbouncer
    """.split()  # noqa: SIM905  one word a line would hide the list
)
"""Not libpq's: parameters of the driver and of SQLAlchemy, and how a connection pooler is served."""

VARIABLES = {
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGREQUIREAUTH": "require_auth",
    "PGCHANNELBINDING": "channel_binding",
    "PGSERVICE": "service",
    "PGOPTIONS": "options",
    "PGAPPNAME": "application_name",
    "PGSSLMODE": "sslmode",
    "PGREQUIRESSL": "requiressl",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLCOMPRESSION": "sslcompression",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGSSLCERTMODE": "sslcertmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCRL": "sslcrl",
    "PGSSLCRLDIR": "sslcrldir",
    "PGSSLSNI": "sslsni",
    "PGREQUIREPEER": "requirepeer",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGMINPROTOCOLVERSION": "min_protocol_version",
    "PGMAXPROTOCOLVERSION": "max_protocol_version",
    "PGGSSENCMODE": "gssencmode",
    "PGKRBSRVNAME": "krbsrvname",
    "PGGSSLIB": "gsslib",
    "PGGSSDELEGATION": "gssdelegation",
    "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGCLIENTENCODING": "client_encoding",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
    "PGLOADBALANCEHOSTS": "load_balance_hosts",
}
"""The environment variables of libpq, with their parameters. PGSERVICEFILE and PGSYSCONFDIR name service files."""

SESSION_VARIABLES = frozenset({"PGDATESTYLE", "PGTZ", "PGGEQO", "PGLOCALEDIR"})
"""libpq sends or uses these, and they have no effect here: the driver reads times in binary form, and stores in UTC."""
