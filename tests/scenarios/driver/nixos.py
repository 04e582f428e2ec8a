"""A host with the units and files that the NixOS module makes, on a Debian: its systemd starts the very same text."""

from pathlib import Path

from driver import debian

STORE = ("/nix/store", "/nix/store")


def deploy(hosts, scenario, name, host):
    """The node of the NixOS test with the scenario's name."""
    node = hosts[scenario.replace("_", "-")][name]
    # Other people's servers are Debian's, as the module has nothing to do with them.
    found = debian.common() | debian.postfix(host)
    if "server" in host:
        # The PostgreSQL of NixOS itself is not in the module.
        return debian.Host([STORE, debian.CLIENT], {**found, **debian.files(host)}, ["scenario-prepare.service"])
    if not node["units"]:
        return debian.Host([STORE, debian.CLIENT], {**found, **debian.NO_DATABASE}, [])
    # NixOS makes the role itself; this Debian is asked to, as it has the PostgreSQL.
    if "database" in host:
        found |= debian.NO_DATABASE | debian.database(node["users"], "")
    else:
        found |= debian.database(node["users"], "".join(debian.ROLE.format(user=user) for user in node["users"]))
    for unit, entry in node["units"].items():
        found[f"/etc/systemd/system/{unit}"] = (entry["text"], 0o644)
        # NixOS makes links of these.
        for other in entry["requiredBy"]:
            found[f"/etc/systemd/system/{other}.d/{unit}.conf"] = (f"[Unit]\nRequires={unit}\n", 0o644)
    for path, file in node["files"].items():
        mode = 0o644 if file["mode"] == "symlink" else int(file["mode"], 8)
        found[f"/etc/{path}"] = (Path(file["source"]).read_text(), mode)
    found["/etc/tmpfiles.d/nixos.conf"] = ("".join(f"{rule}\n" for rule in node["tmpfiles"]), 0o644)
    for command in node["commands"]:
        found[f"/usr/local/bin/{Path(command).name}"] = (f'#!/bin/sh\nexec {command} "$@"\n', 0o755)
    enabled = [unit for unit, entry in node["units"].items() if entry["wantedBy"]]
    return debian.Host([STORE, debian.CLIENT], found, enabled)
