"""Repositories of The Update Framework with a trusted root in them, by python-tuf."""

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

ROLES = ["root", "timestamp", "snapshot", "targets"]


def roots(signers, old):
    """The root of each version so far, the last one with a key of its own."""
    soon = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
    root = Root(expires=soon)
    for role in ROLES:
        root.add_key(signers[role].public_key, role)
    made = [Metadata(root)]
    made[0].sign(signers["root"])
    if old:
        root = Root.from_dict(root.to_dict())
        root.version = 2
        root.revoke_key(signers["root"].public_key.keyid, "root")
        root.add_key(old.public_key, "root")
        made.append(Metadata(root))
        made[1].sign(signers["root"])
        made[1].sign(old, append=True)
    return made


def write(folder, signers, version, files, days=30, rotated=None):
    folder.mkdir(parents=True)
    expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)
    for metadata in roots(signers, rotated):
        metadata.to_file(str(folder / f"{metadata.signed.version}.root.json"))
    targets = Targets(version=version, expires=expires)
    for name, contents in files.items():
        target = TargetFile.from_data(name, contents, ["sha256"])
        targets.targets[name] = target
        place = folder / "targets" / f"{target.hashes['sha256']}.{name}"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(contents)
    snapshot = Snapshot(version=version, expires=expires)
    snapshot.meta["targets.json"] = MetaFile(version)
    timestamp = Timestamp(version=version, expires=expires, snapshot_meta=MetaFile(version))
    for role, signed, name in [
        ("targets", targets, f"{version}.targets.json"),
        ("snapshot", snapshot, f"{version}.snapshot.json"),
        ("timestamp", timestamp, "timestamp.json"),
    ]:
        metadata = Metadata(signed)
        metadata.sign(signers[role])
        metadata.to_file(str(folder / name))


folder = Path(sys.argv[1])
root = (folder / "trusted_root.json").read_bytes()
config = (folder / "signing_config_2.json").read_bytes()
signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
files = {"trusted_root.json": root, "signing_config.v0.2.json": config}
write(folder / "first", signers, 1, files)
newer = {"trusted_root.json": root + b"\n", "signing_config.v0.2.json": config}
write(folder / "second", signers, 2, newer, rotated=CryptoSigner.generate_ed25519())
write(folder / "expired", signers, 3, files, days=-1)
write(folder / "forged", signers, 3, files)
for target in (folder / "forged" / "targets").glob("*.trusted_root.json"):
    target.write_bytes(target.read_bytes().replace(b"fulcio", b"fulci0"))
others = {role: CryptoSigner.generate_ed25519() for role in ROLES}
write(folder / "stranger", others, 9, files)
