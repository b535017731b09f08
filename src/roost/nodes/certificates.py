"""Keys and certificates of this machine and of others, as PEM or DER; the one module that needs `cryptography`.

A machine's key never changes: its digest is who the machine is. Its identity certificate, signed by that key and valid
for decades, is what others pin; what it shows in a connection is a leaf of the same key, issued by the identity and
renewed often, so that a renewal needs nobody's consent. The authority for plain clients has a key of its own, and may
sign for names of a home network only.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Clocks of two machines may differ so much.
_BEFORE = timedelta(days=1)
_IDENTITY_DAYS = 50 * 365
_AUTHORITY_DAYS = 10 * 365
#: What the authority may sign for: names and addresses that no public site has.
_HOME_NAMES = ("localhost", "local", "lan", "home", "internal", "home.arpa")
_HOME_NETWORKS = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)


def new_key() -> str:
    """A private key, P-256."""
    return _private_pem(ec.generate_private_key(ec.SECP256R1()))


def key_digest_of_key(key: str) -> str:
    """Hex digits of the SHA-256 over the public key (SubjectPublicKeyInfo) of a private one."""
    return _digest(_private(key).public_key())


def key_digest(certificate: bytes) -> str:
    """The same of a certificate in DER. Raises ValueError."""
    public = x509.load_der_x509_certificate(certificate).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("not a key of an elliptic curve")
    return _digest(public)


def public_digest(certificate: str) -> str:
    """The same of a certificate in PEM. Raises ValueError."""
    public = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("not a key of an elliptic curve")
    return _digest(public)


def key_digest_of_identity(certificate: str) -> str:
    """Whose identity certificate this is. Raises ValueError unless it is one: an authority signed by its own key, in
    that key's name."""
    found = x509.load_pem_x509_certificate(certificate.encode())
    public = found.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("not a key of an elliptic curve")
    digest = _digest(public)
    try:
        found.verify_directly_issued_by(found)
        is_authority = found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (InvalidSignature, TypeError, x509.ExtensionNotFound) as error:
        raise ValueError("not signed by its own key") from error
    if not is_authority or found.subject != _name(digest):
        raise ValueError("not an identity certificate of a roost")
    return digest


def identity_certificate(key: str, now: float) -> str:
    """What others pin of the machine with this key."""
    private = _private(key)
    name = _name(_digest(private.public_key()))
    builder = _begun(name, name, private, now, timedelta(days=_IDENTITY_DAYS))
    return _signed(_as_authority(builder), private)


def identity_leaf(key: str, now: float, lifetime_s: float) -> str:
    """What this machine shows to paired ones, at either end of a connection."""
    private = _private(key)
    issuer = _name(_digest(private.public_key()))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "roost")])
    builder = _begun(subject, issuer, private, now, timedelta(seconds=lifetime_s))
    return _signed(_as_leaf(builder, private, ()), private)


def home_authority(key: str, names: Iterable[str], now: float) -> str:
    """The authority for plain clients. It may sign for names and addresses of home networks and for `names`."""
    private = _private(key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"roost CA {_digest(private.public_key())[:8]}")])
    permitted: list[x509.GeneralName] = [x509.DNSName(one) for one in sorted({*_HOME_NAMES, *_dns_names(names)})]
    permitted += [x509.IPAddress(ipaddress.ip_network(one)) for one in _HOME_NETWORKS]
    builder = _as_authority(_begun(name, name, private, now, timedelta(days=_AUTHORITY_DAYS)))
    return _signed(builder.add_extension(x509.NameConstraints(permitted, None), critical=True), private)


def home_leaf(authority: str, authority_key: str, key: str, names: Iterable[str], now: float, lifetime_s: float) -> str:
    """What plain clients are shown: a certificate for these names and addresses, as far as the authority may sign."""
    issuer = x509.load_pem_x509_certificate(authority.encode())
    allowed = sorted(one for one in set(names) if _permitted(issuer, one))
    private, signer = _private(key), _private(authority_key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (allowed or ["roost"])[0][:64])])
    builder = _begun(subject, issuer.subject, private, now, timedelta(seconds=lifetime_s))
    return _signed(_as_leaf(builder, signer, [_general(one) for one in allowed]), signer)


def sign(key: str, data: bytes) -> bytes:
    return _private(key).sign(data, ec.ECDSA(hashes.SHA256()))


def is_signed_by(certificate: str, signature: bytes, data: bytes) -> bool:
    """Whether whoever has the key of this certificate signed these bytes."""
    public = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return False
    try:
        public.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def valid_until(certificate: str) -> float:
    """Unix time. Raises ValueError."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()


def names_in(certificate: str) -> frozenset[str]:
    """The names and addresses that it is for."""
    found = x509.load_pem_x509_certificate(certificate.encode())
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = (str(one) for one in names.get_values_for_type(x509.IPAddress))
    return frozenset((*names.get_values_for_type(x509.DNSName), *addresses))


def permitted_names(authority: str, names: Iterable[str]) -> frozenset[str]:
    """Those of the names that the authority may sign for."""
    issuer = x509.load_pem_x509_certificate(authority.encode())
    return frozenset(one for one in names if _permitted(issuer, one))


def _permitted(issuer: x509.Certificate, name: str) -> bool:
    constraints = issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    subtrees = [one.value for one in constraints.permitted_subtrees or ()]
    match _general(name):
        case x509.IPAddress(value=address):
            return any(
                isinstance(one, ipaddress.IPv4Network | ipaddress.IPv6Network) and address in one for one in subtrees
            )
        case _:
            return any(isinstance(one, str) and (name == one or name.endswith(f".{one}")) for one in subtrees)


def _general(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _dns_names(names: Iterable[str]) -> list[str]:
    return [name for name in names if isinstance(_general(name), x509.DNSName)]


def _name(digest: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"roost node {digest[:32]}")])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: float, lifetime: timedelta
) -> x509.CertificateBuilder:
    at = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _BEFORE)
        .not_valid_after(at + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _as_authority(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(
        _usage(signs_certificates=True), critical=True
    )


def _as_leaf(
    builder: x509.CertificateBuilder, issuer: ec.EllipticCurvePrivateKey, names: Iterable[x509.GeneralName]
) -> x509.CertificateBuilder:
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(signer, critical=False)
    )
    given = list(names)
    return builder.add_extension(x509.SubjectAlternativeName(given), critical=False) if given else builder


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> str:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(key.encode(), password=None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of an elliptic curve")
    return found


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _digest(public: ec.EllipticCurvePublicKey) -> str:
    encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()
