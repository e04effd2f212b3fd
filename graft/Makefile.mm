# SPDX-License-Identifier: GPL-2.0
# Appended to mm/Makefile by reference: with an option on, our objects take the place of stock's.

ifdef CONFIG_FOLIAGE_IDLE
obj-y := $(filter-out page_idle.o memmap/,$(obj-y)) idle/ memmap/
endif

ifdef CONFIG_FOLIAGE_RMAP
obj-y := $(filter-out rmap.o page_vma_mapped.o,$(obj-y)) pte/ rmap/
endif

ifdef CONFIG_FOLIAGE_PROC
obj-y := $(filter-out pte/ memmap/,$(obj-y)) pte/ memmap/
endif

ifdef CONFIG_FOLIAGE_LRU
obj-y := $(filter-out swap.o mlock.o,$(obj-y)) lru/
endif

ifdef CONFIG_FOLIAGE_MIGRATE
obj-y := $(filter-out migrate.o,$(obj-y)) migrate/
endif

ifdef CONFIG_FOLIAGE_THP
obj-y := $(filter-out huge_memory.o,$(obj-y)) thp/
endif

ifdef CONFIG_FOLIAGE_COLLAPSE
obj-y := $(filter-out khugepaged.o,$(obj-y)) collapse/
endif

ifdef CONFIG_FOLIAGE_ZSWAP
obj-y := $(filter-out zswap.o,$(obj-y)) zswap/
endif

ifdef CONFIG_FOLIAGE_UFFD
obj-y := $(filter-out userfaultfd.o,$(obj-y)) uffd/
endif
