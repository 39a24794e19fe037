/* Codings of bytes as text: percent-encoding (RFC 3986 section 2.1), base64 (RFC 4648 section 4),
 * hexadecimal.
 *
 * Place: base. Each computes the exact length first, so that an output is appended whole or not at
 * all. */
#include "text/text.h"

/* The value of a hexadecimal digit, or -1. */
static int hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    uint8_t letter = digit | 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* The byte that %XX at offset at means, or -1. */
static int escape_value(struct bytes text, size_t at)
{
    if (text.len - at < 3) {
        return -1;
    }
    int high = hex_value(text.data[at + 1]);
    int low = hex_value(text.data[at + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

enum err text_percent_decode(struct bytes text, bool plus_is_space, struct buf *to)
{
    size_t escapes = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '%') {
            if (escape_value(text, i) < 0) {
                return ERR_BAD_INPUT;
            }
            escapes++;
            i += 2;
        }
    }
    enum err err = buf_reserve(to, text.len - 2 * escapes);
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (byte == '%') {
            byte = (uint8_t)escape_value(text, i);
            i += 2;
        } else if (byte == '+' && plus_is_space) {
            byte = ' ';
        }
        to->data[to->len++] = byte;
    }
    return ERR_OK;
}

/* RFC 3986 section 2.3: the unreserved characters, and those that the caller adds. */
static bool is_kept(uint8_t c, const char *keep)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~' ||
           (c != '\0' && strchr(keep, c) != NULL);
}

enum err text_percent_encode(struct bytes text, const char *keep, struct buf *to)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t escapes = 0;
    for (size_t i = 0; i < text.len; i++) {
        escapes += !is_kept(text.data[i], keep);
    }
    if (escapes > (SIZE_MAX - text.len) / 2) {
        return ERR_FULL;
    }
    enum err err = buf_reserve(to, text.len + 2 * escapes);
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (is_kept(byte, keep)) {
            to->data[to->len++] = byte;
        } else {
            to->data[to->len++] = '%';
            to->data[to->len++] = (uint8_t)digits[byte >> 4];
            to->data[to->len++] = (uint8_t)digits[byte & 15];
        }
    }
    return ERR_OK;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum err text_base64_encode(struct bytes raw, struct buf *to)
{
    if (raw.len > SIZE_MAX / 2) {
        return ERR_FULL;
    }
    enum err err = buf_reserve(to, (raw.len + 2) / 3 * 4);
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < raw.len; i += 3) {
        size_t count = raw.len - i < 3 ? raw.len - i : 3;
        uint32_t group = 0;
        for (size_t k = 0; k < 3; k++) {
            group = group << 8 | (k < count ? raw.data[i + k] : 0);
        }
        for (size_t k = 0; k < 4; k++) {
            char digit = k <= count ? base64_digits[group >> (18 - 6 * k) & 63] : '=';
            to->data[to->len++] = (uint8_t)digit;
        }
    }
    return ERR_OK;
}

/* The six bits of a base64 digit, or -1. */
static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+') {
        return 62;
    }
    return c == '/' ? 63 : -1;
}

/* Appends what whole digits of text mean; the buffer has room. */
static enum err base64_decode_digits(struct bytes text, struct buf *to)
{
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0) {
            return ERR_BAD_INPUT;
        }
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            to->data[to->len++] = (uint8_t)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    /* RFC 4648 section 3.5: bits that carry nothing must be zero: each meaning has one text. */
    return bits == 0 ? ERR_OK : ERR_BAD_INPUT;
}

enum err text_base64_decode(struct bytes text, struct buf *to)
{
    if (text.len % 4 != 0) {
        return ERR_BAD_INPUT;
    }
    size_t padding = 0;
    while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=') {
        padding++;
    }
    enum err err = buf_reserve(to, text.len / 4 * 3 - padding);
    if (err != ERR_OK) {
        return err;
    }
    size_t before = to->len;
    err = base64_decode_digits((struct bytes){text.data, text.len - padding}, to);
    if (err != ERR_OK) {
        to->len = before;
    }
    return err;
}

void text_hex64(uint64_t value, char dest[17])
{
    for (unsigned i = 0; i < 16; i++) {
        dest[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    }
    dest[16] = '\0';
}
