#!/usr/bin/env python3
"""Which package every file of an unpacked Debian came from, while the packages still lie beside it: packages.py TREE"""

import json
import subprocess
import sys
from pathlib import Path


def field(package, name):
    """A field of a package's control file."""
    return subprocess.run(["dpkg-deb", "-f", package, name], check=True, capture_output=True, text=True).stdout.strip()


def main():
    """Writes packages.json at the top of the tree, and the bundle of certificates that a script would have made."""
    tree = Path(sys.argv[1])
    files, versions = {}, {}
    for package in sorted((tree / "var/cache/apt/archives").glob("*.deb")):
        name = field(package, "Package")
        source = field(package, "Source").split(" ")[0] or name
        versions[name] = {"version": field(package, "Version"), "source": source}
        listing = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
        names = subprocess.run(["tar", "-tf", "-"], input=listing, check=True, capture_output=True).stdout.decode()
        for path in names.splitlines():
            path = path.removeprefix("./")
            if path and not path.endswith("/"):
                files[path] = name
                # Where /lib is a link, the same file is below /usr.
                files.setdefault(f"usr/{path}", name)
    (tree / "packages.json").write_text(json.dumps({"files": files, "versions": versions}))

    authorities = sorted((tree / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    if authorities:
        bundle = tree / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("".join(path.read_text().strip() + "\n" for path in authorities))
        files["etc/ssl/certs/ca-certificates.crt"] = "ca-certificates"
        (tree / "packages.json").write_text(json.dumps({"files": files, "versions": versions}))


if __name__ == "__main__":
    main()
