# SPDX-License-Identifier: GPL-2.0
"""Steps are chosen, run, and counted."""
import fcntl
import os
import shutil
import signal
import sys
import threading
import time

from . import answers, count
from .rig import BUILD, LOGS, end_all, limit, shown
from .steps import run_steps, steps, table

# In the order in which they have the processors: what is long, or waited for, comes first.
from . import builds, rooms, vmtest, stock, options, static, configs     # pylint: disable=unused-import,wrong-import-order


def choose(names):
    if not names:
        return {n: s for n, s in steps.items() if not s.asked}
    unknown = [n for n in names if n not in steps]
    if unknown:
        print(f"check: no step {', '.join(unknown)}; scripts/check --list shows them", file=sys.stderr)
        sys.exit(2)
    return {n: s for n, s in steps.items() if n in names}


def time_allowed():
    """LIMIT: minutes, or None."""
    word = os.environ.get("LIMIT", "")
    if word and not (word.isdigit() and int(word)):
        print(f"check: LIMIT={word}: give a number of minutes, or nothing", file=sys.stderr)
        sys.exit(2)
    return int(word) if word else None


def only_one():
    """Two checks of one build folder would remove each other's logs."""
    os.makedirs(BUILD, exist_ok=True)
    lock = open(os.path.join(BUILD, "check.lock"), "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"check: another check runs in {shown(BUILD)}: wait for it, or give this one BUILD=", file=sys.stderr)
        sys.exit(2)
    return lock


def ended(sig, _):
    """Nothing that was started stays."""
    end_all()
    sys.exit(128 + sig)


def main(argv, doc):
    if any(a in ("-h", "--help") for a in argv):
        print(doc)
        return 0
    if "--list" in argv:
        for s in steps.values():
            print(f"{s.name:16}{s.what}")
        return 0
    chosen = choose(argv)
    minutes = time_allowed()
    lock = only_one()
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)
    for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sig, ended)
    answers.prune()
    if minutes:
        limit(minutes)
    began = time.monotonic()
    # Signals are for this thread, so it only waits.
    work = threading.Thread(target=run_steps, args=(chosen,), daemon=True)
    work.start()
    while work.is_alive():
        work.join(1)
    table(chosen, time.monotonic() - began)
    lock.close()
    return count.summary()
