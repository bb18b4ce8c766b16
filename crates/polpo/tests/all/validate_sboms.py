"""Checks the SPDX document inside each of the .apk files given, by the SPDX project's own library. Prints how many there were."""

import io
import os
import sys
import tarfile
import tempfile
import zlib

from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document


def documents(package):
    with open(package, "rb") as file:
        data = file.read()
    while data:
        decompressor = zlib.decompressobj(wbits=31)
        plain = decompressor.decompress(data) + decompressor.flush()
        data = decompressor.unused_data
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        for entry in archive:
            if entry.name.startswith("var/lib/db/sbom/") and entry.isreg():
                yield archive.extractfile(entry).read()


checked = 0
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "document.spdx.json")
    for package in sys.argv[1:]:
        for document in documents(package):
            with open(path, "wb") as file:
                file.write(document)
            problems = validate_full_spdx_document(parse_file(path))
            if problems:
                sys.exit(f"{package}: {problems}")
            checked += 1
print(checked)
