"""Checks apk repositories and OCI layouts without any of polpo's code: tarfile, zlib, hashlib and the openssl program.

usage: independent.py repository FOLDER/ARCH KEYS      every package and the index, signatures included
       independent.py layout FOLDER                    every blob, diffID, and each file against the package database
Prints one line per checked thing; any mismatch is a non-zero exit with the reason.
"""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib


def fail(reason):
    sys.exit(f"independent check failed: {reason}")


def expect(what, found, wanted):
    if found != wanted:
        fail(f"{what}: found {found!r}, wanted {wanted!r}")


def members(data):
    """The gzip members of data as (compressed bytes, decompressed bytes)."""
    result = []
    while data:
        decompressor = zlib.decompressobj(wbits=31)
        plain = decompressor.decompress(data) + decompressor.flush()
        if not decompressor.eof:
            fail("a gzip member is truncated")
        used = len(data) - len(decompressor.unused_data)
        result.append((data[:used], plain))
        data = decompressor.unused_data
    return result


def entries(plain, ends):
    """Tar entries; `ends` says whether the two zero blocks must be there."""
    expect("tar length", len(plain) % 512, 0)
    expect("tar end blocks", plain.endswith(bytes(1024)), ends)
    # A reader stops at the first end blocks: whatever lies behind them would be lost without a word.
    body = plain[:-1024] if ends else plain
    offset = 0
    while offset < len(body):
        header = body[offset:offset + 512]
        if header == bytes(512):
            fail(f"end blocks inside the tar, at {offset}")
        size = int(header[124:136].rstrip(b"\0 ") or b"0", 8)
        offset += 512 + (size + 511) // 512 * 512
    expect("tar entries end where the tar ends", offset, len(body))
    padded = body + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(padded), mode="r:") as archive:
        return [
            (entry, archive.extractfile(entry).read() if entry.isreg() else b"")
            for entry in archive
        ]


def check_signature(signature_tar, signed, keys):
    found = entries(signature_tar, ends=False)
    expect("number of signatures", len(found), 1)
    entry, signature = found[0]
    prefix = ".SIGN.RSA256."
    if not entry.name.startswith(prefix):
        fail(f"signature entry is called {entry.name}")
    key = os.path.join(keys, entry.name[len(prefix):])
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "signature"), "wb") as file:
            file.write(signature)
        with open(os.path.join(folder, "signed"), "wb") as file:
            file.write(signed)
        subprocess.run(
            ["openssl", "dgst", "-sha256", "-verify", key, "-signature", f"{folder}/signature", f"{folder}/signed"],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def index_records(text):
    for block in text.strip().split("\n\n"):
        record = {}
        for line in block.splitlines():
            expect("index line", line[1], ":")
            if line[0] in record:
                fail(f"index letter {line[0]} twice")
            record[line[0]] = line[2:]
        yield record


def check_package(path, record, keys):
    with open(path, "rb") as file:
        data = file.read()
    expect(f"{path}: index size", record["S"], str(len(data)))
    parts = members(data)
    expect(f"{path}: members", len(parts), 3)
    (_, signature), (control_packed, control), (data_packed, contents) = parts
    check_signature(signature, control_packed, keys)
    identity = "Q1" + base64.b64encode(hashlib.sha1(control_packed).digest()).decode()
    expect(f"{path}: identity", record["C"], identity)
    info = {}
    for entry, text in entries(control, ends=False):
        if entry.name == ".PKGINFO":
            for line in text.decode().splitlines():
                if line.startswith("#"):
                    continue
                key, _, value = line.partition(" = ")
                info.setdefault(key, []).append(value)
    expect(f"{path}: name", info["pkgname"], [record["P"]])
    expect(f"{path}: version", info["pkgver"], [record["V"]])
    expect(f"{path}: installed size", info["size"], [record["I"]])
    expect(f"{path}: depends", info.get("depend", []), record.get("D", "").split())
    expect(f"{path}: provides", info.get("provides", []), record.get("p", "").split())
    expect(f"{path}: datahash", info["datahash"], [hashlib.sha256(data_packed).hexdigest()])
    seen = set()
    for entry, text in entries(contents, ends=True):
        name = entry.name
        if name.startswith("/") or name.startswith("./") or ".." in name.split("/") or name.endswith("/"):
            fail(f"{path}: entry is called {name}")
        if name in seen:
            fail(f"{path}: {name} twice")
        seen.add(name)
        parent = os.path.dirname(name)
        if parent and parent not in seen:
            fail(f"{path}: {name} comes before its folder")
        checksum = entry.pax_headers.get("APK-TOOLS.checksum.SHA1")
        if entry.isreg():
            expect(f"{path}: {name}", checksum, hashlib.sha1(text).hexdigest())
        elif entry.issym():
            expect(f"{path}: {name}", checksum, hashlib.sha1(entry.linkname.encode()).hexdigest())
    return len(seen)


def check_repository(folder, keys):
    with open(os.path.join(folder, "APKINDEX.tar.gz"), "rb") as file:
        parts = members(file.read())
    expect("index members", len(parts), 2)
    check_signature(parts[0][1], parts[1][0], keys)
    texts = {entry.name: text.decode() for entry, text in entries(parts[1][1], ends=True)}
    records = list(index_records(texts["APKINDEX"]))
    files = 0
    for record in records:
        files += check_package(os.path.join(folder, f"{record['P']}-{record['V']}.apk"), record, keys)
    wanted = sorted(f"{record['P']}-{record['V']}.apk" for record in records)
    found = sorted(name for name in os.listdir(folder) if name.endswith(".apk"))
    expect("packages beside the index", found, wanted)
    print(f"{len(records)} packages, {files} entries")


def check_layout(folder):
    def blob(descriptor):
        algorithm, digest = descriptor["digest"].split(":")
        with open(os.path.join(folder, "blobs", algorithm, digest), "rb") as file:
            data = file.read()
        expect(descriptor["digest"], hashlib.sha256(data).hexdigest(), digest)
        expect(f"{descriptor['digest']}: size", len(data), descriptor["size"])
        return data

    with open(os.path.join(folder, "index.json")) as file:
        index = json.load(file)
    images = 0
    for descriptor in index["manifests"]:
        manifest = json.loads(blob(descriptor))
        if "manifests" in manifest:
            for inner in manifest["manifests"]:
                images += check_image(json.loads(blob(inner)), blob)
        elif "subject" in manifest:
            for layer in [manifest["config"], *manifest["layers"]]:
                blob(layer)
        else:
            images += check_image(manifest, blob)
    if images == 0:
        fail("the layout holds no image")
    print(f"{images} images")


def check_image(manifest, blob):
    config = json.loads(blob(manifest["config"]))
    expect("layers", len(manifest["layers"]), len(config["rootfs"]["diff_ids"]))
    tree = {}
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
        parts = members(blob(layer))
        expect("gzip members of a layer", len(parts), 1)
        plain = parts[0][1]
        expect("diffID", "sha256:" + hashlib.sha256(plain).hexdigest(), diff_id)
        listed = entries(plain, ends=True)
        for entry, text in listed:
            parent = os.path.dirname(entry.name)
            if parent and parent not in tree:
                fail(f"{entry.name} comes before its folder")
            if entry.islnk() and entry.linkname not in tree:
                fail(f"{entry.name} links to {entry.linkname}, which comes later")
            tree[entry.name] = (entry, text)
    folder = None
    checked = 0
    for line in tree["usr/lib/apk/db/installed"][1].decode().splitlines():
        key, _, value = line.partition(":")
        if key == "F":
            folder = value
        elif key == "R":
            path = f"{folder}/{value}".lstrip("/")
            if path not in tree:
                fail(f"{path} is in the database and not in the image")
        elif key == "Z":
            entry, text = tree[path]
            while entry.islnk():
                entry, text = tree[entry.linkname]
            content = entry.linkname.encode() if entry.issym() else text
            expect(path, "Q1" + base64.b64encode(hashlib.sha1(content).digest()).decode(), value)
            checked += 1
    if checked == 0:
        fail("the database names no file")
    return 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["repository", folder, keys]:
            check_repository(folder, keys)
        case ["layout", folder]:
            check_layout(folder)
        case _:
            sys.exit(__doc__)
