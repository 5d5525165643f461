"""The server's side of TLS: PEM files, a PKCS12 keystore, or a certificate made at start."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from modelplex.server.config import Config, ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

log = logging.getLogger(__name__)

_DAYS = 365  # how long a certificate made at start is valid
_NO_CRYPTOGRAPHY = "needs the package cryptography: pip install 'modelplex[tls]'"


def context(config: Config) -> ssl.SSLContext | None:
    """What https addresses are served with; None if there is none. Raises ConfigError."""
    addresses = (config.inference_address, config.management_address)
    if not any(address.startswith("https:") for address in addresses):
        return None
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.keystore is not None:
        _load_pem(found, _from_keystore(config, config.keystore), f"keystore {config.keystore}")
    elif config.certificate_file is not None and config.private_key_file is not None:
        _load_files(found, config.certificate_file, config.private_key_file)
    else:
        log.warning("tls.self_signed", extra={"days": _DAYS})
        _load_pem(found, self_signed(), "the certificate made at start")
    return found


def self_signed() -> bytes:
    """A new key and a certificate for this host's names, as PEM. Raises ConfigError."""
    try:
        from cryptography import x509  # noqa: PLC0415  an extra
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    except ImportError:
        raise ConfigError(f"https without key and certificate {_NO_CRYPTOGRAPHY}.") from None
    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host[:64])])
    names = [x509.DNSName(each) for each in dict.fromkeys((host, "localhost"))]
    addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(key, [certificate])


def _from_keystore(config: Config, path: Path) -> bytes:
    """Key and certificates of a PKCS12 file as PEM."""
    if config.keystore_type.upper() != "PKCS12":
        raise ConfigError(
            f"keystore_type {config.keystore_type} cannot be read, only PKCS12: keytool"
            f" -importkeystore -srckeystore {path} -destkeystore NEW -deststoretype PKCS12"
        )
    try:
        from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415
    except ImportError:
        raise ConfigError(f"A keystore {_NO_CRYPTOGRAPHY}.") from None
    try:
        found = pkcs12.load_pkcs12(path.read_bytes(), config.keystore_pass.encode())
    except (OSError, ValueError) as error:
        raise ConfigError(f"The keystore {path} cannot be read: {error}") from None
    if found.key is None or found.cert is None:
        raise ConfigError(f"The keystore {path} has no private key with its certificate.")
    others = [each.certificate for each in found.additional_certs]
    return _pem(found.key, [found.cert.certificate, *others])


def _pem(key: PrivateKeyTypes, certificates: list[Certificate]) -> bytes:
    """As `ssl` reads it: the key, the server's own certificate, those of its issuers."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    texts = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
    return b"".join([*texts, *(each.public_bytes(Encoding.PEM) for each in certificates)])


def _load_files(found: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        if not path.is_file():
            raise ConfigError(f"The file {path} does not exist.")

    def refuse() -> NoReturn:
        raise ConfigError(f"The private key {key} is encrypted: its password cannot be given.")

    try:
        found.load_cert_chain(certificate, key, password=refuse)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{certificate} and {key} cannot be used: {error}.") from None


def _load_pem(found: ssl.SSLContext, pem: bytes, what: str) -> None:
    try:
        with _in_memory(pem) as path:
            found.load_cert_chain(path)
    except ssl.SSLError as error:
        raise ConfigError(f"{what} cannot be used: {error}.") from None


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path under which the content can be read; a private key is never on a disk for it."""
    descriptor = os.memfd_create("pem")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
