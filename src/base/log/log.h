/* The program's own log: one line per event, `stamp LEVEL event key=value ...`, one write(2) each.
 *
 *     2026-11-23T04:33:43.123Z WARN peer_down node=2 reason="the deadline passed"
 *
 * Place: base, for io's users only: node, serve and app log; proto, core and io return errors, and
 * the layer that handles an error logs it once. No secrets and no payloads go into a line. Besides
 * base/check and base/mem (last words) this is the only module of base with system calls: the clock
 * for the stamp and the write.
 *
 * Event names come from the table in log/events.h, so that they can be listed and are never
 * misspelt. All functions may be called from any thread; a line is never interleaved with another
 * as long as the descriptor is a file opened for appending, a terminal, or a pipe. */
#ifndef LOG_LOG_H
#define LOG_LOG_H

#include "bytes/bytes.h"
#include "log/events.h"

#include <stdbool.h>

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARN,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_COUNT
};

enum log_id {
#define X(id, name, level, sentence) id,
    LOG_EVENTS(X)
#undef X
    LOG_ID_COUNT
};

/* Bytes of a line with its line feed; a longer one is cut and ends in "...". */
enum {
    LOG_LINE_MAX = 2048
};

/* Where lines go (borrowed; until then standard error) and the least level that is written (until
 * then INFO). May be called again, to reopen a log. */
void log_init(int fd, enum log_level least);

/* Writes one event with its fields: the format is `key=conversion` pairs with single spaces between
 * them, as in "node=%u reason=%s". A value is quoted when it is empty or contains a space, a quote,
 * an equals sign or a control byte, so the format contains no quotes. Failures to write are
 * ignored: there is nobody to tell. errno is kept. */
void log_event(enum log_id id, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes one event without fields. */
void log_event_bare(enum log_id id);

/* Whether events of this level are written, for callers whose fields are costly. */
bool log_writes(enum log_level level);

/* "debug", "info", "warn", "error", in any case; else ERR_BAD_INPUT. */
ERR_CHECKED enum err log_level_parse(struct bytes text, enum log_level *ret_level);

/* The table's columns, borrowed for ever. id < LOG_ID_COUNT. */
const char *log_event_name(enum log_id id);
const char *log_event_text(enum log_id id);
enum log_level log_event_level(enum log_id id);
/* "DEBUG", "INFO", "WARN", "ERROR". level < LOG_LEVEL_COUNT. */
const char *log_level_name(enum log_level level);

#endif
