/* Load generator for durable key-value writes over the HTTP API.
 *
 * N clients, each with a kept connection and one request under way, put 100-byte values under
 * 100,000 random keys, spread over the given nodes. Prints one line of JSON: writes per second,
 * latency quantiles, and how many answers were not 200 "true".
 *
 * usage: kv_load CLIENTS SECONDS HOST:PORT [HOST:PORT ...] */
#include "loop/loop.h"
#include "loop/tcp.h"
#include "mem/mem.h"
#include "metrics/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEYS = 100000,
    VALUE_BYTES = 100,
    REQUEST_MAX = 512,
    ANSWER_MAX = 4096
};

static struct {
    struct loop *loop;
    clk_ns until;
    uint64_t done;
    uint64_t bad;
    uint64_t open;
    struct metric_hist latency;
} run;

struct client {
    struct tcp_conn conn;
    struct tcp_send_req req;
    struct iovec iov;
    struct net_addr addr;
    clk_ns started;
    size_t answer_len;
    char request[REQUEST_MAX];
    char answer[ANSWER_MAX + 1];
};

static void start(struct client *client);

static void on_closed(struct tcp_conn *conn)
{
    (void)conn;
    run.open--;
    if (run.open == 0) {
        loop_stop(run.loop);
    }
}

static void finish(struct client *client)
{
    if (!tcp_is_closing(&client->conn)) {
        tcp_close(&client->conn, on_closed);
    }
}

/* Length of the whole answer, 0 while it is not all here. */
static size_t answer_size(const struct client *client)
{
    const char *end = strstr(client->answer, "\r\n\r\n");
    if (end == NULL) {
        return 0;
    }
    const char *length = strcasestr(client->answer, "content-length:");
    size_t size = (size_t)(end - client->answer) + 4;
    if (length != NULL && length < end) {
        size += strtoul(length + strlen("content-length:"), NULL, 10);
    }
    return client->answer_len >= size ? size : 0;
}

static void on_recv(struct tcp_conn *conn, enum err err, struct bytes data)
{
    struct client *client = CONTAINER_OF(conn, struct client, conn);
    if (err != ERR_OK || data.len == 0 || client->answer_len + data.len > ANSWER_MAX) {
        run.bad++;
        finish(client);
        return;
    }
    memcpy(client->answer + client->answer_len, data.data, data.len);
    client->answer_len += data.len;
    client->answer[client->answer_len] = '\0';
    if (answer_size(client) == 0) {
        return;
    }
    if (strncmp(client->answer, "HTTP/1.1 200", 12) != 0) {
        run.bad++;
    } else {
        run.done++;
        metric_hist_add(&run.latency, (loop_now(run.loop) - client->started) / CLK_US(1));
    }
    if (loop_now(run.loop) >= run.until) {
        finish(client);
    } else {
        start(client);
    }
}

static void on_sent(struct tcp_send_req *req, enum err err)
{
    (void)req;
    (void)err; /* a failed send is followed by a failed receive */
}

static void start(struct client *client)
{
    static const char value[VALUE_BYTES + 1] =
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
        "890123456789";
    int len = snprintf(client->request, sizeof(client->request),
                       "PUT /v1/kv/bench/%06llu HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n"
                       "\r\n%s",
                       (unsigned long long)rnd_below(loop_rnd(run.loop), KEYS), VALUE_BYTES, value);
    client->answer_len = 0;
    client->answer[0] = '\0';
    client->started = loop_now(run.loop);
    client->iov = (struct iovec){client->request, (size_t)len};
    tcp_send(&client->conn, &client->req, &client->iov, 1, on_sent);
}

static void on_connect(struct tcp_conn *conn, enum err err)
{
    struct client *client = CONTAINER_OF(conn, struct client, conn);
    if (err != ERR_OK) {
        run.bad++;
        finish(client);
        return;
    }
    tcp_recv_start(conn, on_recv);
    start(client);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        (void)fprintf(stderr, "usage: kv_load CLIENTS SECONDS HOST:PORT [HOST:PORT ...]\n");
        return 2;
    }
    size_t clients = strtoul(argv[1], NULL, 10);
    uint64_t seconds = strtoul(argv[2], NULL, 10);
    struct err_note note = {{0}};
    struct loop_config config = {.backend = LOOP_BACKEND_EPOLL, .seed = 1};
    if (clients == 0 || seconds == 0 || loop_new(&config, &run.loop, &note) != ERR_OK) {
        (void)fprintf(stderr, "kv_load: bad arguments or no loop: %s\n", note.text);
        return 2;
    }
    clk_ns begin = loop_now(run.loop);
    run.until = begin + CLK_S(seconds);
    struct client *all = mem_alloc_array(clients, sizeof(*all));
    for (size_t i = 0; i < clients; i++) {
        const char *addr = argv[3 + (int)(i % (size_t)(argc - 3))];
        if (net_addr_parse(bytes_of_str(addr), &all[i].addr) != ERR_OK) {
            (void)fprintf(stderr, "kv_load: %s is not HOST:PORT\n", addr);
            return 2;
        }
    }
    for (size_t i = 0; i < clients; i++) {
        run.open++;
        tcp_connect(&all[i].conn, run.loop, &all[i].addr, CLK_S(5), on_connect);
        loop_turn(run.loop, 0);
    }
    loop_run(run.loop);
    double took = (double)(loop_now(run.loop) - begin) / (double)CLK_S(1);
    (void)printf("{\"clients\":%zu,\"writes_per_s\":%.0f,\"p50_us\":%llu,\"p99_us\":%llu,"
                 "\"bad\":%llu}\n",
                 clients, (double)run.done / took,
                 (unsigned long long)metric_hist_quantile(&run.latency, 0.5),
                 (unsigned long long)metric_hist_quantile(&run.latency, 0.99),
                 (unsigned long long)run.bad);
    mem_free(all);
    loop_free(run.loop);
    return run.bad == 0 ? 0 : 1;
}
