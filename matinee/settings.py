"""Settings from the environment and `.env`; every backing service by URL, embedded where the URL is unset."""

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from matinee.errors import SettingsError
from matinee.home import Home
from matinee.lake import Lake


class Settings(BaseSettings):
    """`MATINEE_<NAME>` in the environment wins over `.env` in the working folder, which wins over the default."""

    model_config = SettingsConfigDict(env_prefix="MATINEE_", env_file=".env", extra="ignore", frozen=True)

    home_path: Path = Field(default=Path(".matinee"), validation_alias="MATINEE_HOME")
    shared: Path = Path("../shared")
    database_url: str | None = None
    redis_url: str | None = None
    events_url: str | None = None
    lake_url: str | None = None
    media_url: str | None = None
    mlflow_url: str | None = None
    smtp_url: str | None = None  # smtp(s)://[user:password@]host[:port]; unset: a maildir in the home
    mail_from: str = "matinee@localhost"
    alerts_to: str = "operators@localhost"
    spark_url: str = "local[*]"  # or spark://host:port; the lake must then lie where every machine finds it
    api_port: int | None = None
    dagster_port: int | None = None
    mlflow_port: int | None = None
    disk_watermark_mb: int = 500
    log_rotate_mb: int = 20
    # How long what is kept; unset: for ever. Enforced once a day.
    # By the day an event was received; a week at least, as events may come three days late.
    retention_events_days: int | None = Field(default=None, ge=7)
    retention_dead_letters_days: int | None = Field(default=None, ge=1)
    retention_sessions_days: int | None = Field(default=None, ge=1)  # after a session ended
    retention_logs_days: int | None = Field(default=None, ge=1)  # after the last line
    retention_snapshots: int | None = Field(default=None, ge=1)  # how many; unset: the last three
    public_url: str | None = None  # of the page, as people reach it: in letters; unset: where this home listens
    # Passwords are looked up among known leaks by the first 5 of 40 digits of their SHA-1 (range protocol of Have I
    # Been Pwned): https://api.pwnedpasswords.com or a mirror; unset: only the list of common ones is asked.
    breached_passwords_url: str | None = None
    watermark: bool = False
    extra_schema: Path | None = None  # JSON Schema (file) that every title's `extra` has to fit
    feed_publishes: bool = True  # new titles of a feed are published at once; false: drafts that moderators publish
    trusted_proxies: str = "127.0.0.1"  # addresses, networks or *, by comma: whose X-Forwarded-For is believed
    trial_plan: str = "premium"  # of the table `plan`: what a new account may watch by
    trial_days: int = Field(default=14, ge=0, le=3_650)  # for so long; 0: new accounts watch what is free
    payments: Literal["sandbox", "stripe", "yookassa"] = "sandbox"  # for new payments; old ones stay where they are
    payments_patience_s: float = Field(default=5, gt=0, le=60)  # for an answer of a payment provider
    stripe_secret_key: str | None = Field(default=None, repr=False)  # sk_… or rk_…
    stripe_webhook_secret: str | None = Field(default=None, repr=False)  # whsec_…, of the endpoint for our webhooks
    stripe_url: str | None = None  # of its API; unset: https://api.stripe.com
    yookassa_shop_id: str | None = None
    yookassa_secret_key: str | None = Field(default=None, repr=False)  # live_… or test_…
    yookassa_url: str | None = None  # of its API; unset: https://api.yookassa.ru/v3
    yookassa_networks: str | None = None  # by comma, whose notices are heard; unset: those that YooKassa documents
    sandbox_faults: str = ""  # what goes wrong with the embedded provider: declines=0.1 after=0.05 seed=7
    seller_name: str = "Matinee"  # who sells, on invoices and receipts, as the law wants it told
    seller_address: str = ""
    seller_tax_id: str = ""
    drain_s: float = Field(default=0, ge=0, le=60)  # that the API says `draining` before it closes its door
    gateway: bool = True  # NGINX before the API: HTTPS, segments from disk; false: the API alone, over HTTP
    gateway_port: int | None = None  # of HTTPS; unset: a free one
    gateway_http_port: int | None = None  # where HTTP is sent on to HTTPS; unset: a free one
    gateway_address: str = "127.0.0.1"  # where it listens; 0.0.0.0 or [::] for every network
    gateway_name: str = "localhost"  # of the site, in its certificate and redirects; others by comma
    gateway_behind: str = ""  # proxies before the gateway, by comma: addresses or networks that tell clients' addresses
    tls_certificate: Path | None = None  # PEM, with its chain; unset: a self-signed one in the home
    tls_key: Path | None = None
    cors_origins: str = ""  # origins by comma whose pages may call the API; * for all (then without cookies)
    otlp_endpoint: str | None = None  # http(s)://collector:4318, where traces go; unset: there are none
    region_header: str | None = None  # in which a trusted proxy names the viewer's country (ISO 3166-1 alpha-2)
    # A player sends two events a minute, an offline device some thousand at once. 0: no limit.
    events_per_minute: int = Field(default=1_200, ge=0)
    events_burst: int = Field(default=10_000, ge=500)
    bot_events_per_minute: int = Field(default=600, ge=0)  # more within a minute than a person can do; 0: not looked at
    app_user_agents: str = r"^okhttp/"  # regular expression: our own apps, which the list of crawlers would call bots
    limits_scale: float = Field(default=1, ge=0)  # multiplies every rate limit; 0: none, for load tests alone
    transcode_lanes: int | None = None  # tasks at once in a worker; unset: what the cores bear
    transcode_treatment: Literal["fast", "standard", "premium"] = "standard"
    marts_interval_s: float = 5  # between two looks of `worker marts` for newly landed files
    transcode_budget_cpu_s: float = 54_000  # CPU seconds that encoding popular titles again may take a night

    @field_validator("home_path", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("events_url", mode="after")
    @classmethod
    def _events_in_redis(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("the event log speaks Redis only so far: give a redis:// URL or unset it")
        return value

    @field_validator("smtp_url", mode="after")
    @classmethod
    def _smtp(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("smtp://", "smtps://")):
            raise ValueError(
                "mail goes by smtp://host or smtps://host, or into a maildir of the home where it is unset"
            )
        return value

    @field_validator("public_url", "breached_passwords_url", "stripe_url", "yookassa_url", mode="after")
    @classmethod
    def _web(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("give an http(s):// URL or unset it")
        return value.rstrip("/") if value else None

    @field_validator("app_user_agents", mode="after")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value

    @field_validator("lake_url", "media_url", mode="after")
    @classmethod
    def _local_folder(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError("only a local folder is supported so far: give an absolute path or unset it")
        return value

    @classmethod
    def load(cls, home: str | Path | None = None) -> "Settings":
        """Read the settings; `home` wins over `MATINEE_HOME`.

        Raises:
            SettingsError: a value is wrong; the message names the variable, the value and what is expected.
        """
        given: dict[str, Any] = {} if home is None else {"MATINEE_HOME": Path(home)}
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]).removeprefix("MATINEE_").upper()
            raise SettingsError(f"MATINEE_{name}={first['input']!s}: {first['msg']}") from None

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for a child process."""
        values = self.model_dump(exclude_none=True)
        values["home"] = values.pop("home_path")
        return {f"MATINEE_{name.upper()}": str(value) for name, value in values.items()}

    @property
    def home(self) -> Home:
        return Home(self.home_path)

    @property
    def lake(self) -> Lake:
        return Lake(Path(self.lake_url).absolute() if self.lake_url else self.home.lake)

    @property
    def media(self) -> Path:
        return Path(self.media_url).absolute() if self.media_url else self.home.media

    @property
    def embedded_postgres(self) -> bool:
        return self.database_url is None

    @property
    def embedded_redis(self) -> bool:
        return self.redis_url is None

    def database(self, name: str | None = None) -> str:
        """The libpq URL of Matinee's database, or of a neighbour (`dagster`, `mlflow`) on the same server.

        Neighbours keep their own migrations, so they get a database each: `<ours>_<name>`.
        """
        if self.database_url is None:
            database = f"matinee_{name}" if name else "matinee"
            return f"postgresql://matinee@/{database}?host={quote(str(self.home.sockets), safe='')}"
        if name is None:
            return self.database_url
        parts = urlsplit(self.database_url)
        return urlunsplit(parts._replace(path=f"{parts.path}_{name}"))

    def redis(self) -> str:
        """The URL of Redis. The embedded one listens on loopback, on the port of this home, behind a password."""
        if self.redis_url is not None:
            return self.redis_url
        from matinee.ports import known_port
        from matinee.secrets import secret

        return f"redis://:{secret(self.home, 'redis').hex()}@127.0.0.1:{known_port(self.home, 'redis')}/0"

    def events(self) -> str:
        return self.events_url or self.redis()

    def mlflow(self) -> str:
        """The tracking URI: the given server, or the embedded database directly (no server needed to write)."""
        return self.mlflow_url or self.database("mlflow").replace("postgresql://", "postgresql+psycopg://", 1)
