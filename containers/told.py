#!/usr/bin/env python3
"""One line about an OCI archive: its sizes and the digests of its layers. told.py ARCHIVE UNPACKED-OCTETS"""

import json
import sys
import tarfile
from pathlib import Path


def main():
    """Reads the archive's manifest."""
    archive = Path(sys.argv[1])
    with tarfile.open(archive) as tar:
        read = lambda name: json.load(tar.extractfile(name))
        blob = lambda digest: read("blobs/" + digest.replace(":", "/"))
        manifest = blob(read("index.json")["manifests"][0]["digest"])
    unpacked, packed = int(sys.argv[2]) / 1e6, archive.stat().st_size / 1e6
    layers = " ".join(layer["digest"][7:23] for layer in manifest["layers"])
    print(f"{archive.name}: {unpacked:.1f} MB unpacked, {packed:.1f} MB as an archive, layers {layers}")


if __name__ == "__main__":
    main()
