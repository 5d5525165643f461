"""TLS of the server: where key and certificate come from, held against a real handshake."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from modelplex.server.config import Config, ConfigError
from modelplex.server.start import tls

HTTPS = "https://127.0.0.1:8443"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(name: str = "localhost") -> x509.Certificate:
    """One for KEY, signed by it."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(KEY, hashes.SHA256())
    )


def key_pem(form: PrivateFormat, protection: KeySerializationEncryption) -> bytes:
    """KEY as a PEM file."""
    return KEY.private_bytes(Encoding.PEM, form, protection)


def greeted(context: ssl.SSLContext, trusted: bytes, **client: ssl.TLSVersion) -> str:
    """The protocol version that a client agrees on who trusts just `trusted` (PEM)."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        try:
            with context.wrap_socket(theirs, server_side=True) as secure:
                secure.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        checking = ssl.create_default_context(cadata=trusted.decode())
        for name, value in client.items():
            setattr(checking, name, value)
        with checking.wrap_socket(ours, server_hostname="localhost") as secure:
            return secure.version() or ""
    finally:
        ours.close()
        thread.join()


def test_plain_addresses_need_none() -> None:
    """Nothing is looked at, not even a keystore that is not there."""
    assert tls.context(Config(keystore=Path("/nowhere"))) is None


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_pem_files(form: PrivateFormat, tmp_path: Path) -> None:
    """Both forms of private keys, as Multi Model Server takes them."""
    cert = certificate().public_bytes(Encoding.PEM)
    (tmp_path / "cert").write_bytes(cert)
    (tmp_path / "key").write_bytes(key_pem(form, NoEncryption()))
    config = Config(
        inference_address=HTTPS,
        certificate_file=tmp_path / "cert",
        private_key_file=tmp_path / "key",
    )
    context = tls.context(config)
    assert context is not None
    assert greeted(context, cert) == "TLSv1.3"
    two = ssl.TLSVersion.TLSv1_2
    assert greeted(context, cert, maximum_version=two) == "TLSv1.2"


def test_a_keystore(tmp_path: Path) -> None:
    """PKCS12 with a password; also for the management address alone."""
    cert = certificate()
    store = pkcs12.serialize_key_and_certificates(
        b"mms", KEY, cert, [certificate("issuer")], BestAvailableEncryption(b"changeit")
    )
    (tmp_path / "keystore.p12").write_bytes(store)
    config = Config(management_address=HTTPS, keystore=tmp_path / "keystore.p12")
    context = tls.context(config)
    assert context is not None
    assert greeted(context, cert.public_bytes(Encoding.PEM))


def test_a_certificate_is_made_where_none_is_given() -> None:
    """As Multi Model Server does; it holds for localhost."""
    pem = tls.self_signed()
    context = tls.context(Config(inference_address=HTTPS))
    assert context is not None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls._load_pem(made, pem, "test")
    assert greeted(made, pem[pem.index(b"-----BEGIN CERTIFICATE") :]) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):  # each start makes its own
        greeted(context, pem[pem.index(b"-----BEGIN CERTIFICATE") :])


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Each with a sentence that names the file."""
    cert, key, store = (tmp_path / name for name in ("cert", "key", "store"))
    files = Config(inference_address=HTTPS, certificate_file=cert, private_key_file=key)
    with pytest.raises(ConfigError, match=f"The file {cert} does not exist"):
        tls.context(files)
    cert.write_bytes(certificate().public_bytes(Encoding.PEM))
    key.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=f"{cert} and {key} cannot be used"):
        tls.context(files)
    key.write_bytes(key_pem(PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigError, match=f"The private key {key} is encrypted"):
        tls.context(files)
    with pytest.raises(ConfigError, match=f"The keystore {store} cannot be read"):
        tls.context(Config(inference_address=HTTPS, keystore=store))
    empty = pkcs12.serialize_key_and_certificates(
        b"x", None, certificate(), None, BestAvailableEncryption(b"changeit")
    )
    store.write_bytes(empty)
    with pytest.raises(ConfigError, match="has no private key"):
        tls.context(Config(inference_address=HTTPS, keystore=store))
    with pytest.raises(ConfigError, match="cannot be read"):
        tls.context(Config(inference_address=HTTPS, keystore=store, keystore_pass="wrong"))
    with pytest.raises(ConfigError, match="keystore_type JKS cannot be read, only PKCS12"):
        tls.context(Config(inference_address=HTTPS, keystore=store, keystore_type="JKS"))


def test_without_the_package_the_message_says_what_to_install() -> None:
    """It is an extra: only keystores and certificates made at start need it."""
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from modelplex.server.start import tls\n"
        "from modelplex.server.config import Config\n"
        f"config = Config(inference_address={HTTPS!r})\n"
        "try: tls.context(config)\n"
        "except ValueError as error: print(error)\n"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "pip install 'modelplex[tls]'" in said
