#!/usr/bin/env python3
"""What is inside an image, as SPDX 2.3 and as a list of licences.

    sbom.py --name posthorn --packages packages.json --checkout . --spdx sbom.spdx.json --licences licences.txt

The crates are those that the program is built from, as Cargo.lock and `cargo metadata` (offline) know them; the packages
are those of Debian of which anything was copied, or with --closure the paths of a Nix store that lie beside it. The
document has no time but SOURCE_DATE_EPOCH and is the same for the same content.
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path


def crates(checkout, target):
    """The crates that the program links or is built with, from its root down; tests and benches are left out."""
    command = ["cargo", "metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", target]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    metadata = json.loads(done.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(id for id, package in packages.items() if package["name"] == "posthorn")
    wanted, todo = set(), [root]
    while todo:
        found = todo.pop()
        if found in wanted:
            continue
        wanted.add(found)
        for dependency in nodes[found]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    return sorted((packages[id] for id in wanted), key=lambda package: (package["name"], package["version"]))


def spdx_id(kind, name, version):
    """A name that SPDX allows."""
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{kind}-{name}-{version}")


def described(checkout, target, packages):
    """Rows of SPDX packages."""
    rows = []
    for crate in crates(checkout, target):
        # Old manifests write MIT/Apache-2.0.
        licence = (crate["license"] or "NOASSERTION").replace("/", " OR ")
        ours = crate["source"] is None
        rows.append(
            {
                "SPDXID": spdx_id("crate", crate["name"], crate["version"]),
                "name": crate["name"],
                "versionInfo": crate["version"],
                "downloadLocation": "NOASSERTION" if ours else f"https://crates.io/crates/{crate['name']}/{crate['version']}",
                "licenseDeclared": licence,
                "licenseConcluded": "NOASSERTION",
                "copyrightText": "NOASSERTION",
                "filesAnalyzed": False,
                "externalRefs": [purl(f"pkg:cargo/{crate['name']}@{crate['version']}")],
            }
        )
    for package in packages:
        rows.append(
            {
                "SPDXID": spdx_id("deb", package["name"], package["version"]),
                "name": package["name"],
                "versionInfo": package["version"],
                "sourceInfo": f"source package {package['source']}",
                "downloadLocation": "NOASSERTION",
                "licenseDeclared": "NOASSERTION",
                "licenseConcluded": "NOASSERTION",
                "licenseComments": f"/usr/share/doc/{package['name']}/copyright",
                "copyrightText": "NOASSERTION",
                "filesAnalyzed": False,
                "externalRefs": [purl(f"pkg:deb/debian/{package['name']}@{package['version']}")],
            }
        )
    return rows


def of_store(closure):
    """Rows of SPDX packages for paths of a Nix store; without the hash of a path, so that nothing refers to it."""
    rows = {}
    for path in closure.read_text().split():
        name, version = re.fullmatch(r".*/[0-9a-z]{32}-(.+?)(?:-([0-9].*))?", path).groups()
        identifier = spdx_id("nix", name, version or "0")
        rows[identifier] = {
            "SPDXID": identifier,
            "name": name,
            "versionInfo": version or "NOASSERTION",
            "downloadLocation": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "licenseConcluded": "NOASSERTION",
            "licenseComments": "meta.license of the package in nixpkgs",
            "copyrightText": "NOASSERTION",
            "filesAnalyzed": False,
        }
    return [rows[identifier] for identifier in sorted(rows)]


def purl(locator):
    """A package URL as SPDX refers to it."""
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator.replace("+", "%2B")}


def document(name, rows):
    """The whole document."""
    content = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    made = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    relations = [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": row["SPDXID"]}
        for row in rows
    ]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{content}",
        "creationInfo": {"created": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Tool: containers/sbom.py"]},
        "packages": rows,
        "relationships": relations,
    }


def main():
    """Writes both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    beside = parser.add_mutually_exclusive_group(required=True)
    beside.add_argument("--packages", type=Path)
    beside.add_argument("--closure", type=Path)
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--target", default=f"{os.uname().machine}-unknown-linux-gnu")
    parser.add_argument("--spdx", type=Path, required=True)
    parser.add_argument("--licences", type=Path, required=True)
    args = parser.parse_args()
    rows = described(args.checkout, args.target, json.loads(args.packages.read_text()) if args.packages else [])
    if args.closure:
        rows += of_store(args.closure)
    args.spdx.write_text(json.dumps(document(args.name, rows), indent=1) + "\n")
    lines = [f"{row['name']} {row['versionInfo']}: {row.get('licenseComments', row['licenseDeclared'])}" for row in rows]
    args.licences.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
