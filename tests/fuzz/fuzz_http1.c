/* Fuzz target of proto/http1: whatever the bytes and however they are cut, one outcome, and a sound
 * one.
 *
 * The first byte chooses what the rest is: R requests, S responses, H responses to HEAD, U
 * responses to an upgrade, C a chunked body, T trailers, P a path; a small letter chooses low
 * limits. A stream of messages is parsed whole and then in random pieces, and everything that a
 * caller could see must be the same. Also checked: spans lie inside the head and hold no line end,
 * what was accepted is unambiguous, a relayed head parses to the same framing, the two ways to read
 * trailers agree, the normal form of a path is stable, both scanners agree. */
#include "check/check.h"
#include "http1/http1_body.h"
#include "http1/http1_head.h"
#include "http1/http1_hop.h"
#include "http1/http1_path.h"
#include "http1/http1_scan.h"
#include "http1/http1_write.h"
#include "mem/mem.h"
#include "rnd/rnd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MESSAGES_MAX = 16,
    CUTTINGS = 3,
    INPUT_MAX = 1 << 16
};

static const struct http1_limits LOW_LIMITS = {
    .body_max_bytes = 40,
    .start_line_max = 60,
    .field_block_max = 90,
    .field_count_max = 4,
    .chunk_line_max = 20,
    .chunk_ext_max = 30,
    .trailer_block_max = 24,
    .underscore = HTTP1_UNDERSCORE_REFUSE,
};

struct mode {
    enum http1_kind kind;
    struct http1_asked asked;
    const struct http1_limits *limits;
};

/* What a caller could see of a stream, as one number. */
struct trace {
    uint64_t hash;
};

static void note(struct trace *trace, uint64_t value)
{
    trace->hash = (trace->hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    trace->hash ^= trace->hash >> 29;
}

static void note_bytes(struct trace *trace, struct bytes content)
{
    for (size_t i = 0; i < content.len; ++i)
        note(trace, content.data[i]);
}

/* The pieces in which a stream arrives: base..have is what the reader holds. */
struct arrival {
    struct bytes all;
    size_t base;
    size_t have;
    struct rnd *rnd; /* NULL: everything at once */
};

static bool more(struct arrival *arrival)
{
    size_t left = arrival->all.len - arrival->have;
    if (left == 0)
        return false;
    size_t piece = left;
    if (arrival->rnd != NULL) {
        uint64_t most = rnd_chance_ppm(arrival->rnd, 700000) ? 3 : 200;
        piece = (size_t)rnd_range(arrival->rnd, 1, most);
    }
    arrival->have += piece < left ? piece : left;
    return true;
}

/* A copy of what is held, exactly as large: reading past it is seen by the sanitizer. */
static uint8_t *held(const struct arrival *arrival)
{
    size_t len = arrival->have - arrival->base;
    uint8_t *copy = mem_alloc(len > 0 ? len : 1);
    memcpy(copy, arrival->all.data + arrival->base, len);
    return copy;
}

static void check_span(const struct http1_head *head, const uint8_t *data, struct http1_span span)
{
    CHECK((size_t)span.offset + span.len <= head->head_len);
    struct bytes text = http1_span_bytes(span, data);
    CHECK(http1_scan_text(text.data, 0, text.len) == text.len);
}

static void check_fields(const struct http1_head *head, const uint8_t *data)
{
    size_t lengths = 0;
    size_t codings = 0;
    for (size_t i = 0; i < head->field_count; ++i) {
        const struct http1_field *field = &head->fields[i];
        struct bytes name = http1_span_bytes(field->name, data);
        check_span(head, data, field->name);
        check_span(head, data, field->value);
        CHECK(http1_is_token(name) && http1_is_field_value(http1_span_bytes(field->value, data)));
        CHECK(field->id == http1_header_of(name));
        CHECK(data[field->end - 1] == '\n' && data[field->end - 2] == '\r');
        lengths += bytes_eq_nocase(name, BYTES_LITERAL("content-length"));
        codings += bytes_eq_nocase(name, BYTES_LITERAL("transfer-encoding"));
    }
    if (head->kind == HTTP1_TRAILERS)
        CHECK(lengths + codings == 0);
    CHECK(lengths + codings <= 1);
    if (head->kind == HTTP1_REQUEST) {
        CHECK((head->framing == HTTP1_FRAMING_LENGTH) == (lengths == 1));
        CHECK((head->framing == HTTP1_FRAMING_CHUNKED) == (codings == 1));
        CHECK(head->framing != HTTP1_FRAMING_CLOSE);
    }
}

/* What a relay would send on must mean the same to the next reader. */
static void check_relayed(const struct http1_head *head, const uint8_t *data)
{
    struct buf out;
    struct http1_field_set drop;
    struct http1_head again;
    buf_init(&out, (size_t)HTTP1_HEAD_MAX * 2);
    struct writer w = writer_of(&out);
    http1_hop_fields(head, data, &drop);
    http1_field_set_add_name(&drop, head, HTTP1_HEADER_HOST);
    http1_write_request_line(&w, http1_span_bytes(head->method_name, data),
                             http1_span_bytes(head->target, data));
    http1_write_header(&w, HTTP1_HEADER_HOST,
                       head->host.len > 0 ? http1_span_bytes(head->host, data)
                                          : BYTES_LITERAL("none"));
    if (head->framing == HTTP1_FRAMING_CHUNKED)
        http1_write_header(&w, HTTP1_HEADER_TRANSFER_ENCODING, BYTES_LITERAL("chunked"));
    http1_write_fields(&w, head, data, &drop);
    http1_write_end(&w);
    CHECK(w.err == ERR_OK);
    http1_head_init_request(&again, &HTTP1_LIMITS_DEFAULT);
    /* Our own fields may push a head that was just small enough over the limits. */
    if (http1_head_parse(&again, out.data, out.len) == ERR_OK) {
        CHECK(again.head_len == out.len && again.framing == head->framing);
        CHECK(again.content_length == head->content_length && again.keep_alive);
        CHECK(again.path.len == head->path.len && again.query.len == head->query.len);
    } else {
        CHECK(again.reason == HTTP1_REASON_FIELDS_TOO_LARGE ||
              again.reason == HTTP1_REASON_START_LINE_TOO_LONG ||
              again.reason == HTTP1_REASON_TOO_MANY_FIELDS);
    }
    buf_done(&out);
}

static void note_span(struct trace *trace, struct http1_span span)
{
    note(trace, (uint64_t)span.offset << 16 | span.len);
}

static void note_head(struct trace *trace, const struct http1_head *head)
{
    note(trace, head->head_len);
    note(trace, head->method | (uint64_t)head->status << 8 | (uint64_t)head->framing << 32);
    const bool facts[] = {head->keep_alive, head->expect_continue, head->interim,
                          head->tunnel,     head->has_query,       head->te_trailers};
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); ++i)
        note(trace, facts[i]);
    note(trace, head->content_length);
    note(trace, head->upgrade | (uint64_t)head->port << 8 | (uint64_t)head->target_form << 32);
    note_span(trace, head->target);
    note_span(trace, head->path);
    note_span(trace, head->query);
    note_span(trace, head->host);
    note_span(trace, head->host_name);
    note(trace, head->field_count | (uint64_t)head->dropped_count << 16);
    for (size_t i = 0; i < head->field_count; ++i) {
        note_span(trace, head->fields[i].name);
        note_span(trace, head->fields[i].value);
        note(trace, head->fields[i].id);
    }
}

static void init_head(struct http1_head *head, const struct mode *mode)
{
    if (mode->kind == HTTP1_REQUEST)
        http1_head_init_request(head, mode->limits);
    else if (mode->kind == HTTP1_RESPONSE)
        http1_head_init_response(head, mode->limits, mode->asked);
    else
        http1_head_init_trailers(head, mode->limits);
}

/* Parses one head; true when it was accepted. */
static bool run_head(struct arrival *arrival, const struct mode *mode, struct http1_head *head,
                     struct trace *trace)
{
    enum err err;
    init_head(head, mode);
    for (;;) {
        uint8_t *copy = held(arrival);
        err = http1_head_parse(head, copy, arrival->have - arrival->base);
        mem_free(copy);
        if (err != ERR_INCOMPLETE || !more(arrival))
            break;
    }
    note(trace, err);
    note(trace, head->reason);
    CHECK((err == ERR_BAD_INPUT) == (head->reason != HTTP1_REASON_NONE));
    if (err != ERR_OK)
        return false;
    const uint8_t *data = arrival->all.data + arrival->base;
    note_head(trace, head);
    check_fields(head, data);
    check_span(head, data, head->target);
    check_span(head, data, head->path);
    check_span(head, data, head->host);
    if (mode->kind == HTTP1_REQUEST && head->method != HTTP1_METHOD_CONNECT)
        check_relayed(head, data);
    arrival->base += head->head_len;
    return true;
}

/* Decodes one body; true when it came to its end. */
static bool run_body(struct arrival *arrival, struct http1_body *body, struct trace *trace)
{
    enum err err = ERR_OK;
    while (err == ERR_OK && !body->done && !body->at_trailers) {
        size_t consumed = 0;
        struct bytes content = {NULL, 0};
        if (arrival->base == arrival->have && !more(arrival)) {
            err = http1_body_end_of_input(body);
            break;
        }
        uint8_t *copy = held(arrival);
        struct bytes input = {copy, arrival->have - arrival->base};
        err = http1_body_feed(body, input, &consumed, &content);
        CHECK(err != ERR_OK || (consumed > 0 && consumed <= input.len));
        CHECK(content.len <= consumed);
        note_bytes(trace, content);
        mem_free(copy);
        arrival->base += consumed;
    }
    note(trace, err);
    note(trace, body->reason);
    note(trace, body->received);
    CHECK(body->received <= body->limits->body_max_bytes);
    return err == ERR_OK;
}

static uint64_t run_stream(struct bytes all, const struct mode *mode, struct rnd *rnd)
{
    struct arrival arrival = {all, 0, 0, rnd};
    struct trace trace = {1};
    struct http1_head head;
    for (int i = 0; i < MESSAGES_MAX && run_head(&arrival, mode, &head, &trace); ++i) {
        struct http1_body body;
        if (head.tunnel || mode->kind == HTTP1_TRAILERS)
            break;
        http1_body_init(&body, &head, mode->limits);
        if (!run_body(&arrival, &body, &trace))
            break;
        note(&trace, arrival.base);
    }
    return trace.hash;
}

static uint64_t run_chunked(struct bytes all, const struct mode *mode, struct rnd *rnd)
{
    struct arrival arrival = {all, 0, 0, rnd};
    struct trace trace = {2};
    struct http1_body body;
    http1_body_init_framing(&body, HTTP1_FRAMING_CHUNKED, 0, mode->limits);
    if (run_body(&arrival, &body, &trace))
        note(&trace, arrival.base);
    return trace.hash;
}

/* Skipping trailers and parsing them accept the same bytes. */
static void check_trailers(struct bytes all, const struct mode *mode)
{
    struct mode trailers = {HTTP1_TRAILERS, mode->asked, mode->limits};
    struct trace trace = {3};
    struct http1_body skipped;
    struct arrival skip = {all, 0, 0, NULL};
    http1_body_init_framing(&skipped, HTTP1_FRAMING_CHUNKED, 0, mode->limits);
    bool skip_ok = run_body(&skip, &skipped, &trace);
    struct http1_body kept;
    struct http1_head head;
    struct arrival keep = {all, 0, 0, NULL};
    http1_body_init_framing(&kept, HTTP1_FRAMING_CHUNKED, 0, mode->limits);
    http1_body_keep_trailers(&kept);
    bool keep_ok = run_body(&keep, &kept, &trace) && run_head(&keep, &trailers, &head, &trace);
    CHECK(skip_ok == keep_ok);
    CHECK(!skip_ok || skip.base == keep.base);
}

static void run_path(struct bytes path, uint32_t flags)
{
    size_t room = path.len > 0 ? path.len : 1;
    uint8_t *dest = mem_alloc(room);
    uint8_t *again = mem_alloc(room);
    size_t len = 0;
    size_t again_len = 0;
    enum http1_reason reason = HTTP1_REASON_NONE;
    enum err err = http1_path_normalise(path, flags, dest, room, &len, &reason);
    struct bytes normal = {dest, len};
    CHECK(err == ERR_OK || (err == ERR_BAD_INPUT && reason != HTTP1_REASON_NONE));
    if (http1_path_is_normal(path))
        CHECK(err == ERR_OK && ((flags & HTTP1_PATH_MERGE_SLASHES) != 0 || bytes_eq(normal, path)));
    if (err == ERR_OK) {
        CHECK(len > 0 && len <= room && dest[0] == '/');
        CHECK(memmem(dest, len, "/../", 4) == NULL && memmem(dest, len, "/./", 3) == NULL);
        CHECK(http1_path_normalise(normal, flags, again, room, &again_len, &reason) == ERR_OK);
        CHECK(bytes_eq(normal, (struct bytes){again, again_len}));
    }
    mem_free(dest);
    mem_free(again);
}

static void check_scanners(struct bytes text)
{
#if defined(__SSE2__)
    for (size_t at = 0; at <= text.len && at < 40; ++at)
        CHECK(http1_scan_text_sse2(text.data, at, text.len) ==
              http1_scan_text_portable(text.data, at, text.len));
#else
    (void)text;
#endif
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > INPUT_MAX)
        return 0;
    struct bytes all = {data + 1, size - 1};
    uint8_t letter = data[0] & 0xdf;
    bool low = (data[0] & 0x20) != 0;
    struct mode mode = {.limits = low ? &LOW_LIMITS : &HTTP1_LIMITS_DEFAULT};
    check_scanners(all);
    if (letter == 'P') {
        run_path(all, low ? HTTP1_PATH_MERGE_SLASHES : 0);
        return 0;
    }
    if (letter == 'T')
        mode.kind = HTTP1_TRAILERS;
    else if (letter != 'R')
        mode.kind = HTTP1_RESPONSE;
    mode.asked.head = letter == 'H';
    mode.asked.upgrade = letter == 'U';
    uint64_t (*run)(struct bytes, const struct mode *, struct rnd *) =
        letter == 'C' ? run_chunked : run_stream;
    uint64_t whole = run(all, &mode, NULL);
    struct rnd rnd;
    rnd_init(&rnd, whole);
    for (int i = 0; i < CUTTINGS; ++i)
        CHECK(run(all, &mode, &rnd) == whole);
    if (letter == 'C')
        check_trailers(all, &mode);
    return 0;
}
