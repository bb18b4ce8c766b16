"""Reads a package by nothing but Python's library and openssl, and says what it found, as JSON.

Arguments: the package, the public key's file.
"""

import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zlib

path, key = sys.argv[1:]
rest = open(path, "rb").read()
members = []
while rest:
    inflate = zlib.decompressobj(31)
    tar = inflate.decompress(rest) + inflate.flush()
    assert inflate.eof, "a gzip member is truncated"
    raw = rest[: len(rest) - len(inflate.unused_data)]
    # No time, no name, system unknown.
    assert raw[3:8] == bytes(5) and raw[9] == 255, raw[:10]
    members.append((raw, tar))
    rest = inflate.unused_data

assert len(members) == 3, len(members)
(_, signature), (control, control_tar), (data, data_tar) = members
assert not signature.endswith(bytes(1024)) or len(signature) % 512 == 0
for open_ended in (signature, control_tar):
    assert len(open_ended) % 512 == 0
assert data_tar[-1024:] == bytes(1024) and len(data_tar) % 512 == 0


def archive(tar):
    return tarfile.open(fileobj=io.BytesIO(tar + bytes(1024)))


(entry,) = archive(signature).getmembers()
blob = archive(signature).extractfile(entry).read()
with tempfile.NamedTemporaryFile() as signed, tempfile.NamedTemporaryFile() as by:
    signed.write(control)
    signed.flush()
    by.write(blob)
    by.flush()
    subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", key, "-signature", by.name, signed.name],
        check=True,
        stdout=subprocess.DEVNULL,
    )

control_files = {}
for member in archive(control_tar).getmembers():
    assert (member.uname, member.gname, member.uid, member.gid) == ("root", "root", 0, 0)
    text = archive(control_tar).extractfile(member).read().decode()
    control_files[member.name] = [oct(member.mode), member.mtime, text]
keys = [line.split(" = ", 1) for line in control_files[".PKGINFO"][2].splitlines() if " = " in line]
assert dict(keys)["datahash"] == hashlib.sha256(data).hexdigest()

entries = []
whole = archive(data_tar)
for member in whole.getmembers():
    recorded = member.pax_headers.get("APK-TOOLS.checksum.SHA1")
    computed = None
    if member.isreg():
        computed = hashlib.sha1(whole.extractfile(member).read()).hexdigest()
    elif member.issym():
        computed = hashlib.sha1(member.linkname.encode()).hexdigest()
    elif member.islnk():
        recorded = None
    assert recorded == computed, member.name
    attributes = {
        name.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape").hex()
        for name, value in member.pax_headers.items()
        if name.startswith("SCHILY.xattr.")
    }
    entries.append(
        [
            member.name,
            member.type.decode(),
            oct(member.mode),
            member.uid,
            member.gid,
            member.size,
            member.linkname,
            member.mtime,
            attributes,
        ]
    )

print(
    json.dumps(
        {
            "signature": entry.name,
            "identity": "Q1" + base64.b64encode(hashlib.sha1(control).digest()).decode(),
            "control": control_files,
            "entries": entries,
        }
    )
)
