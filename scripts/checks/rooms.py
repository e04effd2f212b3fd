# SPDX-License-Identifier: GPL-2.0
"""Our kselftests, a step for each room and kernel. The programs are those of the rooms' Makefiles, so that a new one is
run without a word here; what is here is what is special about some."""
import re
import shutil

from .builds import readers, slabinfo
from .guests import WHOLE, Guest, judge, prime, stock
from .rig import BUILD, KSELFTEST, SELFTESTS, SHARES, Failed, together
from .steps import step

# These do something else each time, so they are run each time.
RANDOM = {"idle_race", "rmap_stress", "rmap_clean", "rmap_ksm", "rmap_device", "rmap_hugetlb", "proc_race", "lru_race",
          "mlock_twice", "migrate_race", "migrate_movable_block", "migrate_zsmalloc", "cases_migrate", "cases_damon",
          "uffd_snapshot"}
# Seconds that a race goes on, where the program's own idea is too long: on the grafted kernel, on the debug kernel.
ARGS = {"idle_race": ((), ("10",)), "rmap_stress": ((), ("10",)), "proc_race": (("4",), ("4",)),
        "lru_race": (("4",), ("4",)), "migrate_race": (("3",), ("1",)), "thp_race": (("10",), ("10",)),
        "collapse_race": (("10",), ("10",)), "zswap_race": (("15",), ("20",)),
        "uffd_race": (("10",), ("15",)), "uffd_move_race": (("10",), ("20",)),
        "uffd_snapshot": (("10",), ("20",))}
# What the guest must be like for some of them.
OPTIONS = {"migrate_demote": ("--slow-node",), "migrate_interrupts": ("--cpus", "4"),
           "cases_fuse": ("--nodes", "1", "--mem", "1G"),
           "migrate_cma": ("--nodes", "1", "--mem", "2304M", "--append", "hugetlb_cma=0:1G"),
           "thp_backoff": ("--nodes", "1", "--mem", "1G"),
           # Nobody has used zswap before it: a guest of its own.
           "zswap_settings": ("--append", "zswap.enabled=0")}
# Allocations that fail: only the debug kernel has that.
ONLY_DEBUG = {"rmap_alloc", "mlock_alloc", "migrate_alloc", "thp_alloc", "collapse_alloc", "zswap_alloc", "uffd_alloc"}
# migrate_args and migrate_state take eight minutes there; the others ask nothing of it that those left do not.
NOT_DEBUG = {"migrate_args", "migrate_state", "migrate_users", "migrate_counts", "migrate_movable_block",
             "migrate_zsmalloc", "migrate_cma", "migrate_interrupts"}


def programs(room):
    """TEST_GEN_PROGS of its Makefile."""
    with open(f"{KSELFTEST}/{room}/Makefile", encoding="utf-8") as f:
        names = " ".join(re.findall(r"^TEST_GEN_PROGS\s*[:+]?=(.*)$", f.read().replace("\\\n", " "), re.M)).split()
    if not names:
        raise Failed(f"{KSELFTEST}/{room}/Makefile names no program in TEST_GEN_PROGS")
    return names


def selftest(program, kernel):
    args = ARGS.get(program, ((), ()))[kernel == "debug"]
    return Guest(f"{program}-{kernel}", kernel, (f"{SELFTESTS}/{program}", *args), options=OPTIONS.get(program, ()),
                 inputs=(f"{SELFTESTS}/{program}",), timeout=900, keep=not is_random(program),
                 leaks=program in ONLY_DEBUG)


def is_random(program):
    return program in RANDOM or program.endswith(("_race", "_stress"))


def room_on(room, kernel):
    """All programs of a room that belong on this kernel, in a boot together where that can be."""
    left_out = NOT_DEBUG if kernel == "debug" else ONLY_DEBUG
    tests = {p: selftest(p, kernel) for p in programs(room) if p not in left_out}
    # What is long would keep a whole batch waiting.
    alone = [p for p in tests if is_random(p) or p in ONLY_DEBUG]

    def steady():
        prime(f"{room}-{kernel}", kernel, [g for p, g in tests.items() if p not in alone])
        together(*[lambda p=p: judge(f"{p} on {kernel}", tests[p]) for p in tests if p not in alone])
    together(steady, *[lambda p=p: judge(f"{p} on {kernel}", tests[p]) for p in alone])


def with_mglru(*names):
    """The other way to keep LRU lists consumes Accessed bits elsewhere, and has other books."""
    together(*[lambda p=p: judge(f"{p} with the generational LRU", Guest(
        f"{p}-mglru", "foliage", ("sh", "-c", f"echo y > /sys/kernel/mm/lru_gen/enabled && exec {SELFTESTS}/{p}"),
        inputs=(f"{SELFTESTS}/{p}",))) for p in names])


def same_lines(reference, least, key):
    """A verdict: the output is line by line that of the stock kernel; each group of lines that key gives one name is a
    result."""
    def verdict(out):
        a, b = reference.split("\n"), out.split("\n")
        if len(a) < least or len(a) != len(b):
            return {WHOLE: f"{len(a)} and {len(b)}"}
        groups = {}
        for x, y in zip(a, b):
            name = key(x)
            if name and groups.setdefault(name, "ok") == "ok" and x != y:
                groups[name] = f"'{x[:150]}' and '{y[:150]}'"
        return groups
    return verdict


@step("kernel", "tools")
def migrate():
    """our tests of page migration, on the grafted kernel"""
    script = f"{KSELFTEST}/migrate/migrate_balloon.sh"
    together(lambda: room_on("migrate", "foliage"), lambda: judge("migrate_balloon", Guest(
        "migrate_balloon", "foliage", (script,), options=("--balloon",), inputs=(script,), timeout=900, keep=False)))


@step("kernel", "tools")
def thp():
    """our tests of transparent huge pages, on the grafted kernel"""
    room_on("thp", "foliage")


@step("debug", "tools")
def thp_debug():
    """and on the debug kernel"""
    room_on("thp", "debug")


@step("kernel", "tools")
def collapse():
    """our tests of khugepaged and MADV_COLLAPSE, on the grafted kernel"""
    room_on("collapse", "foliage")


@step("debug", "tools")
def collapse_debug():
    """and on the debug kernel"""
    room_on("collapse", "debug")


@step("kernel", "tools")
def zswap():
    """our tests of compressed swap, on the grafted kernel; and with the generational LRU"""
    room_on("zswap", "foliage")
    with_mglru("zswap_data", "zswap_large")


@step("debug", "tools")
def zswap_debug():
    """and on the debug kernel"""
    room_on("zswap", "debug")


@step("kernel", "tools")
def uffd():
    """our tests of userfaultfd, on the grafted kernel; CRIU and QEMU as handlers"""
    folder, nonft, bios = f"{KSELFTEST}/uffd", f"{SELFTESTS}/proc_nonft.so", f"{SELFTESTS}/uffd_qemu_bios.bin"

    def client(name, script, *settings, inputs):
        judge(name, Guest(name, "foliage", ("env", *settings, script), inputs=(script, *inputs), timeout=600))
    together(lambda: room_on("uffd", "foliage"),
             lambda: client("uffd_criu", f"{folder}/uffd_criu.sh", f"PROC_NONFT={nonft}", inputs=(nonft,)),
             lambda: client("uffd_qemu", f"{folder}/uffd_qemu.py", f"BIOS={bios}", inputs=(bios,)))


@step("debug", "tools")
def uffd_debug():
    """and on the debug kernel"""
    room_on("uffd", "debug")


@step("debug", "tools")
def migrate_debug():
    """and on the debug kernel, which must be silent"""
    room_on("migrate", "debug")


@step("debug", "tools")
def rmap_debug():
    """our tests of the reverse map, on the debug kernel"""
    room_on("rmap", "debug")


@step("debug", "tools")
def lru_debug():
    """our tests of LRU lists and mlock, on the debug kernel"""
    room_on("lru", "debug")


@step("debug", "tools")
def idle_debug():
    """our tests of idle page tracking, on the debug kernel"""
    room_on("idle", "debug")


@step("debug", "tools")
def proc_debug():
    """our tests of the /proc files, on the debug kernel"""
    room_on("proc", "debug")


@step("kernel", "tools")
def rmap():
    """our tests of the reverse map, on the grafted kernel"""
    room_on("rmap", "foliage")


@step("kernel", "tools")
def lru():
    """our tests of LRU lists and mlock, on the grafted kernel"""
    together(lambda: room_on("lru", "foliage"), lambda: with_mglru("mlock_state", "mlock_class"))


@step("kernel", "tools")
def idle():
    """our tests of idle page tracking, on the grafted kernel"""
    together(lambda: room_on("idle", "foliage"), lambda: with_mglru("idle_refs"))


@step("kernel", "tools")
def proc():
    """our tests of the /proc files, on the grafted kernel"""
    room_on("proc", "foliage")


@step("kernel", "tools")
def isolated():
    """an isolated CPU is left alone, in a guest that has one"""
    judge("lru_isolated", Guest(
        "lru_isolated", "foliage", (f"{SELFTESTS}/lru_isolated",), inputs=(f"{SELFTESTS}/lru_isolated",), keep=False,
        # Beside another guest its CPUs wait for the host's, and what then happens late happens on the wrong CPU.
        shares=SHARES, options=("--cpus", "4", "--append", "isolcpus=nohz,domain,managed_irq,3 nohz_full=3 rcu_nocbs=3")))


@step("kernel", "debug", "stock", "tools")
def tables():
    """memory of each kind is shown in the same way by stock's /proc/kpage*, pagemap and PAGEMAP_SCAN and by ours"""
    program = f"{SELFTESTS}/proc_table"
    stocks, *ours = [Guest(f"tables-{k}", k, (program,), inputs=(program,), timeout=900, ok=(0,))
                     for k in ("stock", "foliage", "debug")]
    verdict = same_lines(stock(stocks), 7000, lambda l: l.split(":")[0])
    together(*[lambda g=g: judge(f"tables on {g.kernel}", g, verdict) for g in ours])


# What stock does otherwise, and our tests ask for by itself: a dirty PMD that becomes entries, or is moved, makes them
# soft-dirty; a locked folio loses its mark when it is split or moved; mlock() of what is there marks nothing; what is
# said of a part of a folio splits all of it into pages; a huge page that was mapped by entries is copied by a collapse,
# so that it is another one, which is not dirty.
THP_OTHERWISE = (r"^clean (ro_part|drop_part|unmap_part|lock_part|migrate):|^free lock_part:|"
                 r"^locked (split_4|migrate):| (cold|free)_part:|^partial (cold|free):|"
                 r"^ptes collapse:")
# Command lines, good and bad.
THP_BOOTS = ("transparent_hugepage=never", "transparent_hugepage=always", "transparent_hugepage=madvise",
             "transparent_hugepage=sometimes", "thp_anon=16K-64K:always;128K,512K:inherit;256K:madvise;1M-2M:never",
             "thp_anon=64K:always", "thp_anon=64K:always thp_anon=32K:madvise", "thp_anon=16K-64K:perhaps",
             "thp_anon=64K:always;8K:always", "thp_anon=48K:always", "thp_anon=64K-16K:always", "thp_anon=64K",
             "transparent_hugepage=never thp_anon=2M:always")


@step("kernel", "stock")
def thp_boot():
    """what the command line says of huge pages comes to the same as on stock"""
    command = ("sh", "-c", "cd /sys/kernel/mm/transparent_hugepage && grep . enabled defrag hugepages-*/enabled")

    def compare(i, line):
        stocks, ours = [Guest(f"thp_boot{i}-{k}", k, command, options=("--append", line), timeout=60, ok=(0,))
                        for k in ("stock", "foliage")]
        judge(line, ours, same_lines(stock(stocks), 10, lambda l: l.split(":")[0]))
    together(*[lambda i=i, line=line: compare(i, line) for i, line in enumerate(THP_BOOTS)])


ZSWAP_BOOTS = ("zswap.enabled=1", "zswap.enabled=1 zswap.compressor=lz4 zswap.zpool=zbud",
               "zswap.enabled=1 zswap.compressor=none zswap.max_pool_percent=7", "zswap.enabled=y zswap.zpool=none",
               "zswap.compressor=none zswap.zpool=none", "zswap.shrinker_enabled=1 zswap.accept_threshold_percent=50",
               "zswap.enabled=1 cgroup_disable=memory", "zswap.enabled=perhaps zswap.max_pool_percent=-1")
# What is there after boot, and after it is enabled; and a page goes out and in.
ZSWAP_BOOT = """cd /sys/module/zswap/parameters && grep . *; echo 1 > enabled; sed s/^/then:/ enabled compressor zpool
echo 64M > /sys/block/zram0/disksize; mkswap /dev/zram0 > /dev/null; swapon /dev/zram0
python3 -c 'import ctypes, mmap
m = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
m.write(b"text" * (1 << 18)); a = ctypes.addressof(ctypes.c_char.from_buffer(m))
ctypes.CDLL(None).madvise(ctypes.c_void_p(a), 1 << 20, 21)
print("out:", open("/sys/kernel/debug/zswap/stored_pages").read().strip(), m[:] == b"text" * (1 << 18))'"""


@step("kernel", "stock")
def zswap_boot():
    """what the command line says of zswap comes to the same as on stock"""
    def compare(i, line):
        stocks, ours = [Guest(f"zswap_boot{i}-{k}", k, ("sh", "-c", ZSWAP_BOOT), options=("--append", line), timeout=60,
                              ok=(0,)) for k in ("stock", "foliage")]
        judge(line, ours, same_lines(stock(stocks), 9, lambda l: l.split(":")[0]))
    together(*[lambda i=i, line=line: compare(i, line) for i, line in enumerate(ZSWAP_BOOTS)])


@step("kernel", "stock", "tools")
def thp_table():
    """each state of a huge page and what happens to it: the same as on stock"""
    program = f"{SELFTESTS}/thp_table"
    stocks, ours = [Guest(f"thp_table-{k}", k, (program,), inputs=(program,), timeout=900, ok=(0,))
                    for k in ("stock", "foliage")]
    judge("states of huge pages", ours, same_lines(stock(stocks), 400, lambda l: "" if re.search(
        THP_OTHERWISE, l) else l.split(":")[0]))


@step("kernel", "stock", "tools")
def bitmaps():
    """the same access scripts give the same idle bitmaps on stock and on ours"""
    program = f"{SELFTESTS}/idle_script"
    command = ("sh", "-c", f"for s in 1 2 3; do {program} $s || exit; done")
    stocks, ours = [Guest(f"bitmaps-{k}", k, command, inputs=(program,), ok=(0,)) for k in ("stock", "foliage")]
    judge("idle bitmaps", ours, same_lines(
        stock(stocks), 90, lambda l: " ".join(l.split()[:4]) if l.startswith("kind") else ""))


@step("kernel", "stock", "tools")
def pagewatch():
    """pagewatch on both kernels"""
    folder = f"{KSELFTEST}/pagewatch"
    files = dict(zip(("PAGEWATCH", "TOUCHER", "SLABINFO", "SLABINFO_GNUPLOT"),
                     (f"{BUILD}/tools/pagewatch", f"{SELFTESTS}/toucher", *slabinfo())))

    def run(name, kernel):
        script = f"{folder}/{name}.sh"
        judge(f"{name} on {kernel}",
              Guest(f"{name}-{kernel}", kernel, ("env", *[f"{k}={v}" for k, v in files.items()], script),
                    inputs=(*files.values(), script, f"{folder}/tap.sh"), timeout=1800))
    together(*[lambda n=n, k=k: run(n, k) for k in ("stock", "foliage")
               for n in ("pagewatch", "pagewatch_thp", "pagewatch_dirty", "pagewatch_swap",
                         "pagewatch_slabs", "pagewatch_top")])


@step("kernel", "tools")
def proc_readers():
    """page-types, thpmaps and CRIU as readers of our /proc files"""
    script = f"{KSELFTEST}/proc/proc_readers.sh"
    files = dict(zip(("PAGE_TYPES", "THPMAPS"), readers()),
                 PROC_HOLDER=f"{SELFTESTS}/proc_holder", PROC_NONFT=f"{SELFTESTS}/proc_nonft.so")
    criu = shutil.which("criu")
    judge("readers", Guest("readers", "foliage", ("env", *[f"{k}={v}" for k, v in files.items()], script), timeout=600,
                           inputs=(script, *files.values(), *([criu] if criu else []))))


@step("kernel", "debug")
def kunit():
    """KUnit, at boot, also of the debug kernel"""
    def verdict(out):
        found = re.findall(r"^    (ok|not ok) \d+ (\w+)(.*)", out, re.M)
        return {n: "skip" if "# SKIP" in rest else word for word, n, rest in found} or {WHOLE: "none"}
    # So much memory that one node has zones DMA32 and Normal, between which a test moves folios.
    together(*[lambda k=k: judge(f"kunit on {k}", Guest(
        f"kunit-{k}", k, ("sh", "-c", "cat /sys/kernel/debug/kunit/foliage_*/results"), keep=False,
        options=("--mem", "7G", "--append", "kunit.enable=1")), verdict) for k in ("foliage", "debug")])
