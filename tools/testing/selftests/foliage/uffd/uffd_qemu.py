#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""QEMU as a client of userfaultfd: a small machine is migrated with postcopy while it runs, and a snapshot is taken of
it in the background; then its memory is looked at. TAP on stdout.

usage: BIOS=file uffd_qemu.py     as root, in a guest; needs qemu-system-x86_64

The machine's firmware (uffd_qemu_bios.S) writes to all its pages round after round. Each holds its number, and the
number of the round: at any moment that of the last round that was done, or, up to some page, one more.
"""
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

MIB = 32
FIRST = 0x100000
ROUND = 0x7000
LIMIT = 240
QEMU = "qemu-system-x86_64"


class Wrong(Exception):
    """A test's verdict."""


def until(what, fn):
    end = time.monotonic() + LIMIT
    while not fn():
        if time.monotonic() > end:
            raise Wrong(f"not within {LIMIT} s: {what}")
        time.sleep(0.2)


class Machine:
    """A QEMU, and its monitor."""
    def __init__(self, name, *more):
        path = f"{name}.qmp"
        self.process = subprocess.Popen(
            [QEMU, "-M", "isapc", "-accel", "tcg", "-m", str(MIB + 16), "-bios", os.environ["BIOS"], "-nodefaults",
             "-display", "none", "-qmp", f"unix:{path},server,nowait", *more])
        until("the monitor", lambda: self.process.poll() is not None or os.path.exists(path))
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(LIMIT)
        s.connect(path)
        self.file = s.makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, what, **arguments):
        self.file.write(json.dumps({"execute": what, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            said = json.loads(self.file.readline())
            if "error" in said:
                raise Wrong(f"{what}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]

    def can(self, capability, state):
        self.ask("migrate-set-capabilities", capabilities=[{"capability": capability, "state": state}])

    def memory(self, at, size):
        self.ask("pmemsave", val=at, size=size, filename="memory")
        with open("memory", "rb") as f:
            return f.read()

    def round(self):
        return struct.unpack("<I", self.memory(ROUND, 4))[0]

    def goes_on(self):
        before = self.round()
        until("the machine goes on", lambda: self.round() > before + 1)

    def migration(self):
        return self.ask("query-migrate")

    def migrated(self):
        def over():
            status = self.migration().get("status")
            if status in ("failed", "cancelled"):
                raise Wrong(f"migration: {self.migration()}")
            return status == "completed"
        until("the migration", over)

    def look(self):
        """Its memory while it stands still: each page right, and the round that it is in."""
        self.ask("stop")
        done = self.round()
        words = struct.unpack(f"<{MIB << 18}I", self.memory(FIRST, MIB << 20))
        seen = [words[i + 1] for i in range(0, len(words), 1024)]
        for page, nr in enumerate(seen):
            if words[page * 1024] != FIRST + page * 4096:
                raise Wrong(f"page {page} says that it is at {words[page * 1024]:#x}")
            if nr not in (done, done + 1) or (page and nr > seen[page - 1]):
                raise Wrong(f"page {page}: round {nr}, the one before {seen[page - 1]}, and {done} are done")
        self.ask("cont")
        return done

    def end(self):
        self.process.kill()
        self.process.wait()


machines = {}


def starts():
    machines["a"] = Machine("a")
    until("three rounds", lambda: machines["a"].round() > 3)
    machines["a"].look()


def postcopy():
    a = machines["a"]
    b = machines["b"] = Machine("b", "-incoming", "unix:migration")
    before = a.round()
    for m in (a, b):
        m.can("postcopy-ram", True)
    # Too little for what it writes meanwhile: it does not end without postcopy.
    a.ask("migrate-set-parameters", **{"max-bandwidth": 4 << 20})
    a.ask("migrate", uri="unix:migration")
    until("the first pages", lambda: a.migration().get("ram", {}).get("transferred", 0) > 1 << 20)
    a.ask("migrate-start-postcopy")
    a.migrated()
    requests = a.migration()["ram"]["postcopy-requests"]
    print(f"# {requests} pages were asked for", flush=True)
    if not requests:
        raise Wrong("no page was asked for")
    b.goes_on()
    if b.look() <= before:
        raise Wrong("it did not go on where it was")
    a.end()


def snapshot():
    b = machines["b"]
    b.can("postcopy-ram", False)
    b.can("background-snapshot", True)
    b.ask("migrate-set-parameters", **{"max-bandwidth": 64 << 20})
    before = b.round()
    b.ask("migrate", uri="exec:cat > snapshot")
    b.migrated()
    b.goes_on()
    after = b.look()
    b.end()
    c = machines["c"] = Machine("c", "-incoming", "exec:cat snapshot")
    c.migrated()
    until("it runs", lambda: c.ask("query-status")["running"])
    c.goes_on()
    print(f"# rounds: {before} before, {after} after the snapshot, {c.look()} in what was made of it")
    c.end()


def main():
    if not shutil.which(QEMU) or not os.path.exists(os.environ.get("BIOS", "")):
        print(f"1..0 # SKIP no {QEMU}, or no BIOS=")
        return 4
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    tests = (("a machine runs", starts), ("postcopy", postcopy), ("a snapshot in the background", snapshot))
    print(f"TAP version 13\n1..{len(tests)}", flush=True)
    failed = False
    for nr, (name, fn) in enumerate(tests, 1):
        try:
            if failed:
                raise Wrong("the one before failed")
            fn()
            print(f"ok {nr} {name}", flush=True)
        except (Wrong, OSError, ValueError) as e:
            failed = True
            print(f"# {type(e).__name__}: {e}\nnot ok {nr} {name}", flush=True)
    for m in machines.values():
        m.end()
    shutil.rmtree(folder)
    return failed


sys.exit(main())
