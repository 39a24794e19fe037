/* Small text forms that several layers read and print: numbers, durations, sizes, hosts, codings.
 *
 * Place: base. Parsers take a whole slice and accept nothing else around it; all return
 * ERR_BAD_INPUT on malformed and ERR_TOO_LARGE on overflowing input. Codings append to a buffer all
 * or nothing: ERR_BAD_INPUT on malformed input, ERR_FULL when the buffer's max would be passed. The
 * input must not lie in that buffer. */
#ifndef TEXT_TEXT_H
#define TEXT_TEXT_H

#include "bytes/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits only. */
ERR_CHECKED enum err text_parse_u64(struct bytes text, uint64_t *ret_value);
/* Go-style durations as Consul takes them: "10s", "1m30s", "250ms", "1.5h", "0"; in ms, rounded up;
 * ERR_TOO_LARGE over 2^63 - 1 ns (292 years), as in Go. No sign is accepted. */
ERR_CHECKED enum err text_parse_duration_ms(struct bytes text, uint64_t *ret_ms);
/* "64KiB", "1MiB", "512" (bytes); K, M and G with or without iB are powers of 1024. */
ERR_CHECKED enum err text_parse_size(struct bytes text, uint64_t *ret_bytes);
/* "HOST:PORT", "[v6]:PORT"; host is copied without brackets, zero-terminated (ERR_TOO_LARGE when it
 * does not fit in host_size). Port 0 is accepted: the caller knows whether it makes sense. */
ERR_CHECKED enum err text_parse_host_port(struct bytes text, char *host, size_t host_size,
                                          uint16_t *ret_port);
/* Appends the decoded form of %XX (and + as space when plus_is_space); a bad escape is refused. */
ERR_CHECKED enum err text_percent_decode(struct bytes text, bool plus_is_space, struct buf *to);
/* Appends with every byte outside A-Z a-z 0-9 - _ . ~ and the bytes in keep encoded as %XX. */
ERR_CHECKED enum err text_percent_encode(struct bytes text, const char *keep, struct buf *to);
/* Standard base64 with padding (RFC 4648 section 4); decoding accepts just what encoding gives. */
ERR_CHECKED enum err text_base64_encode(struct bytes raw, struct buf *to);
ERR_CHECKED enum err text_base64_decode(struct bytes text, struct buf *to);
/* "2026-11-23T04:33:43.123Z" from milliseconds since 1970-01-01 UTC (RFC 3339), zero-terminated;
 * what is after the year 9999 is shown as its last millisecond. */
void text_utc(uint64_t unix_ms, char dest[25]);
/* Lower-case hexadecimal, 16 digits, zero-terminated. */
void text_hex64(uint64_t value, char dest[17]);

#endif
