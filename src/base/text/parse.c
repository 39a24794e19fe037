/* Parsers of small text forms: numbers, durations, sizes, addresses.
 *
 * Place: base. Each takes the whole slice; the result is stored only on success. */
#include "text/text.h"

__extension__ typedef unsigned __int128 text_u128;

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* Splits off the leading decimal digits. */
static struct bytes take_digits(struct bytes *text)
{
    size_t count = 0;
    while (count < text->len && is_digit(text->data[count])) {
        count++;
    }
    struct bytes digits = {text->data, count};
    *text = bytes_from(*text, count);
    return digits;
}

enum err text_parse_u64(struct bytes text, uint64_t *ret_value)
{
    struct bytes digits = take_digits(&text);
    if (digits.len == 0 || text.len > 0) {
        return ERR_BAD_INPUT;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(digits.data[i] - '0'), &value)) {
            return ERR_TOO_LARGE;
        }
    }
    *ret_value = value;
    return ERR_OK;
}

static const struct {
    const char *name;
    uint64_t ns;
} duration_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"\xc2\xb5s", 1000}, /* U+00B5, micro sign */
    {"\xce\xbcs", 1000}, /* U+03BC, Greek mu */
    {"ms", 1000000},
    {"s", UINT64_C(1000000000)},
    {"m", UINT64_C(60000000000)},
    {"h", UINT64_C(3600000000000)},
};

/* The unit ends at the next digit or point, so that "1m30s" is not read as milli-something. */
static uint64_t take_unit(struct bytes *text)
{
    size_t len = 0;
    while (len < text->len && !is_digit(text->data[len]) && text->data[len] != '.') {
        len++;
    }
    struct bytes unit = {text->data, len};
    *text = bytes_from(*text, len);
    for (size_t i = 0; i < sizeof(duration_units) / sizeof(duration_units[0]); i++) {
        if (bytes_eq_str(unit, duration_units[i].name)) {
            return duration_units[i].ns;
        }
    }
    return 0;
}

/* What the digits behind a point are worth, in nanoseconds; beyond 18 of them none counts. */
static uint64_t fraction_ns(struct bytes digits, uint64_t unit_ns)
{
    uint64_t value = 0;
    uint64_t scale = 1;
    for (size_t i = 0; i < digits.len && i < 18; i++) {
        value = value * 10 + (uint64_t)(digits.data[i] - '0');
        scale *= 10;
    }
    return (uint64_t)((text_u128)value * unit_ns / scale);
}

/* One number with its unit, such as "1.5h". */
static enum err take_duration_ns(struct bytes *text, uint64_t *ret_ns)
{
    struct bytes whole = take_digits(text);
    struct bytes fraction = {NULL, 0};
    if (text->len > 0 && text->data[0] == '.') {
        *text = bytes_from(*text, 1);
        fraction = take_digits(text);
    }
    if (whole.len + fraction.len == 0) {
        return ERR_BAD_INPUT;
    }
    uint64_t unit_ns = take_unit(text);
    if (unit_ns == 0) {
        return ERR_BAD_INPUT;
    }
    uint64_t value = 0;
    if (whole.len > 0) {
        enum err err = text_parse_u64(whole, &value);
        if (err != ERR_OK) {
            return err;
        }
    }
    uint64_t ns;
    if (__builtin_mul_overflow(value, unit_ns, &ns) ||
        __builtin_add_overflow(ns, fraction_ns(fraction, unit_ns), &ns)) {
        return ERR_TOO_LARGE;
    }
    *ret_ns = ns;
    return ERR_OK;
}

enum err text_parse_duration_ms(struct bytes text, uint64_t *ret_ms)
{
    if (bytes_eq_str(text, "0")) {
        *ret_ms = 0;
        return ERR_OK;
    }
    if (text.len == 0) {
        return ERR_BAD_INPUT;
    }
    uint64_t total_ns = 0;
    bool too_large = false;
    while (text.len > 0) {
        uint64_t ns = 0;
        enum err err = take_duration_ns(&text, &ns);
        if (err == ERR_BAD_INPUT) {
            return err;
        }
        too_large = too_large || err != ERR_OK || __builtin_add_overflow(total_ns, ns, &total_ns);
    }
    if (too_large || total_ns > INT64_MAX) {
        return ERR_TOO_LARGE;
    }
    *ret_ms = total_ns / 1000000 + (total_ns % 1000000 != 0);
    return ERR_OK;
}

/* The power of 1024 that a size's suffix means; -1 for none that is known. */
static int size_shift(struct bytes suffix)
{
    static const char letters[] = "KMG";
    if (suffix.len == 0) {
        return 0;
    }
    for (int i = 0; letters[i] != '\0'; i++) {
        struct bytes rest = bytes_from(suffix, 1);
        if (suffix.data[0] == letters[i] && (rest.len == 0 || bytes_eq_str(rest, "iB"))) {
            return 10 * (i + 1);
        }
    }
    return -1;
}

enum err text_parse_size(struct bytes text, uint64_t *ret_bytes)
{
    struct bytes digits = take_digits(&text);
    int shift = size_shift(text);
    if (shift < 0) {
        return ERR_BAD_INPUT;
    }
    uint64_t value = 0;
    enum err err = text_parse_u64(digits, &value);
    if (err != ERR_OK) {
        return err;
    }
    if (value > UINT64_MAX >> shift) {
        return ERR_TOO_LARGE;
    }
    *ret_bytes = value << shift;
    return ERR_OK;
}

/* Letters, digits, and the punctuation of names and of addresses; syntax beyond that is for those
 * who resolve the host. */
static bool is_host(struct bytes host, const char *punctuation)
{
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !is_digit(c) && (c == '\0' || strchr(punctuation, c) == NULL)) {
            return false;
        }
    }
    return host.len > 0;
}

/* Splits "HOST:PORT" or "[v6]:PORT"; false when it is neither. */
static bool split_host_port(struct bytes text, struct bytes *ret_host, struct bytes *ret_port)
{
    bool bracket = text.len > 0 && text.data[0] == '[';
    if (bracket) {
        text = bytes_from(text, 1);
    }
    size_t end = bytes_find(text, bracket ? ']' : ':');
    struct bytes host = {text.data, end};
    struct bytes rest = bytes_from(text, end);
    size_t mark = bracket ? 2 : 1;
    if (!bytes_has_prefix(rest, bytes_of(bracket ? "]:" : ":", mark)) ||
        !is_host(host, bracket ? ":.%-_" : ".-_")) {
        return false;
    }
    *ret_host = host;
    *ret_port = bytes_from(rest, mark);
    return true;
}

enum err text_parse_host_port(struct bytes text, char *host, size_t host_size, uint16_t *ret_port)
{
    struct bytes name;
    struct bytes digits;
    if (!split_host_port(text, &name, &digits)) {
        return ERR_BAD_INPUT;
    }
    uint64_t port = 0;
    enum err err = text_parse_u64(digits, &port);
    if (err == ERR_OK && port > UINT16_MAX) {
        err = ERR_TOO_LARGE;
    }
    if (err == ERR_OK) {
        err = bytes_to_cstr(name, host, host_size);
    }
    if (err == ERR_OK) {
        *ret_port = (uint16_t)port;
    }
    return err;
}
