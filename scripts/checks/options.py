# SPDX-License-Identifier: GPL-2.0
"""Kernels with some of our options off, in a build folder of their own."""
import os
import re


from .builds import mm_tests
from .guests import WHOLE, Guest, judge
from .rig import BUILD, LOGS, ROOT, SELFTESTS, SRC, Failed, run
from .steps import step
from .stock import results, run_categories

# Options that others need: off only with these.
NEEDED_BY = dict.fromkeys(("CONFIG_FOLIAGE_RMAP", "CONFIG_FOLIAGE_LRU"), {"CONFIG_FOLIAGE_MIGRATE", "CONFIG_FOLIAGE_THP",
                                                                            "CONFIG_FOLIAGE_COLLAPSE", "CONFIG_FOLIAGE_UFFD"})


def build_without(off):
    """Build the grafted kernel without some options; stock's objects take their places."""
    fragment = f"{LOGS}/off.config"
    with open(fragment, "w", encoding="utf-8") as f:
        f.write("".join(f"{o}=n\n" for o in off))
    # With a header's option off nearly all is compiled again, beside guests and on one share: no limit but the check's.
    run("options", "scripts/kernel", "options", SRC, "foliage_guest", "foliage", fragment, timeout=7200)
    for line in open(f"{ROOT}/graft/ledger", encoding="utf-8"):
        word = line.split()
        # A file that is replaced in part is always there.
        if word and f"CONFIG_{word[0]}" in off and len(word) < 6:
            members = run("options", "ar", "t", f"{BUILD}/options/{os.path.dirname(word[1])}/built-in.a", shares=0)
            if os.path.basename(word[1])[:-2] + ".o" not in members:
                raise Failed(f"with CONFIG_{word[0]} off stock's {word[1]} is not in the kernel")


def boots(title):
    """A guest comes up and runs a command."""
    judge("options", Guest("options-boot", "options", ("true",), timeout=60),
          lambda out: {f"{title} off: builds and boots": "ok"})


def run_without(title, off):
    """What needs no option in particular passes on such a kernel: ours of mlock, and stock's own."""
    build_without(off)
    for program in ("mlock_abi", "mlock_state"):
        judge(f"{program} with {title}", Guest(f"options-{program}", "options", (f"{SELFTESTS}/{program}",),
                                               inputs=(f"{SELFTESTS}/{program}",)))
    tests = mm_tests()

    def verdict(out):
        found = results(out)
        bad = {WHOLE: f"{len(found)}"} if len(found) < 4 else {}
        return {**{n: {"pass": "ok"}.get(r, r) for n, r in found.items()}, **bad}
    judge(f"kselftest with {title}",
          Guest("options-kselftest", "options", run_categories(tests, ("mlock", "mremap", "madv_populate")),
                inputs=(tests,)), verdict)


@step("kernel", "tools")
def options():
    """each option off alone still links and boots, with stock's own object in its place; so do none and LRU alone"""
    with open(f"{ROOT}/arch/x86/configs/foliage.config", encoding="utf-8") as f:
        every = re.findall(r"^(CONFIG_FOLIAGE_\w+)=y", f.read(), re.M)
    for option in every:
        if not option.endswith("_KUNIT_TEST"):
            off = {option} | NEEDED_BY.get(option, set())
            build_without([o for o in every if o in off or o.replace("_KUNIT_TEST", "") in off])
            boots(" and ".join(sorted(off)))
    run_without("all options off", every)
    run_without("FOLIAGE_LRU alone", [o for o in every if "_LRU" not in o])
