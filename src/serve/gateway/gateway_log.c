/* The access log: one JSON object per request, one write per turn.
 *
 * Place: serve/gateway. Lines gather in a buffer that is written at the turn's end, or when it is
 * full. The write is a plain write(2) to a file (or whatever the descriptor is): into the page
 * cache it does not wait for a disk. What the descriptor does not take is lost and counted: a log
 * that is stuck must not stop the proxy. */
#include "gateway/gateway_priv.h"
#include "text/text.h"
#include "json/json_out.h"

#include <errno.h>
#include <unistd.h>

static void log_flush(struct gateway_edge *edge)
{
    struct gw_log *log = &edge->log;
    size_t done = 0;
    while (done < log->len) {
        ssize_t n = write(log->fd, log->bytes + done, log->len - done);
        if (n <= 0 && errno != EINTR) {
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    for (size_t i = done; i < log->len; i++) {
        if (log->bytes[i] == '\n') {
            log->lost++;
            metric_add(&edge->metrics.log_lost, 1);
        }
    }
    log->len = 0;
}

static void on_turn_end(struct loop_hook *hook)
{
    struct gateway_edge *edge = CONTAINER_OF(hook, struct gateway_edge, log.hook);
    if (edge->log.len > 0) {
        log_flush(edge);
    }
}

void gw_log_init(struct gateway_edge *edge, int fd)
{
    struct gw_log *log = &edge->log;
    log->fd = fd;
    if (fd < 0) {
        return;
    }
    log->bytes = mem_alloc(GW_LOG_BYTES);
    buf_init(&log->line, GW_LOG_LINE_MAX);
    loop_hook_add(edge->loop, &log->hook, on_turn_end);
}

void gw_log_done(struct gateway_edge *edge)
{
    struct gw_log *log = &edge->log;
    if (log->fd < 0) {
        return;
    }
    log_flush(edge);
    loop_hook_remove(&log->hook);
    buf_done(&log->line);
    mem_free(log->bytes);
    log->fd = -1;
}

static const char *log_stamp(struct gateway_edge *edge)
{
    struct gw_log *log = &edge->log;
    clk_ms now = loop_wall_ms(edge->loop);
    if (log->stamp_ms != now) {
        log->stamp_ms = now;
        text_utc(now, log->stamp);
    }
    return log->stamp;
}

static uint64_t duration_us(const struct gw_exchange *ex)
{
    return (loop_now(ex->edge->loop) - ex->since) / 1000;
}

/* Long fields are cut: a line always fits. */
static struct bytes cut(struct bytes text, size_t max)
{
    return bytes_of(text.data, text.len < max ? text.len : max);
}

static void write_fields(struct json_out *out, const struct gw_exchange *ex)
{
    json_out_field_str(out, "time", log_stamp(ex->edge));
    json_out_field_bytes(out, "request_id", ex->request_id);
    json_out_field_str(out, "client", ex->client->ip);
    json_out_field_bytes(out, "method", cut(ex->method, 32));
    json_out_field_bytes(out, "host", cut(ex->host, 255));
    json_out_field_bytes(out, "path", cut(ex->path, 256));
    json_out_field_u64(out, "status", ex->status);
    json_out_field_str(out, "reason", ex->reason != NULL ? ex->reason : "");
    json_out_field_bytes(out, "service", ex->service_name);
    json_out_field_str(out, "endpoint", ex->endpoint != NULL ? ex->endpoint->addr_text : "");
    json_out_field_u64(out, "duration_us", duration_us(ex));
    json_out_field_u64(out, "bytes_in", ex->bytes_in);
    json_out_field_u64(out, "bytes_out", ex->bytes_out);
    json_out_field_u64(out, "retries", ex->retries);
}

void gw_log_exchange(const struct gw_exchange *ex)
{
    struct gateway_edge *edge = ex->edge;
    struct gw_log *log = &edge->log;
    if (log->fd < 0) {
        return;
    }
    buf_clear(&log->line);
    struct json_out out;
    json_out_init(&out, &log->line, false);
    json_out_object(&out);
    write_fields(&out, ex);
    json_out_object_end(&out);
    enum err err = out.err != ERR_OK ? out.err : buf_append(&log->line, BYTES_LITERAL("\n"));
    CHECK(err == ERR_OK); /* 255 + 256 + 128 + 128 bytes, six times escaped, and the rest */
    if (log->len + log->line.len > GW_LOG_BYTES) {
        log_flush(edge);
    }
    memcpy(log->bytes + log->len, log->line.data, log->line.len);
    log->len += log->line.len;
}
