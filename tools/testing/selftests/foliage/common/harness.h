/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kselftest harness, with more time for a test: an emulated debug kernel on a busy machine
 * can need several times the 30 seconds of the harness.
 */
#ifndef FOLIAGE_HARNESS_H
#define FOLIAGE_HARNESS_H

#include "../../kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 240

#endif
