"""The certificate of the gateway: the given one, or a self-signed one in the home for machines of one's own."""

import os
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from matinee.settings import Settings
from serving.gateway.plan import LOOPBACK_NAMES, GatewayError

# Browsers refuse longer ones (CA/Browser Forum, Baseline Requirements 6.3.2).
_LIFE = timedelta(days=397)
_RENEW_BEFORE = timedelta(days=30)


def certificate(settings: Settings, now: datetime) -> tuple[Path, Path]:
    """Paths of certificate chain and private key (PEM). A self-signed one is made anew before it ends.

    Raises:
        GatewayError: only one of the two is given, or a given file is not there.
    """
    given = (settings.tls_certificate, settings.tls_key)
    if given[0] is None and given[1] is None:
        return _own(settings, now)
    if given[0] is None or given[1] is None:
        raise GatewayError("give both MATINEE_TLS_CERTIFICATE and MATINEE_TLS_KEY, or neither")
    for path in given:
        if path is not None and not path.is_file():
            raise GatewayError(f"there is no certificate or key at {path}")
    return given[0].absolute(), given[1].absolute()


def _own(settings: Settings, now: datetime) -> tuple[Path, Path]:
    chain, key = settings.home.secrets / "gateway.pem", settings.home.secrets / "gateway.key"
    names = _names(settings)
    if not (chain.is_file() and key.is_file() and _serves(chain, names, now)):
        settings.home.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(chain, key, names, now)
    return chain, key


def _names(settings: Settings) -> list[str]:
    named = [name.strip().strip("[]") for name in (*settings.gateway_name.split(","), *LOOPBACK_NAMES)]
    return list(dict.fromkeys(name for name in named if name and name != "*"))


def _serves(chain: Path, names: list[str], now: datetime) -> bool:
    from cryptography import x509

    made = x509.load_pem_x509_certificate(chain.read_bytes())
    found = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    held = {str(name.value) for name in found}
    return held == set(names) and made.not_valid_before_utc <= now < made.not_valid_after_utc - _RENEW_BEFORE


def _make(chain: Path, key: Path, names: list[str], now: datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    _write(key, private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    _write(chain, made.public_bytes(serialization.Encoding.PEM))


def _general_name(name: str):
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    os.replace(draft, path)
