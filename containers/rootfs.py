#!/usr/bin/env python3
"""Copies programs with the libraries that they are linked with, and whole folders, out of an unpacked Debian into a new
root file system, with a list of the packages that any of it came from.

    rootfs.py TREE ROOT --program /usr/bin/x --folder /usr/share/y --file /etc/z
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


class Source:
    """An unpacked Debian: its files and the packages that they belong to."""

    def __init__(self, tree):
        self.tree = tree.resolve()
        self.loader = next(self.tree.glob("lib64/ld-linux-*.so.*"), None) or next(self.tree.glob("lib/ld-linux-*.so.*"))
        folders = [folder for pattern in ("lib/*-linux-gnu", "usr/lib/*-linux-gnu") for folder in self.tree.glob(pattern)]
        self.libraries = ":".join(map(str, folders))
        self.owners = json.loads((self.tree / "packages.json").read_text())

    def linked(self, program):
        """The libraries of a program, with the loader itself."""
        command = [str(self.loader), "--library-path", self.libraries, "--list", str(self.tree / program)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return []  # linked statically, or no program at all
        missing = [line for line in done.stdout.splitlines() if "not found" in line]
        if missing:
            sys.exit(f"{program}: {missing}")
        paths = [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
        return [Path(path).relative_to(self.tree) for path in paths if path.startswith(str(self.tree))]


class Root:
    """The new root file system."""

    def __init__(self, source, folder):
        self.source = source
        self.folder = folder
        self.packages = set()

    def add(self, path):
        """A file, or the link and what it leads to, at its place."""
        path = Path(str(path).lstrip("/"))
        into = self.folder / path
        if into.is_symlink() or into.exists():
            return
        real = self.source.tree / path
        # Folders that are links, such as /lib, stay links.
        for parent in reversed(path.parents[:-1]):
            if (self.source.tree / parent).is_symlink():
                self._link(parent)
                return self.add((self.source.tree / parent).resolve().relative_to(self.source.tree) / path.relative_to(parent))
        into.parent.mkdir(parents=True, exist_ok=True)
        self._own(path)
        if real.is_symlink():
            # As the link leads inside of the root; one that leads nowhere is left out.
            target = Path(os.path.normpath(path.parent / os.readlink(real)).lstrip("/"))
            if (self.source.tree / target).exists():
                self._link(path)
                self.add(target)
            return
        if real.is_dir():
            return self.add_folder(str(path))
        shutil.copy2(real, into)

    def add_program(self, path):
        """A program with its libraries."""
        self.add(path)
        for library in self.source.linked(str(path).lstrip("/")):
            self.add(library)

    def add_folder(self, path):
        """A folder with everything in it."""
        for file in sorted((self.source.tree / path.lstrip("/")).rglob("*")):
            if file.is_symlink() or not file.is_dir():
                self.add(file.relative_to(self.source.tree))

    def finish(self):
        """The copyright of every package that something came from, and the list of them."""
        owned = sorted(self.packages)
        for name in owned:
            copyright_file = f"usr/share/doc/{name}/copyright"
            if (self.source.tree / copyright_file).exists():
                self.add(copyright_file)
        versions = self.source.owners["versions"]
        return [{"name": name, "version": versions[name]["version"], "source": versions[name]["source"]} for name in owned]

    def _link(self, path):
        into = self.folder / path
        if not into.is_symlink():
            into.parent.mkdir(parents=True, exist_ok=True)
            into.symlink_to(os.readlink(self.source.tree / path))

    def _own(self, path):
        owner = self.source.owners["files"].get(str(path))
        if owner:
            self.packages.add(owner)


def main():
    """Copies what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--program", action="append", default=[])
    parser.add_argument("--folder", action="append", default=[])
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--packages", type=Path, required=True, help="where the list of packages goes")
    args = parser.parse_args()
    root = Root(Source(args.tree), args.root)
    for program in args.program:
        root.add_program(program)
    for folder in args.folder:
        root.add_folder(folder)
    for file in args.file:
        root.add(file)
    args.packages.write_text(json.dumps(root.finish(), indent=1) + "\n")


if __name__ == "__main__":
    main()
