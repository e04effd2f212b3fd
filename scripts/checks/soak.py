# SPDX-License-Identifier: GPL-2.0
"""make soak, see scripts/soak."""
import os
import re
import shutil
import subprocess
import sys
import time

from .rig import BUILD, IMAGE, ROOT, SELFTESTS, shown

OUT = os.path.join(BUILD, "soak")
COMPLAINT = re.compile(r"^  > ", re.M)
HERE = os.path.dirname(os.path.realpath(__file__))
SWAP = "echo 512M > /sys/block/zram0/disksize; mkswap /dev/zram0 > /dev/null && swapon /dev/zram0; "
NOBODY = "setpriv --reuid 65534 --regid 65534 --clear-groups "
RACES = ("rmap_stress", "migrate_race", "lru_race", "idle_race", "proc_race", "zswap_race", "uffd_race",
         "uffd_move_race", "uffd_snapshot")
ZSWAP = "/sys/module/zswap/parameters"


def stressors(seconds):
    """Everything of stress-ng's that is about memory, one after the other, twice each."""
    # madvise as nobody: root's reports pages of its own as broken, and is killed for touching them.
    left_out = "bigheap,brk,madvise,stack,stackmmap,swap,watchdog"
    each = max(2, int(seconds * 0.8) // 70)
    return (SWAP + f"stress-ng --temp-path /tmp --class vm --sequential 2 --timeout {each} --oomable --exclude {left_out}; "
            f"{NOBODY} stress-ng --temp-path /tmp --madvise 2 --timeout {max(5, seconds // 10)}")


def moving(seconds):
    """Pages that are moved between nodes and compacted all the time, while others map, unmap and lock them."""
    return (SWAP + "(while :; do echo 1 > /proc/sys/vm/compact_memory; sleep 1; done) & c=$!; "
            "stress-ng --temp-path /tmp --numa 2 --vm 1 --vm-bytes 256M --mlock 1 --fork 1 --mremap 1 "
            f"--timeout {seconds} --oomable; s=$?; kill $c; (exit $s)")


def swapping(seconds):
    """More memory than a cgroup may have, in zswap and from there on the device, its settings changed all the time."""
    return (SWAP + f"""echo 1 > {ZSWAP}/enabled; echo 1 > {ZSWAP}/shrinker_enabled
for n in 64 256; do echo always > /sys/kernel/mm/transparent_hugepage/hugepages-${{n}}kB/enabled; done
echo +memory > /sys/fs/cgroup/cgroup.subtree_control; g=/sys/fs/cgroup/soak; mkdir $g; echo 160M > $g/memory.max
(while :; do for w in lz4 lzo; do echo $w > {ZSWAP}/compressor; sleep 1; echo 8M > $g/memory.zswap.max
echo zbud > {ZSWAP}/zpool; sleep 1; echo max > $g/memory.zswap.max; echo zsmalloc > {ZSWAP}/zpool; done; done) & c=$!
sh -c 'echo 0 > /sys/fs/cgroup/soak/cgroup.procs; exec stress-ng --vm 2 --vm-bytes 320M --verify --oomable --timeout {seconds}'
s=$?; kill $c; wait $c; rmdir $g; echo never > /sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled
echo never > /sys/kernel/mm/transparent_hugepage/hugepages-256kB/enabled
echo "zswap: $(grep -E '^zsw' /proc/vmstat | tr '\\n' ' ')"; (exit $s)""")


def race(program):
    """One of our races, for longer than the check has time for."""
    # The argument of migrate_race is rounds, of the others seconds.
    again = f"end=$((SECONDS + {{0}})); while [ $SECONDS -lt $end ]; do {SELFTESTS}/{program} 1 || exit; done"
    return (again if program == "migrate_race" else f"{SELFTESTS}/{program} {{0}}").format


def trinity(seconds):
    """System calls at random: as nobody, without those that end or stop what is not theirs."""
    out = "".join(f"-x {c} " for c in ("kill", "tkill", "tgkill", "reboot", "pause", "rt_sigtimedwait"))
    # Its list of sockets ends it at its start where the kernel has none of some family.
    out += "--disable-fds=sockets"
    return (f"mkdir /tmp/t && chown 65534 /tmp/t && cd /tmp/t && ulimit -v 2000000 && "
            f"timeout -s INT -k 10 {seconds} {NOBODY} trinity -q -C 4 {out} > /tmp/t/log 2>&1; s=$?; tail -n 3 /tmp/t/log; "
            "[ $s = 124 ] || [ $s = 137 ] || (exit $s)")


# What each part does, and its share of the time.
PARTS = {"stress-ng": (stressors, 4), "moving": (moving, 2), "swapping": (swapping, 3), **{p: (race(p), 1) for p in RACES}, "trinity": (trinity, 2)}
NEEDS = {"stress-ng": "stress-ng", "moving": "stress-ng", "swapping": "stress-ng", "trinity": "trinity"}


def guest(name, seconds):
    """-> status, output of one part."""
    work = PARTS[name][0](seconds)
    # The repository cannot be written to there.
    script = f". {HERE}/counters.sh; cd /tmp; counters_before; ({work}); s=$?; counters_after; exit $s"
    # The debug kernel needs a while to start, to end what runs, and to settle; one round of migrate_race takes it two
    # minutes, and three on a busy machine.
    limit = seconds + 480
    with open(f"{OUT}/{name}.log", "w", encoding="utf-8") as f:
        status = subprocess.run([f"{ROOT}/scripts/vm", "--kernel", IMAGE["debug"], "--timeout", str(limit), "--console",
                                 f"{OUT}/{name}.console", "--", "bash", "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL,
                                stdout=f, stderr=subprocess.STDOUT, check=False).returncode
    with open(f"{OUT}/{name}.log", errors="replace", encoding="utf-8") as f:
        return status, f.read()


def summary(rows):
    """-> whether nothing is wrong."""
    words = {0: "ok", 124: "no end in time", 125: "the kernel complained", 126: "the guest died"}
    good = True
    print(f"\n{'part':14}{'seconds':>8}  {'complaints':>10}  how it ended, and counters that did not come back")
    for name, took, status, out in rows:
        stayed = re.findall(r"^@@ counter (\S+) (\S+) (\S+)", out, re.M)
        splats = len(COMPLAINT.findall(out))
        note = words.get(status, f"status {status}") + "".join(f"; {n} {a} -> {b}" for n, a, b in stayed)
        bad = status or stayed or splats
        good = good and not bad
        print(f"{name:14}{took:>8.0f}  {splats:>10}  {note}" + (f"  ({shown(OUT)}/{name}.log)" if bad else ""))
    return good


def main(argv, doc):
    if any(a in ("-h", "--help") for a in argv):
        print(doc)
        return 0
    if "--list" in argv:
        for name, (fn, _) in PARTS.items():
            print(f"{name:14}{(race if name in RACES else fn).__doc__}")
        return 0
    unknown = [a for a in argv if a not in PARTS]
    minutes = os.environ.get("SOAK") or "60"
    if unknown or not re.fullmatch(r"\d+(\.\d+)?", minutes) or not 0 < float(minutes) <= 10000:
        print(f"soak: no part {', '.join(unknown)}; scripts/soak --list shows them" if unknown else
              f"soak: SOAK={minutes}: it is a number of minutes, as SOAK=60", file=sys.stderr)
        return 2
    if not os.path.isfile(IMAGE["debug"]) or not os.path.isdir(SELFTESTS):
        print("soak: the debug kernel or the selftests are not built: run 'make debug tools'", file=sys.stderr)
        return 2
    names = argv or list(PARTS)
    for n in [n for n in names if n in NEEDS and not shutil.which(NEEDS[n])]:
        print(f"soak: {n} is left out: {NEEDS[n]} is not installed")
        names.remove(n)
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    shares, rows = sum(PARTS[n][1] for n in names), []
    for n in names:
        seconds = max(10, int(float(minutes) * 60 * PARTS[n][1] / shares) - 40)
        print(f"soak: {n}, {seconds} s", flush=True)
        began = time.monotonic()
        status, out = guest(n, seconds)
        rows.append((n, time.monotonic() - began, status, out))
    return 0 if summary(rows) else 1
