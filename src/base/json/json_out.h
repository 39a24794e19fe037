/* Streaming JSON writer into a bounded buffer (RFC 8259).
 *
 * Place: base. Reading JSON is a library's work; writing is ours because every answer of every door
 * is written and copying trees first would cost more than the rest of the request. Commas, colons
 * and, on demand, indentation are put by the writer; nesting is checked (CHECK) because unbalanced
 * calls are programmer errors. Each byte of invalid UTF-8 in a string is replaced by U+FFFD. Keys
 * are not checked for being unique. Several values at the top level follow each other directly. */
#ifndef JSON_JSON_OUT_H
#define JSON_JSON_OUT_H

#include "bytes/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* Objects and arrays inside each other; deeper is a programmer error (foreign trees go through
 * json_out_raw). */
enum {
    JSON_DEPTH_MAX = 16
};

struct json_out {
    struct buf *to;
    enum err
        err; /* the first failure (ERR_FULL): the buffer ends anywhere, later calls do nothing */
    bool pretty; /* indent by four spaces and break lines */
    uint8_t depth;
    bool after_key; /* a key was written, its value comes next */
    bool has_items[JSON_DEPTH_MAX];
    bool in_object[JSON_DEPTH_MAX];
};

/* Appends to `to`, borrowed until the writer is no longer used. */
void json_out_init(struct json_out *out, struct buf *to, bool pretty);
void json_out_object(struct json_out *out);
void json_out_object_end(struct json_out *out);
void json_out_array(struct json_out *out);
void json_out_array_end(struct json_out *out);
void json_out_key(struct json_out *out, const char *key);
void json_out_key_bytes(struct json_out *out, struct bytes key);
void json_out_bytes(struct json_out *out, struct bytes text);
void json_out_str(struct json_out *out, const char *text);
void json_out_u64(struct json_out *out, uint64_t value);
void json_out_i64(struct json_out *out, int64_t value);
/* Rounded to three decimals, without trailing zeros; NaN and infinities become null. */
void json_out_double(struct json_out *out, double value);
void json_out_bool(struct json_out *out, bool value);
void json_out_null(struct json_out *out);
/* Standard base64 with padding (RFC 4648 section 4) as a string. */
void json_out_base64(struct json_out *out, struct bytes raw);
/* Bytes that are already one valid JSON value; not looked at. */
void json_out_raw(struct json_out *out, struct bytes json);

/* key and value in one call. */
void json_out_field_str(struct json_out *out, const char *key, const char *text);
void json_out_field_bytes(struct json_out *out, const char *key, struct bytes text);
void json_out_field_u64(struct json_out *out, const char *key, uint64_t value);
void json_out_field_bool(struct json_out *out, const char *key, bool value);

#endif
