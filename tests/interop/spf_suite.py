"""The openspf test suite for RFC 7208: every case against the library, and over the wire.

Its zones and cases come out of the source of pyspf, which pip brings; POSTHORN_SPF_SUITE=FILE names a copy of
rfc7208-tests.yml instead.
"""
# needs: python:pip python:yaml

import json
import os
import pathlib
import subprocess
import sys
import tarfile

import yaml

KINDS = ["A", "AAAA", "TXT", "MX", "PTR", "CNAME"]


def suite():
    """The text of the suite."""
    if named := os.environ.get("POSTHORN_SPF_SUITE"):
        return pathlib.Path(named).read_bytes()
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "pyspf==2.0.14"]
    subprocess.run(pip, check=True)
    with tarfile.open(next(pathlib.Path().glob("pyspf-*.tar.gz"))) as source:
        name = next(name for name in source.getnames() if name.endswith("/rfc7208-tests.yml"))
        return source.extractfile(name).read()


def records(name, entries):
    """What a name has: its records, and the kinds of questions that fail. Records of the old type SPF stand for TXT
    records, unless there are such."""
    found, times_out = [], False
    texts = any("TXT" in entry for entry in entries if isinstance(entry, dict))
    for entry in entries:
        if entry == "TIMEOUT":
            times_out = True
            continue
        for kind, value in entry.items():
            if kind == "SPF" and texts or value == "NONE":
                continue
            if kind in ("SPF", "TXT"):
                found.append([name, "TXT", [value] if isinstance(value, str) else value])
            elif kind == "MX":
                found.append([name, "MX", *value])
            else:
                found.append([name, kind, value])
    failing = [[name, kind] for kind in KINDS if times_out and kind not in {record[1] for record in found}]
    return found, failing


def scenario(document):
    """A document of the suite as the program reads it."""
    pairs = [records(name, entries) for name, entries in document["zonedata"].items()]
    cases = [
        {
            "id": name,
            "client": case["host"],
            "helo": case["helo"],
            "sender": case["mailfrom"],
            "results": case["result"] if isinstance(case["result"], list) else [case["result"]],
            "explanation": case.get("explanation"),
        }
        for name, case in document["tests"].items()
    ]
    return {"records": [record for found, _ in pairs for record in found], "failing": [one for _, failing in pairs for one in failing], "cases": cases}


pathlib.Path("suite.json").write_text(json.dumps([scenario(document) for document in yaml.safe_load_all(suite())]))
ran = subprocess.run([os.environ["POSTHORN_SPF"], "suite.json"], stdout=subprocess.PIPE, text=True)
print(ran.stdout)
assert ran.returncode == 0, "the suite does not pass"
assert "203 cases, 0 differ" in ran.stdout, "the suite has another number of cases than it should"
