# SPDX-License-Identifier: GPL-2.0
"""scripts/vm itself."""
import subprocess
import sys
import time

from . import count
from .guests import image
from .rig import LOGS, ROOT, Failed, processors, run
from .steps import step

# Every byte value, the ends of lines that a terminal would change, and more than any buffer on the way holds.
PATTERN = """import hashlib, sys
block = bytes(range(256)) + b"\\r\\n\\n\\r\\x04\\x00\\xff\\x1a" + bytes(reversed(range(256)))
for i in range(16000):
    sys.stdout.buffer.write(i.to_bytes(4, "little") + block)
"""


def statuses(vm):
    """Status by status, what scripts/vm says of a guest."""
    cases = [
        ("a quick guest", 0, [*vm, "--", "true"]),
        ("the command's status", 7, [*vm, "--", "sh", "-c", "exit 7"]),
        ("a guest that hangs", 124, [*vm, "--timeout", "12", "--", "sleep", "1000"]),
        ("a kernel warning", 125, [*vm, "--", "sh", "-c", "echo '<4>WARNING: CPU: made up' > /dev/kmsg"]),
        ("a warning allowed", 0, [*vm, "--allow", "made up", "--", "sh", "-c",
                                  "echo '<4>WARNING: made up' > /dev/kmsg"]),
        ("a guest that dies", 126, [*vm, "--", "sh", "-c", "echo o > /proc/sysrq-trigger; sleep 100"]),
        ("no kernel", 2, ["scripts/vm", "--kernel", "/nonexistent", "--", "true"]),
        ("no command", 2, ["scripts/vm"]),
        ("a node of slow memory", 0, [*vm, "--slow-node", "--", "sh", "-c", "cd /sys/devices/system/node && "
                                      "[ $(cat has_cpu) = 0 ] && [ $(cat has_memory) = 0-1 ]"]),
        ("slow memory alone", 2, [*vm, "--slow-node", "--nodes", "1", "--", "true"]),
        ("bad memory", 2, [*vm, "--mem", "4T", "--", "true"]),
        ("bad acceleration", 2, [*vm, "--", "true"]),
    ]
    for name, status, argv in cases:
        env = {"ACCEL": "magic"} if name == "bad acceleration" else None
        began = time.monotonic()
        run("vm", *argv, timeout=120, ok=(status,), env=env)
        count.add(f"vm: {name}", True, note=f"{time.monotonic() - began:.1f} s" if name == "a quick guest" else "")


def same_bytes(vm):
    """The host receives what the guest's command wrote, made once more here."""
    script = f"{LOGS}/pattern.py"
    with open(script, "w", encoding="utf-8") as f:
        f.write(PATTERN)
    want = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, check=True).stdout
    with processors.take(1):
        got = subprocess.run([*vm, "--", "python3", script], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, timeout=180, check=False)
    if got.returncode:
        raise Failed(f"vm: the guest that writes bytes: status {got.returncode}: {got.stderr.decode(errors='replace')}")
    same = got.stdout == want
    first = next((i for i, (a, b) in enumerate(zip(got.stdout, want)) if a != b), min(len(got.stdout), len(want)))
    count.add("vm: bytes pass unchanged", same, note="" if same else
              f"{len(got.stdout)} bytes came of {len(want)}, the first that differs is at {first}: "
              f"{got.stdout[first:first + 8]!r} for {want[first:first + 8]!r}")


@step("kernel")
def vm():
    """scripts/vm: statuses, limits, complaints, bad arguments, bytes"""
    command = ["scripts/vm", "--kernel", image("foliage")]
    statuses(command)
    same_bytes(command)
