# SPDX-License-Identifier: GPL-2.0
# What the rooms' Makefiles share: included after their lists, in place of ../../lib.mk. The programs of NEEDS_COMMON,
# and all of TEST_GEN_PROGS, are linked with foliage.c.
common := ../common
CFLAGS += -O2 -g -Wall -I$(common) $(KHDR_INCLUDES)
LDLIBS += -lpthread
LOCAL_HDRS += $(wildcard $(common)/*.h *.h)

include ../../lib.mk

# lib.mk has put the folder before the names of its own lists.
$(TEST_GEN_PROGS) $(addprefix $(OUTPUT)/,$(NEEDS_COMMON)): $(common)/foliage.c
