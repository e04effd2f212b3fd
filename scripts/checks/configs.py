# SPDX-License-Identifier: GPL-2.0
"""Configurations in which our rooms are compiled and nothing is booted."""
import os
import re

from . import count
from .rig import LOGS, ROOT, SRC, Failed, kbuild, rooms
from .steps import step

MACHINE_32 = [f"CONFIG_{o}=y" for o in (
    "MMU SYSFS PROC_FS PROC_PAGE_MONITOR IDLE_PAGE_TRACKING FOLIAGE_IDLE FOLIAGE_RMAP FOLIAGE_LRU FOLIAGE_PROC "
    "FOLIAGE_MIGRATE FOLIAGE_THP FOLIAGE_COLLAPSE FOLIAGE_ZSWAP FOLIAGE_UFFD ZSWAP CRYPTO HUGETLBFS USERFAULTFD MIGRATION KSM MEMCG CGROUPS TRANSPARENT_HUGEPAGE SWAP "
    "MEMORY_FAILURE BLOCK "
    "FTRACE ENABLE_DEFAULT_TRACERS").split()] + ["CONFIG_64BIT=n"]

# What mm can do without: what is off, with what needs it. All else is as in the guests.
SELECT_MIGRATION = "TRANSPARENT_HUGEPAGE COMPACTION CMA CONTIG_ALLOC BALLOON_COMPACTION VIRTIO_BALLOON"
WITHOUT = {
    "THP": "TRANSPARENT_HUGEPAGE",
    "hugetlbfs": "HUGETLBFS",
    "THP and hugetlbfs": "TRANSPARENT_HUGEPAGE HUGETLBFS",
    "swap": "SWAP",
    "NUMA": "NUMA",
    "compaction": "TRANSPARENT_HUGEPAGE COMPACTION",
    "migration": f"MIGRATION NUMA MEMORY_HOTPLUG {SELECT_MIGRATION}",
    "memcg": "MEMCG",
    "KSM": "KSM",
    "userfaultfd": "USERFAULTFD",
    "memory failure": "MEMORY_FAILURE HWPOISON_INJECT",
    "shmem": "SHMEM",
    "MMU notifiers": "MMU_NOTIFIER TEST_HMM",
}
WITHOUT["any of them"] = " ".join(dict.fromkeys(" ".join(WITHOUT.values()).split()))


def configure(name, lines, *args):
    """Make build/NAME/.config of these lines, the last one for an option, all else off -> its text."""
    out = f"{SRC}/o-{name}"
    os.makedirs(out, exist_ok=True)
    wants = {l.split("=")[0]: l for l in lines if l.startswith("CONFIG_")}
    text = "".join(f"{l}\n" for l in wants.values())
    fragment = f"{LOGS}/{name}.config"
    with open(fragment, "w", encoding="utf-8") as f:
        f.write(text)
    kbuild(name, name, f"KCONFIG_ALLCONFIG={fragment}", *args, "allnoconfig", shares=1)
    with open(f"{out}/.config", encoding="utf-8") as f:
        config = f.read()
    on = [w.split("=")[0] for w in wants.values() if w.endswith("=n") and f"\n{w[:-1]}" in config]
    if on:
        raise Failed(f"{', '.join(on)} did not go off in {out}/.config: something that selects it has to go off too")
    return config


def compile_rooms(name, *args):
    """Our rooms, and the file of fs/proc that calls them."""
    kbuild(name, name, *args, "prepare", shares=1)
    have = [f"{d}/" for d in rooms() if os.path.isdir(f"{SRC}/{d}")]
    # Whatever fails, all of it is told: the words of make, which goes on, are many.
    out = kbuild(name, name, "-k", *args, *have, "fs/proc/task_mmu.o", ok=(0, 2), shares=1)
    ours = "|".join(rooms())
    bad = [l for l in out.split("\n") if re.search(r"error:|\*\*\*.*Error", l) and "make[" not in l
           or "warning:" in l and re.search(rf"({ours})/", l)]
    if bad or "***" in out:
        raise Failed("\n".join("       " + l for l in bad or ["make failed"]) + f"\n       see build/check/{name}.log")


@step("sources")
def configurations():
    """our rooms compile without each thing that mm can do without"""
    lines = []
    for fragment in ("foliage_guest", "foliage"):
        with open(f"{ROOT}/arch/x86/configs/{fragment}.config", encoding="utf-8") as f:
            lines += f.read().split("\n")
    for title, off in WITHOUT.items():
        try:
            text = configure("configurations", lines + [f"CONFIG_{o}=n" for o in off.split()])
            if not re.search(r"^CONFIG_FOLIAGE_RMAP=y", text, re.M):
                raise Failed("FOLIAGE_RMAP is off, so that nothing would be compiled")
            compile_rooms("configurations")
            count.add(f"configurations: without {title}", True)
        except Failed as e:
            count.add(f"configurations: without {title}", False, note=str(e))
