/* The gateway's numbers: one set per edge, written by its thread, read by whoever prints them.
 *
 * Place: serve/gateway. */
#include "gateway/gateway_priv.h"

#include <stdio.h>

enum {
    PLAIN_COUNT = 10,
    STATUS_CLASSES = 6,
    ENTRIES_MAX = PLAIN_COUNT + STATUS_CLASSES + GATEWAY_REASON_COUNT + HTTP1_REASON_COUNT
};

void gw_metrics_count(struct gw_exchange *ex)
{
    struct gw_metrics *m = &ex->edge->metrics;
    metric_add(&m->requests, 1);
    metric_add(&m->statuses[ex->status < 600 ? ex->status / 100 : 0], 1);
    metric_add(&m->bytes_in, ex->bytes_in);
    metric_add(&m->bytes_out, ex->bytes_out);
    metric_hist_add(&m->duration, (loop_now(ex->edge->loop) - ex->since) / 1000);
}

struct registrar {
    struct gateway_edge *edge;
    struct metrics_set *set;
    size_t count;
};

/* label may be NULL: the edge's number is always one. */
static void add(struct registrar *to, struct metric_entry form, const char *label,
                const char *value)
{
    struct gw_metrics *m = &to->edge->metrics;
    CHECK(to->count < ENTRIES_MAX);
    char *labels = m->labels[to->count];
    size_t size = sizeof(m->labels[0]);
    unsigned edge = to->edge->number;
    int len = label == NULL ? snprintf(labels, size, "edge=\"%u\"", edge)
                            : snprintf(labels, size, "edge=\"%u\",%s=\"%s\"", edge, label, value);
    CHECK(len > 0 && (size_t)len < size);
    struct metric_entry *entry = &m->entries[to->count++];
    *entry = form;
    entry->labels = labels;
    metrics_add(to->set, entry);
}

static void add_counter(struct registrar *to, const char *name, const char *help,
                        const struct metric_counter *counter)
{
    add(to,
        (struct metric_entry){
            .kind = METRIC_COUNTER, .name = name, .help = help, .metric = counter},
        NULL, NULL);
}

static void add_gauge(struct registrar *to, const char *name, const char *help,
                      const struct metric_gauge *gauge)
{
    add(to,
        (struct metric_entry){.kind = METRIC_GAUGE, .name = name, .help = help, .metric = gauge},
        NULL, NULL);
}

static void add_plain(struct registrar *to)
{
    const struct gw_metrics *m = &to->edge->metrics;
    add_counter(to, "flotilla_gateway_requests_total", "Requests that came to an end.",
                &m->requests);
    add_counter(to, "flotilla_gateway_received_bytes_total", "Bytes of requests.", &m->bytes_in);
    add_counter(to, "flotilla_gateway_sent_bytes_total", "Bytes of answers.", &m->bytes_out);
    add_counter(to, "flotilla_gateway_retries_total", "Attempts after the first.", &m->retries);
    add_counter(to, "flotilla_gateway_upstream_connects_total", "Connections opened to instances.",
                &m->connects);
    add_counter(to, "flotilla_gateway_upstream_reuses_total",
                "Requests that went over a pooled connection.", &m->reuses);
    add_counter(to, "flotilla_gateway_log_lines_lost_total",
                "Lines that the access log did not take.", &m->log_lost);
    add_gauge(to, "flotilla_gateway_clients", "Open connections of clients.", &m->clients);
    add_gauge(to, "flotilla_gateway_upstreams", "Open connections to instances.", &m->upstreams);
    add(to,
        (struct metric_entry){.kind = METRIC_HIST,
                              .name = "flotilla_gateway_duration_us",
                              .help = "From a request's first byte to its answer's last.",
                              .metric = &m->duration},
        NULL, NULL);
}

static void add_labelled(struct registrar *to)
{
    static const char *const classes[STATUS_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    const struct gw_metrics *m = &to->edge->metrics;
    struct metric_entry form = {.kind = METRIC_COUNTER,
                                .name = "flotilla_gateway_answers_total",
                                .help = "Answers by the class of their status."};
    for (size_t i = 0; i < STATUS_CLASSES; i++) {
        form.metric = &m->statuses[i];
        add(to, form, "class", classes[i]);
    }
    form.name = "flotilla_gateway_reasons_total";
    form.help = "Requests refused or broken off by the gateway, by reason.";
    for (enum gateway_reason i = GATEWAY_REASON_NO_ROUTE; i < GATEWAY_REASON_COUNT; i++) {
        form.metric = &m->reasons[i];
        add(to, form, "reason", gateway_reason_name(i));
    }
    for (enum http1_reason i = HTTP1_REASON_NONE + 1; i < HTTP1_REASON_COUNT; i++) {
        form.metric = &m->malformed[i];
        add(to, form, "reason", http1_reason_name(i));
    }
}

void gateway_edge_add_metrics(struct gateway_edge *edge, struct metrics_set *set)
{
    struct gw_metrics *m = &edge->metrics;
    CHECK(m->entries == NULL);
    m->entries = mem_alloc_array(ENTRIES_MAX, sizeof(*m->entries));
    m->labels = mem_alloc_array(ENTRIES_MAX, sizeof(*m->labels));
    struct registrar to = {.edge = edge, .set = set};
    add_plain(&to);
    add_labelled(&to);
}

void gw_metrics_done(struct gateway_edge *edge)
{
    mem_free(edge->metrics.entries);
    mem_free(edge->metrics.labels);
    edge->metrics.entries = NULL;
    edge->metrics.labels = NULL;
}

struct gateway_stats gateway_edge_stats(const struct gateway_edge *edge)
{
    const struct gw_metrics *m = &edge->metrics;
    struct gateway_stats stats = {
        .requests = metric_get(&m->requests),
        .retries = metric_get(&m->retries),
        .connects = metric_get(&m->connects),
        .reuses = metric_get(&m->reuses),
        .log_lines_lost = metric_get(&m->log_lost),
        .clients = edge->client_count,
        .upstreams = edge->upstream_count,
        .upstreams_idle = edge->idle_count,
        .buffers = edge->outs,
        .buffers_peak = edge->outs_peak,
    };
    for (enum gateway_reason i = GATEWAY_REASON_NONE; i < GATEWAY_REASON_COUNT; i++) {
        stats.refused += metric_get(&m->reasons[i]);
    }
    return stats;
}
