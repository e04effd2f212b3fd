# SPDX-License-Identifier: GPL-2.0
"""Stock's own selftests of memory management, on both kernels, side by side."""
import re

from . import count
from .builds import cgroup_test, mm_tests
from .guests import TAP, WHOLE, Guest, judge, stock as ask_stock
from .rig import SHARES, SRC, Failed, together
from .steps import step

CATEGORIES = ("mmap userfaultfd mlock mremap madv_populate ksm soft_dirty pagemap cow thp migration mkdirty "
              "compaction").split()
WORDS = {"ok": "pass", "not ok": "fail"}


def results(out):
    """{category: test: pass, fail or skip}"""
    found, category = {}, ""
    for line in out.split("\n"):
        if line.startswith("@@ category "):
            category = line.split()[2] + ": "
        m = TAP.match(line)
        if m:
            found[category + re.sub(r" # .*", "", m[3])] = "skip" if "# SKIP" in m[3] else WORDS[m[1]]
    return found


def run_categories(tests, categories):
    """Some of them (mremap_test) map at fixed addresses beside their own and fail when chance put something there."""
    each = "; ".join(f"echo '@@ category {c}'; bash ./run_vmtests.sh -t {c}" for c in categories)
    return ("sh", "-c", f"cp -r {tests} /tmp/mm && cd /tmp/mm && cp {SRC}/tools/testing/selftests/mm/*.sh . && "
                        f"echo 0 > /proc/sys/kernel/randomize_va_space; {each}; true")


COMPLAINED = "vm: the kernel complained"


def as_on(reference):
    """A verdict: each test does as on the stock kernel, or passes where it fails there."""
    def verdict(out):
        ours = results(out)
        return {name: "skip" if a == ours.get(name) == "skip" else "ok" if ours.get(name) in (a, "pass")
                else f"stock: {a}, ours: {ours.get(name, 'none')}" for name, a in reference.items()}
    return verdict


def beside(title, reference, ours):
    """Both answers, where they differ."""
    for name, a in reference.items():
        if a != "pass" or ours.get(name) != "pass":
            count.say(f"{title}: {name}: stock: {a}, ours: {ours.get(name, 'none')}")


@step("kernel", "stock")
def kselftest():
    """stock's own mm selftests do on our kernel as on stock's"""
    tests = mm_tests()

    def guest(kernel, categories=CATEGORIES):
        # Some of them fail when they get half a processor. What a kernel complains of is compared too.
        return Guest(f"kselftest-{kernel}", kernel, run_categories(tests, categories), inputs=(tests,), timeout=1500,
                     ok=(0, 125), shares=SHARES)
    said = ask_stock(guest("stock"))
    reference = results(said)
    if len(reference) < 25:
        raise Failed(f"only {len(reference)} results on stock: see build/check/kselftest-stock.log")
    shown = []

    def verdict(out):
        if not shown:
            beside("kselftest", reference, results(out))
            shown.append(True)
        alone = COMPLAINED in out and COMPLAINED not in said
        return {**as_on(reference)(out), **({WHOLE: "our kernel complained, stock's did not"} if alone else {})}
    judge("kselftest", guest("foliage"), verdict,
          lambda bad: guest("foliage", sorted({b.split(":")[0] for b in bad})))


# Swap, a file system that knows of no huge pages, and one that does.
KHUGEPAGED = """cd %s; echo 512M > /sys/block/zram0/disksize && mkswap /dev/zram0 > /dev/null && swapon /dev/zram0 &&
truncate -s 256M /tmp/disk && mkfs.ext4 -q -F /tmp/disk && mkdir /tmp/ext4 /tmp/tmpfs && mount -o loop /tmp/disk /tmp/ext4 &&
mount -t tmpfs -o huge=advise none /tmp/tmpfs || exit 9
for how in all:anon all:shmem "-s 2 all:anon" "all:file /tmp/ext4" "all:file /tmp/tmpfs"; do
echo "@@ $how"; ./khugepaged $how; done; true"""


def khugepaged_results(out):
    """{how: test (caller): what is looked at: OK, Fail or Skip}"""
    found, how, test = {}, "", ""
    for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9]*m", "", out)):
        if line.startswith("@@ "):
            how = line[3:]
        elif line.startswith("Run test: "):
            test = line[10:]
        m = re.match(r"(.*?)\.{3,}\s*(OK|Fail|Timeout|Skip)$", line)
        if m and test:
            found[f"{how}: {test}: {m[1]}"] = m[2]
    return found


@step("kernel", "debug", "stock")
def khugepaged():
    """stock's test of khugepaged and MADV_COLLAPSE, of all kinds of memory, on all three kernels"""
    program = f"{mm_tests()}/khugepaged"
    asked, *ours = [Guest(f"khugepaged-{k}", k, ("sh", "-c", KHUGEPAGED % mm_tests()), inputs=(program,), timeout=600,
                          ok=(0,)) for k in ("stock", "foliage", "debug")]
    reference = khugepaged_results(ask_stock(asked))
    if len(reference) < 100:
        raise Failed(f"only {len(reference)} results on stock: see build/check/khugepaged-stock.log")

    def verdict(out):
        found = khugepaged_results(out)
        return {name: "skip" if a == found.get(name) == "Skip" else "ok" if found.get(name) in (a, "OK")
                else f"stock: {a}, ours: {found.get(name, 'none')}" for name, a in reference.items()}
    together(*[lambda g=g: judge(f"khugepaged on {g.kernel}", g, verdict) for g in ours])


# Its driver wants device nodes, and half of the tests memory of a device that CPUs can read and write.
HMM = """m=$(awk '$2 == "HMM_DMIRROR" { print $1 }' /proc/devices)
for i in 0 1 2 3; do [ -e /dev/hmm_dmirror$i ] || mknod /dev/hmm_dmirror$i c $m $i; done
echo 8 > /proc/sys/vm/nr_hugepages; exec %s"""
HMM_MEMORY = ("--append",
              "memmap=512M$0x120000000 test_hmm.spm_addr_dev0=0x120000000 test_hmm.spm_addr_dev1=0x130000000")


@step("kernel", "debug", "stock")
def hmm():
    """stock's hmm tests, device memory of both kinds, on all three kernels"""
    program = f"{mm_tests()}/hmm-tests"
    asked, *ours = [Guest(f"hmm-{k}", k, ("sh", "-c", HMM % program), inputs=(program,), timeout=600, ok=(0, 1, 2),
                          options=HMM_MEMORY) for k in ("stock", "foliage", "debug")]
    reference = results(ask_stock(asked))
    if len(reference) < 50:
        raise Failed(f"only {len(reference)} results on stock: see build/check/hmm-stock.log")
    together(*[lambda g=g: judge(f"hmm on {g.kernel}", g, as_on(reference)) for g in ours])


# Not on the debug kernel: the test fills the memory and then wants half of it free. There is less of it there, so that it
# is killed for want of swap, or, with more swap, does not end in ten minutes.
ZSWAP = """echo 512M > /sys/block/zram0/disksize && mkswap /dev/zram0 > /dev/null && swapon /dev/zram0 &&
echo 1 > /sys/module/zswap/parameters/enabled && %s | cat; true"""


@step("kernel", "stock")
def cgroup_zswap():
    """stock's test of zswap and cgroups, on both kernels"""
    program = cgroup_test("test_zswap")
    asked, *ours = [Guest(f"cgroup-zswap-{k}", k, ("sh", "-c", ZSWAP % program), inputs=(program,), timeout=600, ok=(0,))
                    for k in ("stock", "foliage")]
    reference = results(ask_stock(asked))
    if len(reference) < 7:
        raise Failed(f"only {len(reference)} results on stock: see build/check/cgroup-zswap-stock.log")
    together(*[lambda g=g: judge(f"cgroup zswap on {g.kernel}", g, as_on(reference)) for g in ours])
