"""What is signed by what, for how long, and for which names."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.nodes import certificates, identity
from roost.nodes.identity import HomeAuthority, Identity

NOW = 1_790_000_000.0


class _Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def test_a_machine_is_the_same_one_after_each_start(tmp_path: Path) -> None:
    assert Identity.open(tmp_path).node_id == Identity.open(tmp_path).node_id
    assert len(Identity.open(tmp_path).node_id) == 64


def test_a_renewed_certificate_is_of_the_same_key_and_the_identity_stays(tmp_path: Path) -> None:
    clock = _Clock()
    own = Identity.open(tmp_path, now=clock, lifetime_s=300)
    before, pinned = own.leaf_file.read_text(), own.certificate
    clock.now += 199
    assert not own.renew()
    clock.now += 2
    assert own.renew() and own.generation == 2
    after = own.leaf_file.read_text()
    assert after != before and own.certificate == pinned
    assert certificates.valid_until(after) == pytest.approx(clock.now + 300, abs=1)


def test_every_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    Identity.open(tmp_path)
    HomeAuthority(tmp_path).serve(frozenset({"box"}))
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}


def test_files_of_two_machines_mixed_up_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Identity.open(tmp_path / name)
    (tmp_path / "a/identity.pem").write_text((tmp_path / "b/identity.pem").read_text())
    with pytest.raises(identity.BadConfiguration, match="pair"):
        Identity.open(tmp_path / "a")


def test_an_identity_in_another_machines_name_or_signed_by_another_key_is_none() -> None:
    key, other = certificates.new_key(), certificates.new_key()
    own = certificates.identity_certificate(key, NOW)
    assert certificates.key_digest_of_identity(own) == certificates.key_digest_of_key(key)
    authority = certificates.home_authority(other, (), NOW)
    leaf = certificates.identity_leaf(key, NOW, 60)
    for certificate in (authority, leaf, "nonsense"):
        with pytest.raises(ValueError):
            certificates.key_digest_of_identity(certificate)


def test_a_signature_counts_for_its_key_and_bytes_alone() -> None:
    key = certificates.new_key()
    own = certificates.identity_certificate(key, NOW)
    signature = certificates.sign(key, b"this")
    assert certificates.is_signed_by(own, signature, b"this")
    assert not certificates.is_signed_by(own, signature, b"that")
    assert not certificates.is_signed_by(
        certificates.identity_certificate(certificates.new_key(), NOW), signature, b"this"
    )
    assert not certificates.is_signed_by(own, b"", b"this")


def test_the_authority_signs_for_home_networks_and_what_it_was_made_for_and_nothing_else(tmp_path: Path) -> None:
    authority = HomeAuthority(tmp_path, now=_Clock())
    asked = {"box", "box.local", "192.168.1.7", "fd00::7", "ai.example.org"}
    authority.serve(frozenset(asked))
    assert certificates.names_in(authority.leaf_file.read_text()) == asked and not authority.left_out
    authority.serve(frozenset({"box", "bank.example.com", "8.8.8.8", "notbox"}))
    assert certificates.names_in(authority.leaf_file.read_text()) == {"box"}
    assert authority.left_out == {"bank.example.com", "8.8.8.8", "notbox"}


def test_the_authority_stays_while_its_certificates_are_renewed(tmp_path: Path) -> None:
    clock = _Clock()
    authority = HomeAuthority(tmp_path, now=clock, lifetime_s=300)
    assert authority.serve(frozenset({"box"})) and not authority.serve(frozenset({"box"}))
    kept = (tmp_path / "ca.pem").read_text()
    clock.now += 250
    assert authority.serve(frozenset({"box"})) and authority.serve(frozenset({"box", "box.local"}))
    assert (tmp_path / "ca.pem").read_text() == kept and authority.generation == 3
