/* Hop-by-hop fields of a received head.
 *
 * Place: proto/http1. Source: RFC 9110 section 7.6.1. */
#include "http1/http1_hop.h"

#include "http1/http1_priv.h"

void http1_field_set_add_name(struct http1_field_set *set, const struct http1_head *head,
                              enum http1_header id)
{
    for (uint8_t i = head->first[id]; i != HTTP1_NO_FIELD; i = head->fields[i].next)
        http1_field_set_add(set, i);
}

static void nominate(struct http1_field_set *set, const struct http1_head *head,
                     const uint8_t *data, struct bytes token)
{
    enum http1_header id = http1_header_of(token);
    if (id != HTTP1_HEADER_OTHER) {
        uint8_t kept = HTTP1_FLAG_PROTECTED | HTTP1_FLAG_REFUSED;
        if ((http1_header_flags(id) & kept) == 0)
            http1_field_set_add_name(set, head, id);
        return;
    }
    for (size_t i = 0; i < head->field_count; ++i) {
        const struct http1_field *field = &head->fields[i];
        if (field->id == HTTP1_HEADER_OTHER &&
            http1_token_is(http1_span_bytes(field->name, data), token))
            http1_field_set_add(set, i);
    }
}

void http1_hop_fields(const struct http1_head *head, const uint8_t *data,
                      struct http1_field_set *ret_set)
{
    *ret_set = (struct http1_field_set){{0, 0}};
    for (size_t i = 0; i < head->field_count; ++i) {
        if ((http1_header_flags((enum http1_header)head->fields[i].id) & HTTP1_FLAG_HOP) != 0)
            http1_field_set_add(ret_set, i);
    }
    uint8_t i = head->first[HTTP1_HEADER_CONNECTION];
    for (; i != HTTP1_NO_FIELD; i = head->fields[i].next) {
        struct bytes rest = http1_span_bytes(head->fields[i].value, data);
        struct bytes token;
        while (http1_list_next(&rest, &token))
            nominate(ret_set, head, data, token);
    }
}
