/* The gateway on one loop between clients and instances that the tests play themselves.
 *
 * Clients and instances are plain sockets that never wait: rig_poll() takes what has come. Tests
 * say what a side sends and look at the exact bytes that the other side gets. */
#ifndef GATEWAY_RIG_H
#define GATEWAY_RIG_H

#include "gateway/gateway_edge.h"
#include "loop_test.h"

enum {
    RIG_ORIGINS = 3,
    RIG_CONNS_MAX = 80,
    RIG_CLIENTS_MAX = 80,
    RIG_TEXT_MAX = 64 * 1024
};

/* One socket of a test. Text beyond RIG_TEXT_MAX is only counted. */
struct peer {
    int fd;     /* -1: not open */
    bool ended; /* the other side has finished sending */
    bool reset;
    bool paused;    /* does not read */
    uint64_t total; /* bytes received */
    uint64_t sum;   /* of all bytes received, by place */
    size_t len;
    char *text; /* zero-terminated */
};

/* An instance: a listening socket and the connections that the gateway made to it. */
struct origin {
    int fd;
    struct net_addr addr;
    size_t count;
    struct peer conns[RIG_CONNS_MAX];
};

struct rig {
    struct loop *loop;
    struct gateway_edge *edge;
    struct net_addr addr;
    struct origin origins[RIG_ORIGINS];
    struct peer clients[RIG_CLIENTS_MAX];
    size_t client_count;
    int log_fd; /* a file in memory */
    bool stopping;
    bool stopped;
};

extern struct rig rig;

/* One route, "*" and "/" to the service "web", whose endpoints are the first `endpoints`
 * origins. */
void rig_open(size_t endpoints);
void rig_open_with(const struct gateway_limits *limits, size_t endpoints);
/* Stops the gateway and checks that it has let go of everything. */
void rig_close(void);
/* Begins the stop; rig_close() waits for its end. */
void rig_stop(void);
void rig_poll(void);

/* Replaces all routes: host, path, service triples up to a NULL. */
void rig_routes(const char *const *triples);
/* The service's endpoints: these origins. */
void rig_service(const char *name, const size_t *numbers, size_t count);
/* The origin does not accept any more: its port refuses. */
void origin_down(size_t number);

struct peer *rig_client(void);
void peer_say(struct peer *peer, const char *text);
void peer_send(struct peer *peer, const void *data, size_t len);
/* Sends what the socket takes; returns how much. */
size_t peer_try(struct peer *peer, const void *data, size_t len);
void peer_close(struct peer *peer);
void peer_reset(struct peer *peer);
/* Forgets what was received. */
void peer_clear(struct peer *peer);
/* Waits until the text has come so often; fails after a while, showing what came. */
void peer_wait_count(struct peer *peer, const char *text, size_t count);
void peer_wait(struct peer *peer, const char *text);
/* Until the other side has ended or reset. */
void peer_wait_end(struct peer *peer);
/* The received text is exactly this. */
void peer_is(struct peer *peer, const char *text);
bool peer_has(const struct peer *peer, const char *text);

/* Connection number n of the origin, once it is there. */
struct peer *origin_conn(size_t number, size_t n);
/* The only request, complete when `until` has come, on connection n. */
struct peer *origin_request(size_t number, size_t n, const char *until);

/* Turns the loop some times: for what must NOT happen. */
void rig_settle(void);
/* The access log so far. */
const char *rig_log(void);
struct gateway_stats rig_stats(void);

#define RIG_UNTIL(condition) LOOP_UNTIL(rig.loop, (rig_poll(), (condition)))
#define OK_ANSWER            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: D\r\n\r\nok"

#endif
