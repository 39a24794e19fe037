/* Errors as values: names, sentences, errno mapping and notes.
 *
 * Place: base. Everything is generated from the table in err/codes.h but the errno mapping. */
#include "err/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
    const char *name;
    const char *text;
    bool retryable;
};

static const struct err_row rows[ERR_COUNT] = {
#define X(name, reason, sentence, retryable) [name] = {reason, sentence, retryable},
    ERR_CODES(X)
#undef X
};

static const struct err_row unknown_row = {"unknown_code", "unknown error code", false};

static const struct err_row *row_of(enum err code)
{
    unsigned at = (unsigned)code;
    return at < ERR_COUNT ? &rows[at] : &unknown_row;
}

const char *err_name(enum err code)
{
    return row_of(code)->name;
}

const char *err_text(enum err code)
{
    return row_of(code)->text;
}

bool err_retryable(enum err code)
{
    return row_of(code)->retryable;
}

static const struct {
    int errno_value;
    enum err code;
} errno_codes[] = {
    {EACCES, ERR_DENIED},
    {EPERM, ERR_DENIED},
    {ENOENT, ERR_NOT_FOUND},
    {EEXIST, ERR_EXISTS},
    {EFBIG, ERR_TOO_LARGE},
    {EMSGSIZE, ERR_TOO_LARGE},
    {ENAMETOOLONG, ERR_TOO_LARGE},
    {ENOSPC, ERR_NO_SPACE},
    {EDQUOT, ERR_NO_SPACE},
    {EAGAIN, ERR_FULL},
    {ENOBUFS, ERR_FULL},
    {ENOMEM, ERR_FULL},
    {EMFILE, ERR_FULL},
    {ENFILE, ERR_FULL},
    {EADDRINUSE, ERR_IN_USE},
    {EBUSY, ERR_IN_USE},
    {ETXTBSY, ERR_IN_USE},
    {EPIPE, ERR_CLOSED},
    {ECONNRESET, ERR_CLOSED},
    {ECONNABORTED, ERR_CLOSED},
    {ENOTCONN, ERR_CLOSED},
    {ECONNREFUSED, ERR_REFUSED},
    {EHOSTUNREACH, ERR_REFUSED},
    {ENETUNREACH, ERR_REFUSED},
    {EHOSTDOWN, ERR_REFUSED},
    {ENETDOWN, ERR_REFUSED},
    {ETIMEDOUT, ERR_TIMEOUT},
    {ETIME, ERR_TIMEOUT},
    {ECANCELED, ERR_CANCELED},
    {ENOSYS, ERR_UNSUPPORTED},
    {EOPNOTSUPP, ERR_UNSUPPORTED},
    {EAFNOSUPPORT, ERR_UNSUPPORTED},
};

enum err err_from_errno(int errno_value)
{
    for (size_t i = 0; i < sizeof(errno_codes) / sizeof(errno_codes[0]); i++) {
        if (errno_codes[i].errno_value == errno_value) {
            return errno_codes[i].code;
        }
    }
    return ERR_IO;
}

enum err err_note_set(struct err_note *note, enum err code, const char *format, ...)
{
    if (note == NULL) {
        return code;
    }
    /* The arguments may point into the note itself. */
    char fresh[ERR_NOTE_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(fresh, sizeof(fresh), format, args);
    va_end(args);
    memcpy(note->text, fresh, sizeof(fresh));
    return code;
}

enum err err_note_wrap(struct err_note *note, enum err code, const char *format, ...)
{
    if (note == NULL) {
        return code;
    }
    char prefix[ERR_NOTE_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);
    char whole[2 * ERR_NOTE_MAX + 2];
    (void)snprintf(whole, sizeof(whole), "%s: %s", prefix,
                   note->text[0] != '\0' ? note->text : err_text(code));
    memcpy(note->text, whole, sizeof(note->text) - 1);
    note->text[sizeof(note->text) - 1] = '\0';
    return code;
}
