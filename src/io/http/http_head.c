/* Reading heads, for server and client: in place when a head comes whole, as it mostly does. */
#include "http/http_priv.h"

/* The head began in earlier bytes: all bytes are gathered, what follows it is taken off again. */
static enum err feed_gathered(struct http1_head *head, struct buf *held, struct bytes data,
                              size_t *ret_used)
{
    size_t before = held->len;
    enum err err = buf_append(held, data);
    CHECK(err == ERR_OK); /* a head's limits are far below the buffer's */
    err = http1_head_parse(head, held->data, held->len);
    *ret_used = data.len;
    if (err == ERR_OK) {
        CHECK(head->head_len > before);
        *ret_used = head->head_len - before;
        held->len = head->head_len;
    }
    return err;
}

enum err http_head_feed(struct http1_head *head, struct buf *held, struct bytes data,
                        size_t *ret_used)
{
    CHECK(data.len > 0);
    if (held->len > 0) {
        return feed_gathered(head, held, data, ret_used);
    }
    enum err err = http1_head_parse(head, data.data, data.len);
    *ret_used = err == ERR_OK ? head->head_len : data.len;
    if (err != ERR_BAD_INPUT) {
        enum err kept = buf_append(held, (struct bytes){data.data, *ret_used});
        CHECK(kept == ERR_OK);
    }
    return err;
}
