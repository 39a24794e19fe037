/* JSON bodies: bounded parsing, and fields of an object by a table.
 *
 * Place: serve/web; the only user of jansson among the HTTP doors.
 *
 * Names are compared as Consul's API does: without case, and snake_case means the same as
 * PascalCase; of several spellings of one field the last one in the library's order counts. null is
 * the same as a field that is not there. Fields that are not in the table are ignored, as Consul
 * does, or refused: web_json_fields_only. */
#ifndef WEB_WEB_JSON_H
#define WEB_WEB_JSON_H

#include "bytes/bytes.h"
#include "err/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    WEB_JSON_DEPTH_MAX = 16
};

enum web_type {
    WEB_STRING,   /* struct bytes, borrowed from the tree */
    WEB_BOOL,     /* bool */
    WEB_COUNT,    /* uint32_t, a whole number >= 0 */
    WEB_PORT,     /* uint16_t */
    WEB_DURATION, /* uint64_t in ms: "10s", or a whole number of nanoseconds as Go writes it */
    WEB_OBJECT,   /* const json_t * */
    WEB_ARRAY,    /* const json_t * */
    WEB_ANY       /* const json_t * */
};

struct web_field {
    const char *name; /* lower case, without underscores */
    enum web_type type;
    void *to; /* written only when the field is there */
};

/* One JSON value and white space, depth at most WEB_JSON_DEPTH_MAX; ret_root is owned by the caller
 * (json_decref). ERR_BAD_INPUT with a note: "line 1: ...". */
ERR_CHECKED enum err web_json_parse(struct bytes text, json_t **ret_root, struct err_note *note);
/* ERR_BAD_INPUT with a note that names the field and what it should be. */
ERR_CHECKED enum err web_json_fields(const json_t *object, const struct web_field *fields,
                                     size_t count, struct err_note *note);
/* The same, and a field that is not in the table is ERR_BAD_INPUT: a misspelt name says so. */
ERR_CHECKED enum err web_json_fields_only(const json_t *object, const struct web_field *fields,
                                          size_t count, struct err_note *note);
/* The text of a JSON string; borrowed from it. */
struct bytes web_json_text(const json_t *string);

#endif
