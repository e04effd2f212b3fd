# SPDX-License-Identifier: GPL-2.0
"""Kernels, tools and tests that the other steps need."""
import functools
import os
import threading

from .rig import BUILD, CPUS, SHARES, SRC, kbuild, run
from .steps import step

mm_tests_lock = threading.Lock()


def make(target, shares):
    """The sources are in place: only one make at a time looks after these."""
    run(f"build-{target}", "make", "-o", "deps", "-o", "unpack", "-o", "graft", target, timeout=3600, shares=shares)


@step()
def sources():
    """the stock tree and the grafted one"""
    run("build-sources", "make", "graft", timeout=600)


@step("sources")
def kernel():
    """the grafted kernel builds"""
    make("kernel", SHARES)


# It takes longest, and half of the guests wait for it: it begins as soon as it can, with one guest beside it.
@step("sources", "kernel")
def debug():
    """the debug kernel builds"""
    make("debug", max(1, SHARES - 1))


@step("sources", "kernel")
def tools():
    """pagewatch and the selftests build"""
    make("tools", 1)


@step("sources", "kernel")
def stock():
    """the stock kernel builds"""
    make("stock", 1)


@functools.lru_cache(None)
def built_mm_tests():
    kbuild("build-mm-tests", "foliage", "headers", shares=1)
    out = f"{BUILD}/kselftest-mm"
    os.makedirs(out, exist_ok=True)
    # The folder that it was built in is in no program, so that the answers of guests can be kept.
    run("build-mm-tests", "make", "-s", "-C", f"{SRC}/tools/testing/selftests/mm", f"-j{CPUS}", f"OUTPUT={out}",
        f"KHDR_INCLUDES=-isystem {BUILD}/foliage/usr/include", f"USERCFLAGS=-ffile-prefix-map={SRC}=.")
    return out


def mm_tests():
    """Where stock's mm selftests are, after building them when this is the first to ask."""
    with mm_tests_lock:
        return built_mm_tests()


@functools.lru_cache(None)
def cgroup_test(name):
    """One of stock's cgroup selftests."""
    folder, out = f"{SRC}/tools/testing/selftests/cgroup", f"{BUILD}/kselftest-cgroup"
    os.makedirs(out, exist_ok=True)
    run("build-cgroup-tests", "gcc", "-O2", "-w", f"-ffile-prefix-map={SRC}=.", f"-I{folder}/..", "-o", f"{out}/{name}",
        f"{folder}/{name}.c", f"{folder}/cgroup_util.c")
    return f"{out}/{name}"


@functools.lru_cache(None)
def slabinfo():
    """Stock's tool for slab caches, and its script that draws."""
    out, folder = f"{BUILD}/readers", f"{SRC}/tools/mm"
    os.makedirs(out, exist_ok=True)
    run("build-slabinfo", "gcc", "-O2", "-Wall", f"-ffile-prefix-map={SRC}=.", "-o", f"{out}/slabinfo", f"{folder}/slabinfo.c")
    return f"{out}/slabinfo", f"{folder}/slabinfo-gnuplot.sh"


@functools.lru_cache(None)
def readers():
    """page-types of the stock tree; thpmaps beside it needs no building."""
    out, source = f"{BUILD}/readers", f"{SRC}/tools"
    os.makedirs(out, exist_ok=True)
    run("build-readers", "make", "-s", "-C", f"{source}/lib/api", f"OUTPUT={out}/")
    run("build-readers", "gcc", "-O2", f"-I{source}/lib", "-o", f"{out}/page-types", f"{source}/mm/page-types.c",
        f"{out}/libapi.a")
    return f"{out}/page-types", f"{source}/mm/thpmaps"
