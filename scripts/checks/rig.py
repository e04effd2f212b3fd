# SPDX-License-Identifier: GPL-2.0
"""Where things are, and commands that run within a budget of processors."""
import contextlib
import os
import signal
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(ROOT, "build"))
SRC = os.path.join(BUILD, "src")
LOGS = os.path.join(BUILD, "check")
SELFTESTS = os.path.join(BUILD, "selftests")
KSELFTEST = os.path.join(ROOT, "tools/testing/selftests/foliage")
IMAGE = {k: f"{BUILD}/{k}/arch/x86/boot/bzImage" for k in ("stock", "foliage", "debug", "options")}
CPUS = os.cpu_count() or 1
# Commands side by side. A third guest would use what two leave idle, a tenth; but then all wait for each other, and
# what is bad for that reason costs more when it is asked again.
SHARES = CPUS
# Of the time allowed (LIMIT), how much is kept for what is asked again: at least, and when much was bad.
FOR_AGAIN, FOR_AGAIN_MOST = 0.1, 0.4
# A guest alone is done in so much of the time that it takes beside others.
ALONE = 0.7


class Failed(Exception):
    """A step's verdict, with what to say about it."""


class Late(Exception):
    """The time that the check has is over (LIMIT): what was not done by then is left out, and named."""


class Processors:
    """A budget of shares in the processors: each command says how many it takes, and waits until they are free. The one
    of the step that comes first in the list goes first, and if it wants more than is free the others wait for it: else
    guests, of one share each, would keep a kernel from being built. What needs the machine for itself is passed by what
    does not, so that no processor is idle; at the latest it runs when all else is done."""

    def __init__(self, capacity):
        self.free = self.capacity = capacity
        self.changed = threading.Condition()
        self.waiting = {}       # weights, by (rank of the step, order of coming)
        self.serial = 0

    def first(self):
        """Whose turn it is, if anybody's."""
        for who, weight in sorted(self.waiting.items()):
            if weight <= self.free:
                return who
            if weight < self.capacity:
                return None
        return None

    @contextlib.contextmanager
    def take(self, weight):
        weight = min(weight, self.capacity)
        with self.changed:
            self.serial += 1
            me = (getattr(thread, "rank", 0), self.serial)
            self.waiting[me] = weight
            self.changed.wait_for(lambda: stopping.is_set() or self.first() == me)
            del self.waiting[me]
            self.free -= weight
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.free += weight
                self.changed.notify_all()


deadline = float("inf")         # by time.monotonic()
last_first = float("inf")       # after this only what was bad is asked again
minutes_allowed = 0
wanted_again = 0.0              # seconds that what is to be asked again will take
longest = []                    # seconds and log of each command
thread = threading.local()      # rank: of the step that this thread works for; spent: a list of seconds
stopping = threading.Event()
processors = Processors(SHARES)
running = set()
running_lock = threading.Lock()


def end(p, patience=10):
    """A command and all that it started, but for what went into a session of its own: scripts/vm ends its QEMU when it
    is asked to end, so it is asked first."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(p.pid, sig)
        try:
            p.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        if sig == signal.SIGTERM:
            # The first of them is gone; whoever of the group is not gets no more time.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
        return


def limit(minutes):
    """From now on there are so many minutes. A part of them is kept for asking again: a guest that was bad because it
    waited for another is no failure, and whoever has no time to ask again cannot tell."""
    global deadline, minutes_allowed     # pylint: disable=global-statement
    deadline, minutes_allowed = time.monotonic() + 60 * minutes, minutes
    keep_for_again(0)


def keep_for_again(seconds):
    """Something was bad that took so long beside others: what is asked for the first time ends sooner by as much as it
    will take alone."""
    global last_first, wanted_again     # pylint: disable=global-statement
    with running_lock:
        wanted_again += ALONE * seconds
        part = min(max(wanted_again, FOR_AGAIN * 60 * minutes_allowed), FOR_AGAIN_MOST * 60 * minutes_allowed)
        last_first = deadline - part


def end_all():
    """The check itself is ended."""
    stopping.set()
    with running_lock:
        left = list(running)
    for p in left:
        end(p)
    with processors.changed:
        processors.changed.notify_all()


def time_left(again):
    return (deadline if again else last_first) - time.monotonic()


def wait(p, until, again):
    """Its status; None when its time is over, or the check's, which can become shorter meanwhile."""
    while (left := min(until - time.monotonic(), time_left(again))) > 0:
        try:
            return p.wait(min(left, 5))
        except subprocess.TimeoutExpired:
            continue
    return None


def call(log, *argv, timeout=1800, env=None, shares=1, again=False):
    """Run a command, its output into build/check/LOG.log -> its exit status or "time-out", its output. Late when the
    time is over; what is not asked again is ended when the time begins that is kept for that."""
    path = os.path.join(LOGS, log + ".log")
    with processors.take(shares), open(path, "a", encoding="utf-8") as f:
        if stopping.is_set():
            raise Failed("the check was ended")
        if time_left(again) <= 0:
            raise Late(log)
        f.write("+ " + " ".join(argv) + "\n")
        f.flush()
        start = f.tell()
        began = time.monotonic()
        p = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT,
                             env={**os.environ, **(env or {})}, start_new_session=True)
        with running_lock:
            running.add(p)
        try:
            code = wait(p, began + timeout, again)
            if code is None:
                end(p)
                if time_left(again) <= 0:
                    raise Late(log)
                code = "time-out"
        finally:
            with running_lock:
                running.discard(p)
            longest.append((time.monotonic() - began, log))
            if hasattr(thread, "spent"):
                thread.spent.append(longest[-1][0])
    with open(path, "rb") as f:
        f.seek(start)
        return code, f.read().decode(errors="replace")


def run(log, *argv, ok=(0,), **kw):
    """call(), for commands that have to succeed: the output, or Failed with the end of it."""
    code, out = call(log, *argv, **kw)
    if code not in ok:
        tail = "\n".join("       " + l for l in out.split("\n")[-25:])
        raise Failed(f"{' '.join(argv)[:120]}: exit {code}, see {shown(LOGS)}/{log}.log\n{tail}")
    return out


def shown(path):
    """A path as it is printed: from the clone's root when it lies below."""
    relative = os.path.relpath(path, ROOT)
    return path if relative.startswith("..") else relative


def kbuild(log, name, *args, ok=(0,), shares=SHARES, **kw):
    """make in the grafted tree, in the build folder NAME, with the compiler cache."""
    return run(log, "scripts/kbuild", SRC, name, f"-j{CPUS}", *args, ok=ok, shares=shares, **kw)


def rooms():
    """Our folders of kernel code."""
    return sorted(os.path.relpath(d, ROOT) for top in ("mm", "fs") for d, _, files in os.walk(f"{ROOT}/{top}")
                  if "Makefile" in files)


def together(*calls):
    """Functions side by side, each on a thread of this step; the first exception of one is raised when all are done."""
    rank, spent, errors = getattr(thread, "rank", 0), getattr(thread, "spent", []), []

    def one(fn):
        thread.rank, thread.spent = rank, spent
        try:
            fn()
        except Exception as e:      # pylint: disable=broad-except
            errors.append(e)
    threads = [threading.Thread(target=one, args=(c,), daemon=True) for c in calls]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, Late)), errors[0])
