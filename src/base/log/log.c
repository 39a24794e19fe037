/* The program's own log.
 *
 * Place: base. A line is built on the stack and leaves in one write, so threads need no lock. The
 * only state is where lines go and which are wanted. */
#include "log/log.h"

#include "text/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Longest format of a caller, with its zero; and the room kept for the end of a cut line. */
enum {
    LOG_FORMAT_MAX = 512,
    LOG_END_MAX = 5
};

static _Atomic int log_fd = STDERR_FILENO;
static _Atomic int log_least = LOG_LEVEL_INFO;

static const struct {
    const char *name;
    const char *text;
    enum log_level level;
} events[LOG_ID_COUNT] = {

#define X(id, name, level, sentence) [id] = {name, sentence, LOG_LEVEL_##level},
    LOG_EVENTS(X)
#undef X
};

static const char *const level_names[LOG_LEVEL_COUNT] = {
    [LOG_LEVEL_DEBUG] = "DEBUG",
    [LOG_LEVEL_INFO] = "INFO",
    [LOG_LEVEL_WARN] = "WARN",
    [LOG_LEVEL_ERROR] = "ERROR",
};

struct line {
    size_t len;
    bool cut;
    bool in_quotes;
    char text[LOG_LINE_MAX];
};

void log_init(int fd, enum log_level least)
{
    CHECK(fd >= 0);
    CHECK((unsigned)least < LOG_LEVEL_COUNT);
    atomic_store_explicit(&log_least, (int)least, memory_order_relaxed);
    atomic_store_explicit(&log_fd, fd, memory_order_release);
}

bool log_writes(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_least, memory_order_relaxed);
}

/* All or nothing, so that an escape is never cut. */
static void put(struct line *line, const char *text, size_t len)
{
    line->cut = line->cut || len > sizeof(line->text) - LOG_END_MAX - line->len;
    if (!line->cut) {
        memcpy(line->text + line->len, text, len);
        line->len += len;
    }
}

static void put_str(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

static bool is_plain(uint8_t byte)
{
    return byte > ' ' && byte != 0x7f && byte != '"' && byte != '\\' && byte != '=';
}

static bool needs_quotes(struct bytes value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (!is_plain(value.data[i])) {
            return true;
        }
    }
    return value.len == 0;
}

static void put_quoted_byte(struct line *line, uint8_t byte)
{
    char escaped[8];
    if (byte == '"' || byte == '\\') {
        escaped[0] = '\\';
        escaped[1] = (char)byte;
        put(line, escaped, 2);
    } else if (byte < ' ' || byte == 0x7f) {
        int length = snprintf(escaped, sizeof(escaped), "\\x%02x", (unsigned)byte);
        put(line, escaped, (size_t)length);
    } else {
        put(line, (const char *)&byte, 1);
    }
}

static void put_value(struct line *line, struct bytes value)
{
    if (!needs_quotes(value)) {
        /* Byte by byte, so that a value that is too long is there as far as it fits. */
        for (size_t i = 0; i < value.len; i++) {
            put(line, (const char *)value.data + i, 1);
        }
        return;
    }
    put_str(line, "\"");
    line->in_quotes = !line->cut;
    for (size_t i = 0; i < value.len; i++) {
        put_quoted_byte(line, value.data[i]);
    }
    if (!line->cut) {
        put_str(line, "\"");
        line->in_quotes = line->cut;
    }
}

static void put_head(struct line *line, enum log_id id)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    char stamp[25];
    text_utc((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, stamp);
    put_str(line, stamp);
    put_str(line, " ");
    put_str(line, level_names[events[id].level]);
    put_str(line, " ");
    put_str(line, events[id].name);
}

/* Length of what the first format_len bytes of the format print; text holds it, perhaps cut. */
static __attribute__((format(printf, 3, 0))) size_t
print_prefix(char *text, size_t text_size, const char *format, size_t format_len, va_list args)
{
    char prefix[LOG_FORMAT_MAX];
    if (bytes_to_cstr(bytes_of(format, format_len), prefix, sizeof(prefix)) != ERR_OK) {
        CHECK_UNREACHABLE();
    }
    va_list again;
    va_copy(again, args);
#pragma GCC diagnostic push
/* The prefix of a checked format, cut between two fields, fits the same arguments. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int printed = vsnprintf(text, text_size, prefix, again);
#pragma GCC diagnostic pop
    va_end(again);
    size_t len = printed < 0 ? 0 : (size_t)printed;
    return len < text_size ? len : text_size - 1;
}

/* Values may contain anything, so what was printed does not show where one ends. The format does:
 * printing it up to the end of each field gives the boundaries. */
static __attribute__((format(printf, 2, 0))) void put_fields(struct line *line, const char *format,
                                                             va_list args)
{
    char text[LOG_LINE_MAX];
    size_t start = 0;
    const char *field = format;
    while (*field != '\0') {
        const char *end = field + strcspn(field, " ");
        size_t key_len = strcspn(field, "=% ");
        key_len = field[key_len] == '=' ? key_len + 1 : 0;
        size_t upto = print_prefix(text, sizeof(text), format, (size_t)(end - format), args);
        put_str(line, " ");
        put(line, field, key_len);
        if (start + key_len <= upto) {
            put_value(line, bytes_of(text + start + key_len, upto - start - key_len));
        }
        start = upto + 1;
        field = *end == '\0' ? end : end + 1;
    }
}

static void send_line(struct line *line)
{
    if (line->cut) {
        memcpy(line->text + line->len, "...\"", 4);
        line->len += line->in_quotes ? 4 : 3;
    }
    line->text[line->len++] = '\n';
    int fd = atomic_load_explicit(&log_fd, memory_order_acquire);
    ssize_t written;
    do {
        written = write(fd, line->text, line->len);
    } while (written < 0 && errno == EINTR);
}

/* Starts a line; false when the event's level is not wanted. */
static bool begin_line(struct line *line, enum log_id id)
{
    CHECK((unsigned)id < LOG_ID_COUNT);
    if (!log_writes(events[id].level)) {
        return false;
    }
    line->len = 0;
    line->cut = false;
    line->in_quotes = false;
    put_head(line, id);
    return true;
}

void log_event(enum log_id id, const char *format, ...)
{
    int saved = errno;
    struct line line;
    if (begin_line(&line, id)) {
        va_list args;
        va_start(args, format);
        put_fields(&line, format, args);
        va_end(args);
        send_line(&line);
    }
    errno = saved;
}

void log_event_bare(enum log_id id)
{
    int saved = errno;
    struct line line;
    if (begin_line(&line, id)) {
        send_line(&line);
    }
    errno = saved;
}

enum err log_level_parse(struct bytes text, enum log_level *ret_level)
{
    for (unsigned level = 0; level < LOG_LEVEL_COUNT; level++) {
        if (bytes_eq_nocase(text, bytes_of_str(level_names[level]))) {
            *ret_level = (enum log_level)level;
            return ERR_OK;
        }
    }
    return ERR_BAD_INPUT;
}

const char *log_event_name(enum log_id id)
{
    CHECK((unsigned)id < LOG_ID_COUNT);
    return events[id].name;
}

const char *log_event_text(enum log_id id)
{
    CHECK((unsigned)id < LOG_ID_COUNT);
    return events[id].text;
}

enum log_level log_event_level(enum log_id id)
{
    CHECK((unsigned)id < LOG_ID_COUNT);
    return events[id].level;
}

const char *log_level_name(enum log_level level)
{
    CHECK((unsigned)level < LOG_LEVEL_COUNT);
    return level_names[level];
}
