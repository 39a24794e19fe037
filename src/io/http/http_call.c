/* One blocking request: a loop, a client and a fetch that live as long as the call. */
#include "http/http_call.h"

#include "http/http_priv.h"

enum {
    BODY_MAX_DEFAULT = 64 * 1024 * 1024
};

struct call_run {
    struct loop *loop;
    struct http_client client;
    struct http_fetch fetch;
    struct http_reply reply;
    enum err (*take)(void *context, struct bytes piece);
    void *take_context;
    enum err err;
    bool done;
    bool closed;
};

static void call_on_done(struct http_fetch *fetch, enum err err)
{
    struct call_run *run = CONTAINER_OF(fetch, struct call_run, fetch);
    run->done = true;
    run->err = err;
    if (err != ERR_OK) {
        return;
    }
    struct http_reply *reply = &run->reply;
    reply->status = fetch->status;
    reply->head = *fetch->head;
    buf_init(&reply->head_bytes, HTTP1_HEAD_MAX);
    buf_init(&reply->body, fetch->answer.len + 1);
    enum err head =
        buf_append(&reply->head_bytes, bytes_of(fetch->head_data, fetch->head->head_len));
    enum err body = buf_append(&reply->body, fetch->answer);
    CHECK(head == ERR_OK && body == ERR_OK);
}

static enum err call_take(struct http_fetch *fetch, struct bytes piece)
{
    struct call_run *run = CONTAINER_OF(fetch, struct call_run, fetch);
    return run->take(run->take_context, piece);
}

static void call_on_closed(struct http_client *client)
{
    CONTAINER_OF(client, struct call_run, client)->closed = true;
}

static enum err call_explain(const struct call_run *run, struct err_note *note)
{
    char addr[NET_ADDR_TEXT_MAX];
    const struct http_fetch *fetch = &run->fetch;
    (void)net_addr_format(&fetch->addr, addr);
    if (fetch->reason != HTTP1_REASON_NONE) {
        return err_note_set(note, run->err, "%s: the answer is not HTTP: %s", addr,
                            http1_reason_text(fetch->reason));
    }
    if (run->err == ERR_REFUSED) {
        return err_note_set(note, run->err, "connect to %s: refused: is the server running?", addr);
    }
    if (run->err == ERR_TIMEOUT) {
        return err_note_set(note, run->err, "%s: no %s in time", addr,
                            fetch->connected ? "answer" : "connection");
    }
    return err_note_set(note, run->err, "%s: %s", addr, err_text(run->err));
}

enum err http_call(const struct http_call *call, struct http_reply *ret_reply,
                   struct err_note *note)
{
    CHECK(call->timeout > 0 && ret_reply != NULL);
    struct loop_config config = {.recv_chunks = 8};
    struct call_run *run = mem_alloc(sizeof(*run));
    enum err err = loop_new(&config, &run->loop, note);
    if (err != ERR_OK) {
        mem_free(run);
        return err;
    }
    run->take = call->take;
    run->take_context = call->take_context;
    http_client_init(&run->client, run->loop, &HTTP_CLIENT_LIMITS_DEFAULT);
    run->fetch = (struct http_fetch){
        .addr = call->addr,
        .method = call->method,
        .target = call->target,
        .fields = call->fields,
        .field_count = call->field_count,
        .body = call->body,
        .timeout = call->timeout,
        .body_max = call->body_max > 0 ? call->body_max : BODY_MAX_DEFAULT,
        .fresh = true,
        .take = call->take != NULL ? call_take : NULL,
        .on_done = call_on_done,
    };
    http_fetch_start(&run->client, &run->fetch);
    while (!run->done) {
        loop_turn(run->loop, CLK_NEVER);
    }
    http_client_close(&run->client, call_on_closed);
    while (!run->closed) {
        loop_turn(run->loop, CLK_NEVER);
    }
    loop_free(run->loop);
    err = run->err;
    if (err == ERR_OK) {
        *ret_reply = run->reply;
    } else {
        err = call_explain(run, note);
    }
    mem_free(run);
    return err;
}

struct bytes http_reply_header(const struct http_reply *reply, struct bytes name)
{
    return http1_head_find(&reply->head, reply->head_bytes.data, name);
}

void http_reply_done(struct http_reply *reply)
{
    if (reply != NULL) {
        buf_done(&reply->head_bytes);
        buf_done(&reply->body);
    }
}
