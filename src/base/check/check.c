/* The end of a process whose state is broken.
 *
 * Place: base. Uses nothing that allocates or locks: the failure may be anywhere. */
#include "check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void check_failed(const char *file, int line, const char *condition)
{
    char text[512];
    int length = snprintf(text, sizeof(text), "%s:%d: check failed: %s\n", file, line, condition);
    if (length >= (int)sizeof(text)) {
        length = (int)sizeof(text) - 1;
    }
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0) {
        /* Nobody is left to be told. */
    }
    abort();
}
