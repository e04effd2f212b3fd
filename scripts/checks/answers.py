# SPDX-License-Identifier: GPL-2.0
"""Answers of guests, kept in the user's cache folder: what was asked before of the same kernel with the same programs
on the same machine need not be asked again. FRESH=1 asks all again."""
import functools
import hashlib
import os
import platform
import re
import subprocess
import tempfile
import time

from .rig import BUILD, ROOT

FOLDER = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "foliage", "answers")
DAYS = 30
# What of the machine a guest sees or runs on: its root is the host's.
PACKAGES = ("qemu-system-x86 qemu-system-common qemu-system-data seabios libc6 libc-bin libnuma1 liburing2 libcap2 bash "
            "dash coreutils util-linux mount procps kmod gawk mawk grep sed python3-minimal python3-numpy criu e2fsprogs "
            "ecryptfs-utils stress-ng redis-server gcc").split()


@functools.lru_cache(None)
def machine():
    """Everything that is the same for all guests of one check."""
    versions = subprocess.run(["dpkg-query", "-W", *PACKAGES], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, check=False).stdout if os.path.exists("/usr/bin/dpkg-query") else platform.version()
    qemu = subprocess.run([os.environ.get("QEMU", "qemu-system-x86_64"), "--version"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False).stdout
    accel = os.environ.get("ACCEL") or ("kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg")
    # A guest under TCG sees an emulated processor, the same on every machine.
    cpu = open("/proc/cpuinfo", encoding="utf-8").read().split("\n\n")[0] if accel != "tcg" else ""
    cpu = re.sub(r"^(cpu MHz|bogomips).*$", "", cpu, flags=re.M)
    return "\n".join((versions, qemu, accel, cpu, digest(f"{ROOT}/scripts/vm"), digest(f"{ROOT}/scripts/guest-init.c")))


def plain(path):
    """A file's bytes, but of a program what runs of it: symbols for debuggers name the folder that it was built in, and
    the build ID is made of them too."""
    with open(path, "rb") as f:
        data = f.read()
    if not data.startswith(b"\x7fELF"):
        return data
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(["objcopy", "-S", "-R", ".note.gnu.build-id", path, out.name], check=False,
                              stderr=subprocess.DEVNULL)
        return open(out.name, "rb").read() if done.returncode == 0 else data


@functools.lru_cache(None)
def digest_at(path, _size, _mtime):
    return hashlib.sha256(plain(path)).hexdigest()


def digest(*paths):
    """Of files, and of the files of folders, whatever folder those lie in."""
    h = hashlib.sha256()
    for p in paths:
        names = [p] if os.path.isfile(p) else sorted(os.path.join(d, f) for d, _, fs in os.walk(p) for f in fs)
        for n in names:
            s = os.stat(n)
            name = os.path.relpath(n, p) if n != p else os.path.basename(p)
            h.update(f"{name} {s.st_mode & 0o111:o} {digest_at(n, s.st_size, s.st_mtime_ns)}\n".encode())
    return h.hexdigest()


def key(image, command, options, inputs):
    """The file that would hold the answer. The clone's path is taken out, so that other clones know it too."""
    words = "\0".join((*options, "--", *command)).replace(BUILD, "$BUILD").replace(ROOT, "$ROOT")
    text = "\n".join((digest(image), digest(*inputs), words, machine()))
    return os.path.join(FOLDER, hashlib.sha256(text.encode()).hexdigest()[:32])


def get(path):
    """The answer, or None."""
    if os.environ.get("FRESH"):
        return None
    try:
        with open(path, encoding="utf-8") as f:
            out = f.read()
        os.utime(path)
        return out
    except OSError:
        return None


def put(path, out):
    os.makedirs(FOLDER, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=FOLDER, prefix=".new-", delete=False, encoding="utf-8") as f:
        f.write(out)
    os.replace(f.name, path)


def prune():
    """What nobody asked for in a month goes."""
    if not os.path.isdir(FOLDER):
        return
    for e in os.scandir(FOLDER):
        try:
            if time.time() - e.stat().st_mtime > DAYS * 86400:
                os.unlink(e.path)
        except FileNotFoundError:
            pass
