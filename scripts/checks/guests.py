# SPDX-License-Identifier: GPL-2.0
"""Guests that are asked something, and what their answers are worth.

A verdict is a function from a guest's output to {name of a result: "ok", "skip" or what is wrong}. A guest that did not
end beside others is asked alone before anything is said of it. A result that is neither is asked for again, three times,
with nothing else running: when all three are good it depends on chance, which is counted as passed, printed and written
down as flaky; one that is not good makes it a failure.
"""
import dataclasses
import itertools
import os
import re
import shutil
import threading
import time

from . import answers, count
from .rig import BUILD, IMAGE, LOGS, SHARES, Failed, Late, call, keep_for_again, shown

TAP = re.compile(r"^(not ok|ok) (\d+)(?: -)? *(.*)$")
AGAIN = 3
CONSOLES = os.path.join(LOGS, "consoles")
# Results that stand for a guest as a whole; they are named by a verdict only when they are bad.
GUEST = "the guest"
WHOLE = "all results"


@dataclasses.dataclass(frozen=True)
class Guest:
    """One question."""
    log: str                    # names its log and its consoles
    kernel: str
    command: tuple
    options: tuple = ()         # of scripts/vm
    inputs: tuple = ()          # what the answer depends on besides: programs, scripts, folders of them
    timeout: int = 300
    ok: tuple = (0, 1)          # statuses of the command that are an answer
    keep: bool = True           # the same question has the same answer
    shares: int = 1
    leaks: bool = False         # it asks kmemleak


@dataclasses.dataclass
class Answer:
    out: str
    wrong: str = ""             # why this is no answer
    console: str = ""
    seconds: float = 0.0
    slow: bool = False          # it had not ended in its time


numbers = itertools.count(1)
primed = {}                     # answers of this check that came from a batch, by key
primed_lock = threading.Lock()


def image(kernel):
    if not os.path.isfile(IMAGE[kernel]):
        raise Failed(f"no kernel at {shown(IMAGE[kernel])}: run scripts/check without a step, or make {kernel}")
    return IMAGE[kernel]


def options_of(g):
    """What nobody asks kmemleak about it does not watch: watching is half of all that the debug kernel does."""
    if g.kernel != "debug" or g.leaks:
        return g.options
    at = g.options.index("--append") + 1 if "--append" in g.options else None
    quick = "kmemleak=off"
    return (*g.options, "--append", quick) if at is None else (*g.options[:at], f"{g.options[at]} {quick}", *g.options[at + 1:])


def boot(g, again=False):
    """Ask for real; again means with nothing else running."""
    os.makedirs(CONSOLES, exist_ok=True)
    console = os.path.join(CONSOLES, f"{g.log}-{next(numbers)}.log")
    began = time.monotonic()
    code, out = call(g.log, "scripts/vm", "--kernel", image(g.kernel), "--timeout", str(g.timeout), "--console", console,
                     *options_of(g), "--", *g.command, timeout=g.timeout + 90, shares=SHARES if again else g.shares,
                     again=again)
    seconds = time.monotonic() - began
    if code in g.ok:
        return Answer(out, "", console, seconds)
    why = {124: f"no end in {g.timeout} s", 125: "the kernel complained", 126: "the guest died", 2: "scripts/vm refused"}
    return Answer(out, why.get(code, f"status {code}"), console, seconds, code == 124)


def place(g):
    """Where its answer is kept; None for what differs each time."""
    if not g.keep:
        return None
    return answers.key(image(g.kernel), g.command, (*g.options, str(g.ok)), g.inputs)


def kept(g):
    """An answer of an earlier check, or of a batch of this one."""
    where = place(g)
    if not where:
        return None
    with primed_lock:
        if where in primed:
            return Answer(primed[where])
    out = answers.get(where)
    if out is not None:
        count.say(f"kept: {g.log} (FRESH=1 asks again)")
        return Answer(out)
    return None


def stock(g):
    """The answer that ours are compared with: whatever it is, as long as there is one."""
    a = kept(g)
    if not a:
        a = boot(g)
        if a.wrong:
            a = boot(g, again=True)
        if a.wrong:
            raise Failed(f"{g.log}: {a.wrong}; console {shown(a.console)}, see {shown(LOGS)}/{g.log}.log")
        if place(g):
            answers.put(place(g), a.out)
    return a.out


def tap(out):
    """The verdict on a program that speaks TAP. One that planned more than it told has failed."""
    results = {}
    for line in out.split("\n"):
        m = TAP.match(line)
        if m:
            name = re.sub(r" # .*", "", m[3]) or m[2]
            while name in results:
                name += "'"
            results[name] = "skip" if "# SKIP" in m[3] else "ok" if m[1] == "ok" else "not ok"
    plan = re.search(r"^1\.\.(\d+)", out, re.M)
    if not plan or len(results) < int(plan[1]):
        results[WHOLE] = f"{len(results)} of {plan[1] if plan else '?'}"
    return results


def judge(title, g, verdict=tap, narrow=None):
    """Ask, and count the results. What is asked again can be made less, by a function from the names of what was bad."""
    a = kept(g)
    fresh = not a
    a = a or boot(g)
    if a.slow:
        a = ask_alone(title, g, a)
    first = results_of(a, verdict)
    bad = [n for n, word in first.items() if word not in ("ok", "skip")]
    whole = {GUEST, WHOLE} & set(bad)
    questions = []
    if bad:
        # Once as it was: what is bad may come from what ran before it.
        less = g if whole else narrow(bad) if narrow else fewer(g, a, bad)
        questions = [less if narrow else g] + [less] * (AGAIN - 1)
        keep_for_again(a.seconds * len(questions))
    try:
        again = [boot(q, again=True) for q in questions]
    except Late:
        # What was bad stays bad when there is no time to ask again.
        for name in bad:
            count.add(f"{title}: {name}", False, note=f"{first[name]}; no time to ask again; {where_to_look(g, a)}")
        raise
    more = [results_of(b, verdict) for b in again]
    for m in more if whole else []:
        # What it did not live to tell the first time.
        for n, word in m.items():
            if n not in first or (word not in ("ok", "skip") and n not in bad):
                first[n] = word
                bad += [n] if word not in ("ok", "skip") else []
    for name, word in first.items():
        if name not in bad:
            if name != GUEST:
                count.add(f"{title}: {name}", True, skip=word == "skip")
        elif all(told(m, name, "ok" if name in whole else "none") in ("ok", "skip") for m in more):
            count.add_flaky(f"{title}: {name}", f"{word}, then {AGAIN} times ok alone; {keep_console(a)}")
        else:
            runs = ", ".join(told(m, name, "none") for m in more)
            count.add(f"{title}: {name}", False, note=f"{word}; alone: {runs}; {where_to_look(g, a)}")
    if fresh and not bad and place(g):
        answers.put(place(g), a.out)


def ask_alone(title, g, a):
    """What did not end beside others has answered nothing yet."""
    keep_for_again(a.seconds)
    count.say(f"{title}: {a.wrong} beside others; asked alone")
    try:
        return boot(g, again=True)
    except Late:
        count.add(title, True, skip=True, note=f"{a.wrong} beside others, and no time to ask it alone")
        raise


def fewer(g, a, bad):
    """The bad tests of a program with kselftest's harness alone; those who count leaks before and after need the rest."""
    tests = {name.rsplit(".", 1)[-1] for name in bad}
    if not re.search(r"^# Starting \d+ tests? from", a.out, re.M) or any(re.match(r"(before|after)\.", n) for n in bad):
        return g
    return dataclasses.replace(g, command=(*g.command, *[word for t in sorted(tests) for word in ("-t", t)]))


def told(results, name, otherwise):
    """What another answer says of a result, also where its name has figures in it that differ each time."""
    def shape(n):
        return re.sub(r"-?\d+", "N", n)
    alike = [word for n, word in results.items() if shape(n) == shape(name)]
    return results.get(name) or (alike[0] if len(alike) == 1 else otherwise)


def results_of(a, verdict):
    """The guest itself is a result too."""
    if a.wrong:
        # A complaint comes with the command's whole output, the others with a part of it.
        told = verdict(a.out) if a.out and a.wrong == "the kernel complained" else {}
        return {**told, GUEST: a.wrong}
    return {**verdict(a.out), GUEST: "ok"}


def where_to_look(g, a):
    console = f"console {shown(a.console)}, " if a.console else ""
    return f"{console}log {shown(LOGS)}/{g.log}.log"


def keep_console(a):
    """Of a flaky result, where the next check does not remove it."""
    if not a.console:
        return "an answer that was kept"
    folder = os.path.join(BUILD, "flaky-consoles")
    os.makedirs(folder, exist_ok=True)
    shutil.copy(a.console, folder)
    return f"console {shown(a.console)}"


BATCH_TIMEOUT = 1500
BATCH = """. "$0"; remember
i=0
for p; do
	i=$((i + 1))
	echo "@@ begin $i"
	timeout -k 5 %d "$p" < /dev/null
	echo "@@ end $i $?"
	reset || { echo "@@ left $i"; exit 0; }
done"""


def prime(log, kernel, guests):
    """One boot for many: programs that need nothing special of their guest run one after the other, with a reset between
    them, as long as nothing of one is left for the next. What was good is an answer; about all else each program's own
    guest is asked."""
    todo = [g for g in guests if g.keep and not g.options and len(g.command) == 1 and not has_answer(g)]
    if len(todo) < 2:
        return
    script = os.path.join(os.path.dirname(os.path.realpath(__file__)), "reset.sh")
    # As long as each of them would have had; the batch is not to be lost for one that is slow.
    timeout = max(g.timeout for g in todo)
    whole = Guest(log, kernel, ("bash", "-c", BATCH % timeout, script, *[g.command[0] for g in todo]),
                  timeout=min(timeout * len(todo), BATCH_TIMEOUT), ok=(0,))
    a = boot(whole)
    if a.wrong:
        count.say(f"{log}: {a.wrong} ({shown(a.console)}); each program is asked in a guest of its own")
        # Programs that had ended before the time did have answered; what a kernel said that complained is worth nothing.
        if not a.wrong.startswith("no end"):
            return
    parts = re.findall(r"^@@ begin (\d+)\n(.*?)^@@ end \1 (\d+)$", a.out, re.M | re.S)
    good = 0
    for number, out, status in parts:
        g = todo[int(number) - 1]
        if int(status) == 0 and set(tap(out).values()) <= {"ok", "skip"}:
            good += 1
            with primed_lock:
                primed[place(g)] = out
            answers.put(place(g), out)
    left = re.search(r"^@@ left (\d+)$", a.out, re.M)
    why = f"; {todo[int(left[1]) - 1].log} left something" if left else ""
    count.say(f"{log}: {good} of {len(todo)} programs in one guest{why}")
    if left:
        prime(log, kernel, todo[int(left[1]):])


def has_answer(g):
    if os.environ.get("FRESH"):
        return False
    return os.path.exists(place(g))
