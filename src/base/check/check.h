/* CHECK: assertions that stay on in release builds.
 *
 * Place: base. For programmer errors only (a broken invariant, a misuse of an interface), never for
 * input from a network, a disk or a user. A failed check prints file, line and condition on
 * standard error and aborts: kill -9 is a normal event for a node, running on with broken state is
 * not. */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#define CHECK(condition)                                                                           \
    (__builtin_expect(!(condition), 0) ? check_failed(__FILE__, __LINE__, #condition) : (void)0)

/* For places that cannot be reached. */
#define CHECK_UNREACHABLE() check_failed(__FILE__, __LINE__, "unreachable")

/* Prints and aborts; never returns. */
_Noreturn void check_failed(const char *file, int line, const char *condition);

#endif
