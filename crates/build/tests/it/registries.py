"""Fills a folder with what registries have of one package, `greet` 1.0.0, in every language."""

import base64
import hashlib
import io
import json
import pathlib
import sys
import tarfile
import zipfile

root = pathlib.Path(sys.argv[1])


def write(path, data):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


crate = tar({
    "greet-1.0.0/Cargo.toml": '[package]\nname = "greet"\nversion = "1.0.0"\nedition = "2021"\n',
    "greet-1.0.0/src/lib.rs": 'pub const GREETING: &str = "hello";\n',
})
write("static/greet/1.0.0/download", crate)
write("index/gr/ee/greet", json.dumps({
    "name": "greet", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False,
    "cksum": hashlib.sha256(crate).hexdigest(),
}) + "\n")

go_mod = "module example.com/greet\n\ngo 1.18\n"
write("go/example.com/greet/@v/list", "v1.0.0\n")
write("go/example.com/greet/@v/v1.0.0.info", '{"Version":"v1.0.0","Time":"2020-01-01T00:00:00Z"}')
write("go/example.com/greet/@v/v1.0.0.mod", go_mod)
write("go/example.com/greet/@v/v1.0.0.zip", zipped({
    "example.com/greet@v1.0.0/go.mod": go_mod,
    "example.com/greet@v1.0.0/greet.go": 'package greet\n\nconst Greeting = "hello"\n',
}))

wheel = zipped({
    "greet.py": 'GREETING = "hello"\n',
    "greet-1.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greet\nVersion: 1.0.0\n",
    "greet-1.0.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "greet-1.0.0.dist-info/RECORD": "greet.py,,\ngreet-1.0.0.dist-info/METADATA,,\n"
    "greet-1.0.0.dist-info/WHEEL,,\ngreet-1.0.0.dist-info/RECORD,,\n",
})
name = "greet-1.0.0-py3-none-any.whl"
write("files/packages/aa/" + name, wheel)
digest = hashlib.sha256(wheel).hexdigest()
write("simple.html", f'<!DOCTYPE html><html><body><a href="https://files.python.example/packages/aa/{name}#sha256={digest}">{name}</a></body></html>')

tarball = tar({
    "package/package.json": '{"name":"greet","version":"1.0.0","main":"index.js"}',
    "package/index.js": 'module.exports = "hello";\n',
})
write("npm/greet/-/greet-1.0.0.tgz", tarball)
write("packument.json", json.dumps({
    "name": "greet", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
        "name": "greet", "version": "1.0.0", "main": "index.js", "dist": {
            "tarball": "https://npm.example/greet/-/greet-1.0.0.tgz",
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode(),
        },
    }},
}))

pom = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>com.example</groupId><artifactId>greet</artifactId><version>1.0.0</version><packaging>pom</packaging>
</project>
"""
write("maven2/com/example/greet/1.0.0/greet-1.0.0.pom", pom)
write("maven2/com/example/greet/1.0.0/greet-1.0.0.pom.sha1", hashlib.sha1(pom.encode()).hexdigest())
