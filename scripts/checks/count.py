# SPDX-License-Identifier: GPL-2.0
"""What passed, failed and was skipped, and which results depend on chance."""
import os
import threading

from .rig import LOGS, shown

lock = threading.Lock()
totals = {"ok": 0, "FAIL": 0, "skip": 0}
flaky = []      # lines for the end, and for build/check/flaky
failed = []     # lines for the end, where they are found when the rest is long


def add(what, ok, skip=False, note=""):
    """One result; passed ones are printed only when there is something to say."""
    word = "skip" if skip else "ok" if ok else "FAIL"
    with lock:
        totals[word] += 1
        if word == "FAIL":
            failed.append(f"{what}: {note}".split("\n", maxsplit=1)[0])
        if word != "ok" or note:
            print(f"{word:5} {what}{': ' + note if note else ''}", flush=True)


def add_flaky(what, note):
    """A result that failed once and passed three times alone: it counts as passed, and is a bug to be found."""
    line = f"{what}: {note}"
    with lock:
        totals["ok"] += 1
        flaky.append(line)
        print(f"flaky {line}", flush=True)
        with open(os.path.join(LOGS, "flaky"), "a", encoding="utf-8") as f:
            f.write(line + "\n")


def say(text):
    with lock:
        print(f"      {text}", flush=True)


def summary():
    """The last lines -> the exit status."""
    if flaky:
        print(f"Failed once, then passed three times alone ({shown(LOGS)}/flaky): bugs of a test or races of the kernel")
        for line in flaky:
            print(f"flaky {line}")
    if failed:
        print("Failed; above, more is said of each:")
        for line in failed:
            print(f"FAIL  {line}")
    print(f"{totals['ok']} passed, {totals['FAIL']} failed, {totals['skip']} skipped")
    return 1 if totals["FAIL"] else 0
