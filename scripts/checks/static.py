# SPDX-License-Identifier: GPL-2.0
"""What needs no guest."""
import os
import re
import shutil

from . import count
from .configs import MACHINE_32, compile_rooms, configure
from .guests import tap
from .rig import BUILD, ROOT, SHARES, SRC, Failed, kbuild, rooms, run
from .steps import step


def count_tap(title, log, out):
    """Count what a program on this machine told."""
    for name, word in tap(out).items():
        good = word in ("ok", "skip")
        count.add(f"{title}: {name}", good, word == "skip", "" if good else f"{word}, see build/check/{log}.log")


@step("sources")
def harness():
    """mm/pte in user space, on three machines, against a naive model, with and without sanitizers"""
    out = run("harness", "make", "-s", "-C", "tools/testing/foliage/pte", f"OUTPUT={BUILD}/harness", "check")
    parts = re.split(r"^# (pte-[\w-]+)\n", out, flags=re.M)
    if len(parts) < 3:
        raise Failed("no program of the harness told anything: see build/check/harness.log")
    for program, results in zip(parts[1::2], parts[2::2]):
        count_tap(f"harness: {program}", "harness", results)


@step("sources")
def ledger():
    """no replaced stock file changed unseen"""
    run("ledger", "scripts/ledger", "--strict")


@step("kernel", "stock")
def contract():
    """our objects define what the ones they replace defined"""
    run("contract", "scripts/contract")


@step("sources", "kernel")
def warnings():
    """no warning of W=1 or sparse in our files"""
    ours, out = rooms(), f"{SRC}/o-warnings"
    # A build folder of its own: the kernel's objects are what contract looks at and the next build links.
    os.makedirs(out, exist_ok=True)
    shutil.copy(f"{BUILD}/foliage/.config", f"{out}/.config")
    kbuild("warnings", "warnings", "olddefconfig", shares=1)
    kbuild("warnings", "warnings", "prepare", shares=1)
    for d in ours:
        for f in os.listdir(f"{out}/{d}") if os.path.isdir(f"{out}/{d}") else ():
            if f.endswith(".o"):
                os.unlink(f"{out}/{d}/{f}")
    text = kbuild("warnings", "warnings", "W=1", "C=1", *[f"{d}/" for d in ours], shares=1)
    if not any(f.endswith(".o") for d in ours for f in os.listdir(f"{out}/{d}")):
        raise Failed("nothing was compiled: see build/check/warnings.log")
    bad = [l for l in text.split("\n") if re.search(r"(warning|error):", l) and re.search(r"(%s)/" % "|".join(ours), l)
           # sparse cannot follow pte_offset_map_lock(), which locks on success only: stock's callers get this too.
           and "context imbalance" not in l]
    if bad:
        raise Failed("\n".join(bad))


@step("sources")
def machine_32():
    """the 32-bit build compiles, with the idle and young flags in page_ext"""
    text = configure("i386", MACHINE_32, "ARCH=i386")
    if "CONFIG_64BIT=y" in text or "CONFIG_PAGE_EXTENSION=y" not in text:
        raise Failed(f"{BUILD}/i386/.config is not a 32-bit one with page_ext")
    compile_rooms("i386", "ARCH=i386")


@step("sources", "kernel")
def series():
    """the patch series applies to the pristine tree, is the graft, and checkpatch is silent"""
    run("series", "scripts/series")


@step()
def scripts():
    """what scripts do with bad input, with each other, and with other people's machines"""
    count_tap("scripts", "scripts", run("scripts", "scripts/selftest", ok=(0, 1)))


@step("sources")
def docs():
    """the documents build without a warning"""
    run("docs", "scripts/docs")


@step("kernel", "tools")
def pictures():
    """what the document of pagewatch shows is what pagewatch shows"""
    run("pictures", "scripts/pictures", "--check", timeout=900)


@step("sources")
def originality():
    """nothing of ours stands in the stock tree"""
    tool = os.path.join(ROOT, "../shared/tools/originality")
    if not os.path.exists(tool):
        count.add("originality", True, skip=True, note="no comparison tool on this machine")
        return
    run("originality", tool, "--base", f"{BUILD}/stock-src")


@step("kernel", "stock")
def bench():
    """no operation got dearer than its bar, on stock and ours side by side"""
    if "--check" not in run("bench", "scripts/bench", "--help", shares=0):
        count.add("bench", True, skip=True, note="scripts/bench has no --check; make bench runs all of it")
        return
    # It counts instructions, so that what runs beside it makes no difference; it runs two guests at a time.
    run("bench", "scripts/bench", "--check", timeout=900, shares=SHARES)
