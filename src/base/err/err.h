/* Errors as values: codes from one table, an optional note with the human detail.
 *
 * Place: base. A fallible function returns enum err, is marked ERR_CHECKED, and leaves its ret_
 * parameters untouched on failure. struct err_note travels beside it only in io, node, serve and
 * app, where a person will read it; callers wrap it ("load config: line 12: ..."). */
#ifndef ERR_ERR_H
#define ERR_ERR_H

#include "err/codes.h"

#include <stdbool.h>

#define ERR_CHECKED __attribute__((warn_unused_result))

enum err {
#define X(name, reason, sentence, retryable) name,
    ERR_CODES(X)
#undef X
    ERR_COUNT
};

/* Bytes of detail in a note, with the terminating zero; longer detail is cut. */
enum {
    ERR_NOTE_MAX = 256
};

/* Zeroed to begin: an empty text means "nothing more is known". */
struct err_note {
    char text[ERR_NOTE_MAX];
};

/* The code's name without prefix in lower case ("bad_input"): stable, used as reason code in logs,
 * metrics and answers. Borrowed for ever. Unknown codes give "unknown_code". */
const char *err_name(enum err code);

/* The code's sentence. Borrowed for ever. */
const char *err_text(enum err code);

/* Whether the same call may succeed later without anybody changing anything. */
bool err_retryable(enum err code);

/* Maps an errno value (positive) to a code; what has no code of its own is ERR_IO. */
enum err err_from_errno(int errno_value);

/* Replaces the note's text, printf style; a NULL note is allowed and ignored. Returns code, so that
 * `return err_note_set(note, ERR_BAD_INPUT, "line %d: ...", line);` reads straight. */
enum err err_note_set(struct err_note *note, enum err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the note's text (before the code's sentence when the note is empty),
 * printf style; what does not fit is cut at the end. Same NULL rule; returns code. */
enum err err_note_wrap(struct err_note *note, enum err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
