# SPDX-License-Identifier: GPL-2.0
"""The list of steps. A step is a function that is decorated with @step; it runs on a thread of its own as soon as those
that it needs are done."""
import dataclasses
import resource
import threading
import time

from . import count
from .rig import CPUS, Failed, Late, longest, stopping, thread


@dataclasses.dataclass
class Step:
    name: str
    what: str
    fn: object
    needs: tuple
    asked: bool = False         # runs only when it is asked for by name
    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    went: bool = False
    late: bool = False          # not done, for want of time
    wall: float = 0.0
    busy: float = 0.0
    rank: int = 0


steps = {}


def step(*needs, name=None, asked=False):
    """Its docstring says what it checks. Steps that are defined first have the processors first."""
    def add(fn):
        s = Step(name or fn.__name__.replace("_", "-"), fn.__doc__, fn, needs, asked, rank=len(steps))
        steps[s.name] = s
        return fn
    return add


def leave_out(s):
    """The time was over before it was done: what it had found by then is counted."""
    s.late = True
    count.add(f"{s.name} ({s.what})", True, skip=True, note="not done when the time was over (LIMIT)")


def do(s, chosen):
    """Wait for what it needs, run it, count it."""
    for n in s.needs:
        if n in chosen:
            chosen[n].done.wait()
            if chosen[n].late:
                leave_out(s)
                s.done.set()
                return
            if not chosen[n].went:
                count.add(s.name, False, note=f"could not run: {n} failed")
                s.done.set()
                return
    thread.rank, thread.spent = s.rank, []
    began = time.monotonic()
    try:
        s.fn()
        s.went = True
    except Late:
        leave_out(s)
    except Failed as e:
        if not stopping.is_set():
            count.add(s.name, False, note=str(e))
    except Exception as e:      # pylint: disable=broad-except
        count.add(s.name, False, note=f"{type(e).__name__}: {e}: a mistake of scripts/checks")
        raise
    finally:
        s.wall, s.busy = time.monotonic() - began, sum(thread.spent)
        s.done.set()
    if s.went:
        count.add(f"{s.name} ({s.what}): {s.wall:.0f} s", True, note="done")


def run_steps(chosen):
    threads = [threading.Thread(target=do, args=(s, chosen), daemon=True) for s in chosen.values()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


LONGEST = 20


def table(chosen, total):
    """Where the time went."""
    print(f"\n      {'step':16}{'from start to end':>18}{'in commands':>13}")
    for s in sorted(chosen.values(), key=lambda s: -s.busy):
        print(f"      {s.name:16}{s.wall:>16.0f} s{s.busy:>11.0f} s")
    print(f"      {'all':16}{total:>16.0f} s{sum(s.busy for s in chosen.values()):>11.0f} s\n")
    print("      the longest commands, by their logs in build/check")
    for seconds, log in sorted(longest, reverse=True)[:LONGEST]:
        print(f"      {log:34}{seconds:>11.0f} s")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"      processors were in use for {100 * (used.ru_utime + used.ru_stime) / (total * CPUS):.0f}% of the time\n",
          flush=True)
