# SPDX-License-Identifier: GPL-2.0
# Foliage: build, boot, test. 'make help' lists what there is.
#
# BUILD=dir	where everything made goes (default build)
# LINUX=path	a 6.12.y tree or tarball instead of Debian's linux-source-6.12, from then on
# LINUX=debian	back to Debian's
# ACCEL=kvm|tcg	instead of finding out
# SOAK=minutes	for 'make soak'
# LIMIT=minutes	for 'make check': what is not done by then is named and skipped
BUILD ?= build
# kbuild takes no path with a blank or a colon; our recipes none with what means something to a shell or to make.
hash := \#
odd := $(foreach c,: ; & ' " \ % $$ * ? < > | ` $(hash),$(findstring $c,$(CURDIR)$(value BUILD)))
ifneq ($(words $(odd) [$(CURDIR)] [$(value BUILD)]),2)
  $(error '$(CURDIR)', BUILD='$(value BUILD)': the paths must have no blanks and none of : ; & ' " \ % $$ * ? < > | ` $(hash))
endif
# Links followed: a guest has the folder at the place where it really is.
override BUILD := $(shell realpath -m -- '$(or $(strip $(BUILD)),build)')
ifneq ($(filter $(patsubst %/,%,$(BUILD))/%,$(CURDIR)/),)
  $(error BUILD=$(BUILD) holds this repository: name a folder of its own, as 'make clean' removes it)
endif
export BUILD
# As it was typed, to programs that quote it: make is to expand nothing in it, and no shell here is to run it.
ifdef CMD
override CMD := $(value CMD)
export CMD
endif
ifdef LINUX
export LINUX
endif
ifdef LIMIT
export LIMIT
endif
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := kernel

kernel:	## build the grafted kernel: build/foliage/arch/x86/boot/bzImage
kernel: graft
	@scripts/kernel foliage $(BUILD)/src foliage_guest foliage

stock:	## build the stock kernel, same options: build/stock/arch/x86/boot/bzImage
stock: unpack
	@scripts/kernel stock $(BUILD)/stock-src foliage_guest

debug:	## build the grafted kernel with KASAN, lockdep and every mm check: build/debug/...
debug: graft
	@scripts/kernel debug $(BUILD)/src foliage_guest foliage foliage_debug

demo:	## boot, run redis (or CMD='...'), show which of its memory is idle
demo: deps-show kernel tools
	@scripts/demo

check:	## everything that the tests need, then the tests
check: deps-tests
	@scripts/check

soak:	## what is too long for every day, on the debug kernel (SOAK=minutes, default 60)
soak: deps-long debug tools
	@scripts/soak

shell:	## an interactive guest with the grafted kernel
shell: deps-shell kernel tools
	@scripts/vm --shell

bench:	## stock and ours side by side, in instructions (CURVES=1: how cost grows)
bench: deps-measure
	@$(MAKE) stock kernel
	@scripts/bench $(if $(CURVES),--curves)

series:	## a patch series against the pristine tree: build/series
series: deps-series unpack graft
	@scripts/series

contract: ## compare the symbols of our objects with those of the ones they replace
contract: stock kernel
	@scripts/contract

ledger:	## has a stock file that we replace changed since it was last reviewed?
ledger: unpack
	@scripts/ledger --strict

docs:	## the documents as HTML: build/docs/index.html
docs: deps-docs graft
	@scripts/docs

tools:	## pagewatch and the selftests: build/tools, build/selftests
tools: graft
	@scripts/tools

clean:	## remove everything that was made
	rm -rf $(BUILD)

help:	## this list
	@sed -n 's/^\([a-z]*\):[ \t]*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

deps: deps-tests

# scripts/deps --list shows what each asks for.
deps-%:
	@scripts/deps $*

unpack: deps-kernel
	@scripts/unpack
	@scripts/ledger

graft: unpack
	@graft/graft $(BUILD)/stock-src $(BUILD)/src

.PHONY: kernel stock debug demo check soak shell bench series contract ledger docs tools clean help deps unpack graft
