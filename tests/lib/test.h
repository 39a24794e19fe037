/* The one way for tests to include cmocka: its header needs these four, in this order.
 * clang-format would sort them and break the build, so formatting is off here and only here. */
#ifndef TEST_H
#define TEST_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#endif
