/* The API door: what all its reads have in common. */
#include "api/api_priv.h"
#include "check/check.h"
#include "http/http_query.h"
#include "text/text.h"

#include <stdio.h>

enum {
    WAIT_DEFAULT_MS = 60 * 1000,
    WAIT_MAX_MS = 10 * 60 * 1000
};

static void answer(struct web_read *web_read, const struct node_snapshot *snapshot, uint64_t index)
{
    struct api_read *read = CONTAINER_OF(web_read, struct api_read, read);
    struct json_out out;
    web_json_begin(&read->ask, &out);
    enum err err = read->render(read, &out, snapshot, index);
    if (err != ERR_OK) {
        web_refuse(read->ask.door, read->ask.http, err, NULL);
        return;
    }
    char number[24];
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)index);
    struct http_field field = {BYTES_LITERAL("X-Flotilla-Index"), bytes_of_str(number)};
    web_answer_json(&read->ask, &out, &field, index > 0 ? 1 : 0);
}

struct api_read *api_read_new(const struct web_ask *ask)
{
    struct api_read *read = web_op_new(ask->door, ask->http, sizeof(*read));
    if (read == NULL) {
        return NULL;
    }
    struct bytes value;
    uint64_t wait_ms = WAIT_DEFAULT_MS;
    read->ask = *ask;
    read->read.answer = answer;
    read->read.consistency =
        http_query_has(ask->http->query, "stale") ? NODE_STALE : NODE_CONSISTENT;
    if (web_param(ask, "index", &value) && text_parse_u64(value, &read->read.min_index) != ERR_OK) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "index must be a whole number");
        return NULL;
    }
    if (web_param(ask, "wait", &value) && text_parse_duration_ms(value, &wait_ms) != ERR_OK) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "wait must be a duration such as 30s");
        return NULL;
    }
    read->read.wait_ms = wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS;
    return read;
}

void api_read_start(struct api_read *read)
{
    CHECK(read->render != NULL);
    web_read_start(&read->read);
}
