/* Connections between nodes: who is let in, what arrives, and how everything ends. */
#include "peers/peers.h"

#include "crc/crc32c.h"
#include "log/log.h"
#include "loop_test.h"
#include "mem/mem.h"
#include "secret/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    NODES_MAX = 3,
    CLUSTER = 77,
    KIND_TEST = PEERS_FRAME_ENGINE,
    HEAD = 9,
    HELLO = 64
};

/* --- a node that has nothing but peers --- */

struct net {
    struct loop *loop;
    struct end *ends[NODES_MAX + 1]; /* by id */
};

struct end {
    struct net *net;
    struct peers *peers;
    raft_node_id id;
    struct net_addr addr;
    struct engine_hello hello;
    int ups[NODES_MAX + 1];
    int downs[NODES_MAX + 1];
    bool up[NODES_MAX + 1];
    struct engine_hello heard[NODES_MAX + 1];
    uint64_t frames[PEERS_CHANNEL_COUNT];
    uint64_t next; /* of numbered frames */
    uint64_t bytes;
    uint32_t last_crc;
    bool closed;
    bool refuses;
    bool distrusts;
    const struct secret_ring *secret; /* NULL: the one of all ends */
    enum err frame_answer;
    bool resets_on_frame;
};

static void env_hello(void *self, struct engine_hello *ret_hello)
{
    const struct end *end = self;
    *ret_hello = end->hello;
}

/* As the engine does it: a node without a cluster, and one of the same, are welcome. */
static enum err env_up(void *self, const struct engine_hello *hello, bool *ret_trusted,
                       struct err_note *note)
{
    struct end *end = self;
    assert_false(end->up[hello->node]);
    if (end->refuses) {
        return err_note_set(note, ERR_DENIED, "node %u wants nobody", end->id);
    }
    bool both_belong = hello->cluster_id != 0 && end->hello.cluster_id != 0;
    if (both_belong && hello->cluster_id != end->hello.cluster_id) {
        return err_note_set(note, ERR_MISMATCH, "node %u belongs to cluster %llu", hello->node,
                            (unsigned long long)hello->cluster_id);
    }
    end->up[hello->node] = true;
    end->ups[hello->node]++;
    end->heard[hello->node] = *hello;
    *ret_trusted = !end->distrusts;
    return ERR_OK;
}

static void env_down(void *self, raft_node_id node)
{
    struct end *end = self;
    assert_true(end->up[node]);
    end->up[node] = false;
    end->downs[node]++;
}

/* A test frame is a number, then filling. */
static enum err env_frame(void *self, raft_node_id from, enum peers_channel channel, uint8_t kind,
                          struct bytes body)
{
    struct end *end = self;
    assert_true(end->up[from]);
    assert_int_equal(kind, KIND_TEST);
    end->frames[channel]++;
    end->bytes += body.len;
    end->last_crc = crc32c(0, body.data, body.len);
    if (channel == PEERS_LOG && body.len >= 8) {
        assert_int_equal(get_u64(body.data), end->next);
        end->next++;
    }
    if (end->resets_on_frame) {
        end->resets_on_frame = false;
        peers_reset(end->peers, from);
    }
    return end->frame_answer;
}

static void on_peers_closed(void *self)
{
    struct end *end = self;
    assert_false(end->closed);
    end->closed = true;
}

/* Of all ends that have none of their own. */
static const struct secret_ring *common_secret;
static const struct secret_ring NO_SECRET;
static const struct secret_ring RING_A = {.count = 1, .at = {{{1}}}};
static const struct secret_ring RING_B = {.count = 1, .at = {{{2}}}};
static const struct secret_ring RING_AB = {.count = 2, .at = {{{1}}, {{2}}}};
static const struct secret_ring RING_BA = {.count = 2, .at = {{{2}}, {{1}}}};

static int with_secret(void **state)
{
    (void)state;
    common_secret = &RING_A;
    return 0;
}

static int without_secret(void **state)
{
    (void)state;
    common_secret = NULL;
    return 0;
}

static void start(struct end *end, const struct peers_cfg *limits)
{
    struct peers_cfg cfg = *limits;
    cfg.secret = end->secret != NULL ? end->secret : common_secret;
    cfg.self = end->id;
    cfg.listen = end->addr;
    for (raft_node_id id = 1; id <= NODES_MAX; id++) {
        if (id != end->id && end->net->ends[id] != NULL) {
            cfg.peers[cfg.peer_count].id = id;
            cfg.peers[cfg.peer_count].addr = end->net->ends[id]->addr;
            cfg.peer_count++;
        }
    }
    const struct peers_env env = {
        .self = end, .hello = env_hello, .up = env_up, .down = env_down, .frame = env_frame};
    struct err_note note = {0};
    end->closed = false;
    enum err err = peers_new(end->net->loop, &cfg, &env, &end->peers, &note);
    if (err != ERR_OK) {
        fail_msg("%s", note.text);
    }
    end->addr = peers_listen_addr(end->peers);
}

static void stop(struct end *end)
{
    peers_close(end->peers, on_peers_closed, end);
    LOOP_UNTIL(end->net->loop, end->closed);
    peers_free(end->peers);
    end->peers = NULL;
}

static struct end *end_new(struct net *net, raft_node_id id)
{
    struct end *end = mem_alloc(sizeof(*end));
    end->net = net;
    end->id = id;
    end->hello = (struct engine_hello){.node = id,
                                       .cluster_id = CLUSTER,
                                       .storage_id = 1000 + id,
                                       .boot_count = 3,
                                       .durable_seq = 40 + id,
                                       .start_seq = 38 + id,
                                       .boot_id = 6 + id,
                                       .fresh = id == 2};
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &end->addr), ERR_OK);
    net->ends[id] = end;
    return end;
}

static const struct peers_cfg NO_LIMITS;

/* The highest id first: those below need its port. */
static struct net *net_new(raft_node_id count, const struct peers_cfg *limits)
{
    struct net *net = mem_alloc(sizeof(*net));
    net->loop = test_loop();
    for (raft_node_id id = count; id >= 1; id--) {
        (void)end_new(net, id);
    }
    for (raft_node_id id = count; id >= 1; id--) {
        start(net->ends[id], limits);
    }
    return net;
}

static void net_free(struct net *net)
{
    for (raft_node_id id = 1; id <= NODES_MAX; id++) {
        if (net->ends[id] != NULL) {
            if (net->ends[id]->peers != NULL) {
                stop(net->ends[id]);
            }
            mem_free(net->ends[id]);
        }
    }
    assert_int_equal(loop_active_count(net->loop), 0);
    loop_free(net->loop);
    mem_free(net);
}

static bool both_up(const struct net *net, raft_node_id a, raft_node_id b)
{
    return net->ends[a]->up[b] && net->ends[b]->up[a];
}

/* The connection for BULK comes after the one for LOG. */
static bool send_bulk(struct end *end, raft_node_id to, struct bytes body)
{
    return peers_send(end->peers, to, PEERS_BULK, KIND_TEST, body);
}

static bool send_number(struct end *end, raft_node_id to, uint64_t number)
{
    uint8_t body[8];
    put_u64(body, number);
    return peers_send(end->peers, to, PEERS_LOG, KIND_TEST, bytes_of(body, sizeof(body)));
}

/* --- what arrives --- */

static void two_nodes_find_each_other(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    struct end *one = net->ends[1];
    struct end *two = net->ends[2];
    assert_false(send_number(one, 2, 0));
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    assert_int_equal(one->heard[2].storage_id, 1002);
    assert_int_equal(one->heard[2].boot_count, 3);
    assert_int_equal(one->heard[2].durable_seq, 42);
    assert_true(one->heard[2].fresh);
    assert_false(two->heard[1].fresh);
    LOOP_UNTIL(net->loop, send_bulk(one, 2, (struct bytes){0}));
    LOOP_UNTIL(net->loop, send_bulk(two, 1, (struct bytes){0}));
    LOOP_UNTIL(net->loop, one->frames[PEERS_BULK] == 1 && two->frames[PEERS_BULK] == 1);
    struct peers_status status;
    assert_int_equal(peers_status_get(one->peers, 2, &status), ERR_OK);
    assert_true(status.connected && status.trusted && status.last_heard > 0);
    assert_int_equal(status.dropped_frames > 0, true);
    assert_string_equal(status.refused, "");
    assert_int_equal(peers_status_get(one->peers, 9, &status), ERR_NOT_FOUND);
    stop(one);
    assert_int_equal(one->downs[2], 1);
    LOOP_UNTIL(net->loop, two->downs[1] == 1);
    net_free(net);
}

static void three_nodes_find_each_other(void **state)
{
    (void)state;
    struct net *net = net_new(3, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2) && both_up(net, 1, 3) && both_up(net, 2, 3));
    for (uint64_t i = 0; i < 10; i++) {
        assert_true(send_number(net->ends[3], 1, i));
        assert_true(send_number(net->ends[1], 2, i));
        assert_true(send_number(net->ends[2], 3, i));
    }
    LOOP_UNTIL(net->loop, net->ends[1]->next == 10 && net->ends[2]->next == 10);
    LOOP_UNTIL(net->loop, net->ends[3]->next == 10);
    assert_false(send_number(net->ends[1], 9, 0));
    net_free(net);
}

static void frames_of_all_sizes_arrive_in_order(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    uint8_t *body = mem_alloc(70000);
    uint64_t sent = 0;
    uint64_t bytes = 0;
    for (size_t size = 8; size < 70000; size = size * 5 / 4 + 1) {
        for (int i = 0; i < 20; i++) {
            memset(body, i, size);
            put_u64(body, sent);
            while (
                !peers_send(net->ends[2]->peers, 1, PEERS_LOG, KIND_TEST, bytes_of(body, size))) {
                loop_turn(net->loop, CLK_MS(1));
            }
            sent++;
            bytes += size;
        }
        loop_turn(net->loop, 0);
    }
    LOOP_UNTIL(net->loop, net->ends[1]->next == sent);
    assert_int_equal(net->ends[1]->bytes, bytes);
    mem_free(body);
    net_free(net);
}

static void a_frame_of_nine_mebibytes_passes_beside_small_ones(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    size_t size = ENGINE_FRAME_MAX;
    uint8_t *body = mem_alloc(size);
    for (size_t i = 8; i < size; i++) {
        body[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
    }
    put_u64(body, 1);
    struct end *two = net->ends[2];
    assert_true(send_number(net->ends[1], 2, 0));
    assert_true(peers_send(net->ends[1]->peers, 2, PEERS_LOG, KIND_TEST, bytes_of(body, size)));
    LOOP_UNTIL(net->loop, two->next == 2);
    assert_int_equal(two->last_crc, crc32c(0, body, size));
    assert_true(send_number(net->ends[1], 2, 2));
    LOOP_UNTIL(net->loop, two->next == 3);
    mem_free(body);
    net_free(net);
}

static void frames_of_one_turn_leave_in_one_write(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    LOOP_UNTIL(net->loop, send_bulk(net->ends[1], 2, (struct bytes){0}));
    LOOP_UNTIL(net->loop, net->ends[2]->frames[PEERS_BULK] == 1);
    uint64_t before = loop_stats(net->loop).syscalls;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(send_number(net->ends[1], 2, i));
    }
    LOOP_UNTIL(net->loop, net->ends[2]->next == 1000);
    assert_true(loop_stats(net->loop).syscalls - before < 40);
    net_free(net);
}

static void a_full_queue_says_so_and_drains(void **state)
{
    (void)state;
    const struct peers_cfg limits = {.queue_bytes_max = 256 * 1024, .frame_bytes_max = 64 * 1024};
    struct net *net = net_new(2, &limits);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    LOOP_UNTIL(net->loop, send_bulk(net->ends[1], 2, (struct bytes){0}));
    uint8_t *body = mem_alloc(64 * 1024);
    uint64_t taken = 0;
    put_u64(body, taken);
    while (peers_send(net->ends[1]->peers, 2, PEERS_LOG, KIND_TEST, bytes_of(body, 64 * 1024))) {
        put_u64(body, ++taken);
    }
    assert_int_equal(taken, 3); /* three of them with their heads are under 256 KiB */
    assert_true(send_bulk(net->ends[1], 2, bytes_of(body, 64 * 1024)));
    struct peers_status status;
    assert_int_equal(peers_status_get(net->ends[1]->peers, 2, &status), ERR_OK);
    assert_true(status.dropped_frames >= 1);
    LOOP_UNTIL(net->loop, net->ends[2]->next == taken);
    assert_true(send_number(net->ends[1], 2, taken));
    LOOP_UNTIL(net->loop, net->ends[2]->next == taken + 1);
    mem_free(body);
    net_free(net);
}

/* --- how it ends and begins again --- */

static void a_reset_connection_comes_back(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    for (int round = 1; round <= 3; round++) {
        peers_reset(net->ends[1 + round % 2]->peers, (raft_node_id)(2 - round % 2));
        LOOP_UNTIL(net->loop, net->ends[1]->ups[2] == round + 1 && both_up(net, 1, 2));
        assert_int_equal(net->ends[1]->downs[2], round);
        assert_int_equal(net->ends[2]->downs[1], round);
    }
    LOOP_UNTIL(net->loop, send_bulk(net->ends[1], 2, (struct bytes){0}));
    net_free(net);
}

static void a_stopped_node_is_found_when_it_is_back(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    stop(net->ends[2]);
    LOOP_UNTIL(net->loop, net->ends[1]->downs[2] == 1);
    for (int i = 0; i < 20; i++) {
        loop_turn(net->loop, CLK_MS(10)); /* some refused connections */
    }
    assert_int_equal(net->ends[1]->ups[2], 1);
    net->ends[2]->hello.boot_count++;
    start(net->ends[2], &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    assert_int_equal(net->ends[1]->heard[2].boot_count, 4);
    LOOP_UNTIL(net->loop, send_bulk(net->ends[2], 1, (struct bytes){0}));
    net_free(net);
}

static void a_frame_that_is_refused_closes_the_connection(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    net->ends[2]->frame_answer = ERR_BAD_INPUT;
    for (uint64_t i = 0; i < 5; i++) {
        assert_true(send_number(net->ends[1], 2, i));
    }
    LOOP_UNTIL(net->loop, net->ends[1]->downs[2] == 1 && net->ends[2]->downs[1] == 1);
    assert_int_equal(net->ends[2]->next, 1);
    net->ends[2]->frame_answer = ERR_OK;
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    net_free(net);
}

static void a_frame_may_reset_its_own_connection(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    net->ends[1]->resets_on_frame = true;
    for (uint64_t i = 0; i < 5; i++) {
        assert_true(send_number(net->ends[2], 1, i));
    }
    LOOP_UNTIL(net->loop, net->ends[1]->downs[2] == 1 && net->ends[2]->downs[1] == 1);
    assert_int_equal(net->ends[1]->next, 1);
    net_free(net);
}

/* --- who is not let in --- */

static bool has_refusal(const struct end *end, raft_node_id from, const char *text)
{
    struct peers_status status;
    assert_int_equal(peers_status_get(end->peers, from, &status), ERR_OK);
    return strstr(status.refused, text) != NULL && !status.connected;
}

static void another_cluster_is_refused_with_the_reason_on_both_sides(void **state)
{
    (void)state;
    struct net *net = mem_alloc(sizeof(*net));
    net->loop = test_loop();
    for (raft_node_id id = 2; id >= 1; id--) {
        struct end *end = end_new(net, id);
        end->hello.cluster_id = id;
    }
    start(net->ends[2], &NO_LIMITS);
    start(net->ends[1], &NO_LIMITS);
    LOOP_UNTIL(net->loop, has_refusal(net->ends[2], 1, "node 1 belongs to cluster 1"));
    LOOP_UNTIL(net->loop, has_refusal(net->ends[1], 2, "it says: node 1 belongs to cluster 1"));
    assert_int_equal(net->ends[1]->ups[2], 0);
    /* Once it belongs here, it is let in. */
    net->ends[1]->hello.cluster_id = 2;
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    struct peers_status status;
    assert_int_equal(peers_status_get(net->ends[1]->peers, 2, &status), ERR_OK);
    assert_string_equal(status.refused, "");
    net_free(net);
}

/* It says another cluster on the second connection than on the first: it has joined in between. */
static void both_connections_of_a_node_that_joins_are_open(void **state)
{
    (void)state;
    struct net *net = mem_alloc(sizeof(*net));
    net->loop = test_loop();
    for (raft_node_id id = 2; id >= 1; id--) {
        (void)end_new(net, id);
    }
    net->ends[2]->hello.cluster_id = 0;
    start(net->ends[2], &NO_LIMITS);
    start(net->ends[1], &NO_LIMITS);
    struct bytes body = BYTES_LITERAL("01234567");
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    net->ends[2]->hello.cluster_id = CLUSTER;
    LOOP_UNTIL(net->loop, send_bulk(net->ends[1], 2, body));
    LOOP_UNTIL(net->loop, net->ends[2]->frames[PEERS_BULK] > 0);
    assert_int_equal(net->ends[1]->heard[2].cluster_id, 0);
    net_free(net);
}

static void a_node_at_the_address_of_another_is_refused(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    stop(net->ends[1]);
    struct end *three = end_new(net, 3);
    three->addr = net->ends[2]->addr;
    start(net->ends[1], &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    LOOP_UNTIL(net->loop, has_refusal(net->ends[1], 3, "it says: this is node 2, not node 3"));
    assert_true(both_up(net, 1, 2));
    net_free(net);
}

static void the_one_who_dialled_may_refuse_too(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    net->ends[1]->refuses = true;
    LOOP_UNTIL(net->loop, has_refusal(net->ends[2], 1, "it says: node 1 wants nobody"));
    LOOP_UNTIL(net->loop, has_refusal(net->ends[1], 2, "node 1 wants nobody"));
    assert_int_equal(net->ends[1]->ups[2], 0);
    net->ends[1]->refuses = false;
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    net_free(net);
}

static void an_untrusted_peer_is_connected_and_shown(void **state)
{
    (void)state;
    struct net *net = net_new(2, &NO_LIMITS);
    net->ends[1]->distrusts = true;
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    struct peers_status status;
    assert_int_equal(peers_status_get(net->ends[1]->peers, 2, &status), ERR_OK);
    assert_true(status.connected);
    assert_false(status.trusted);
    net_free(net);
}

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    struct net *net = net_new(1, &NO_LIMITS);
    struct peers_cfg cfg = {.self = 2, .listen = net->ends[1]->addr};
    const struct peers_env env = {
        .self = net, .hello = env_hello, .up = env_up, .down = env_down, .frame = env_frame};
    struct peers *peers = NULL;
    struct err_note note = {0};
    assert_int_equal(peers_new(net->loop, &cfg, &env, &peers, &note), ERR_IN_USE);
    assert_non_null(strstr(note.text, "127.0.0.1:"));
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &cfg.listen), ERR_OK);
    cfg.peer_count = 1;
    cfg.peers[0].id = 3;
    assert_int_equal(peers_new(net->loop, &cfg, &env, &peers, &note), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "node 3"));
    cfg.peers[0].id = 2;
    assert_int_equal(peers_new(net->loop, &cfg, &env, &peers, &note), ERR_BAD_INPUT);
    net_free(net);
}

/* --- a stranger: a plain socket --- */

static int raw_connect(const struct net_addr *addr)
{
    int fd = -1;
    assert_int_equal(net_socket(addr, &fd), ERR_OK);
    if (connect(fd, &addr->sa.any, addr->len) != 0) {
        assert_int_equal(errno, EINPROGRESS);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        assert_int_equal(poll(&p, 1, 10000), 1);
    }
    return fd;
}

static void raw_send(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* True once the other side has closed; collects what it said before. */
static bool raw_ended(int fd, struct buf *said)
{
    uint8_t data[4096];
    ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
    if (n > 0) {
        assert_int_equal(buf_append(said, bytes_of(data, (size_t)n)), ERR_OK);
        return false;
    }
    return n == 0 || errno == ECONNRESET;
}

static size_t raw_frame(uint8_t *dest, uint8_t kind, const void *body, size_t len)
{
    put_u32(dest, (uint32_t)len);
    dest[4] = kind;
    put_u32(dest + 5, crc32c(crc32c(0, dest, 5), body, len));
    memcpy(dest + HEAD, body, len);
    return HEAD + len;
}

/* The hello of node 1 to node 2, as it was on the wire in version 1. */
static void raw_hello(uint8_t hello[HELLO], uint8_t channel)
{
    static const uint8_t golden[HELLO] = {
        'F', 'L', 'T',  'P', 1,  0, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 77, 0, 0,  0, 0, 0,
        0,   0,   0xe9, 3,   0,  0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0,  0, 41, 0, 0, 0,
        0,   0,   0,    0,   39, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0,  0, 0,  0};
    memcpy(hello, golden, HELLO);
    hello[6] = channel;
}

/* Node 2 with a peer 1 that does not run; the test plays it. */
static struct net *net_of_two_with(const struct peers_cfg *limits)
{
    struct net *net = mem_alloc(sizeof(*net));
    net->loop = test_loop();
    (void)end_new(net, 1);
    (void)end_new(net, 2);
    start(net->ends[2], limits);
    return net;
}

static struct net *net_of_two_alone(void)
{
    return net_of_two_with(&NO_LIMITS);
}

static int raw_peer(struct net *net)
{
    uint8_t hello[HELLO];
    uint8_t frame[HEAD + HELLO];
    raw_hello(hello, PEERS_LOG);
    int fd = raw_connect(&net->ends[2]->addr);
    raw_send(fd, frame, raw_frame(frame, PEERS_FRAME_HELLO, hello, HELLO));
    int before = net->ends[2]->ups[1];
    LOOP_UNTIL(net->loop, net->ends[2]->ups[1] == before + 1);
    return fd;
}

static void expect_thrown_out(struct net *net, const void *data, size_t len, const char *said)
{
    int fd = raw_connect(&net->ends[2]->addr);
    struct buf answer;
    buf_init(&answer, 4096);
    raw_send(fd, data, len);
    LOOP_UNTIL(net->loop, raw_ended(fd, &answer));
    assert_int_equal(net->ends[2]->ups[1], 0);
    if (said == NULL) {
        assert_int_equal(answer.len, 0);
    } else {
        assert_true(answer.len > HEAD && answer.data[4] == PEERS_FRAME_REFUSE);
        assert_non_null(memmem(answer.data, answer.len, said, strlen(said)));
    }
    buf_done(&answer);
    (void)close(fd);
}

static void garbage_is_thrown_out(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    expect_thrown_out(net, http, sizeof(http) - 1, NULL);
    uint8_t zeros[64] = {0};
    expect_thrown_out(net, zeros, sizeof(zeros), NULL);
    uint8_t frame[HEAD + 1024] = {0};
    uint8_t body[1024] = {0};
    /* too large, no magic, cut short, another kind, a kind that only who dialled may get */
    expect_thrown_out(net, frame, raw_frame(frame, PEERS_FRAME_HELLO, body, 1024), NULL);
    expect_thrown_out(net, frame, raw_frame(frame, PEERS_FRAME_HELLO, body, HELLO), NULL);
    raw_hello(body, PEERS_LOG);
    expect_thrown_out(net, frame, raw_frame(frame, PEERS_FRAME_HELLO, body, HELLO - 1), NULL);
    expect_thrown_out(net, frame, raw_frame(frame, PEERS_FRAME_ENGINE, body, HELLO), NULL);
    expect_thrown_out(net, frame, raw_frame(frame, PEERS_FRAME_REFUSE, body, HELLO), NULL);
    /* a bit that fell over, anywhere; not in the length, which would only make it wait */
    for (size_t i = 4; i < HEAD + HELLO; i += 5) {
        (void)raw_frame(frame, PEERS_FRAME_HELLO, body, HELLO);
        frame[i] ^= 0x10;
        expect_thrown_out(net, frame, HEAD + HELLO, NULL);
    }
    (void)close(raw_peer(net));
    net_free(net);
}

static void wrong_hellos_hear_why(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    uint8_t frame[HEAD + HELLO];
    uint8_t body[HELLO];

    const struct {
        size_t at;
        uint8_t value;
        const char *said;
    } cases[] = {
        {4, 9, "it speaks version 9 of the peers' protocol, this node version 1"},
        {6, PEERS_BULK, "there is no log connection"},
        {8, 3, "this is node 2, not node 3"},
        {12, 2, "node id 2 is taken"},
        {12, 9, "node 9 is not a peer of node 2"},
        {16, 5, "node 1 belongs to cluster 5"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        raw_hello(body, PEERS_LOG);
        body[cases[i].at] = cases[i].value;
        size_t len = raw_frame(frame, PEERS_FRAME_HELLO, body, HELLO);
        expect_thrown_out(net, frame, len, cases[i].said);
    }
    net_free(net);
}

static void a_hello_in_single_bytes_is_understood(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    uint8_t hello[HELLO];
    uint8_t frame[HEAD + HELLO + HEAD + 8];
    raw_hello(hello, PEERS_LOG);
    size_t len = raw_frame(frame, PEERS_FRAME_HELLO, hello, HELLO);
    uint8_t number[8] = {0};
    len += raw_frame(frame + len, KIND_TEST, number, sizeof(number));
    int fd = raw_connect(&net->ends[2]->addr);
    for (size_t i = 0; i < len; i++) {
        raw_send(fd, frame + i, 1);
        loop_turn(net->loop, CLK_MS(1));
    }
    LOOP_UNTIL(net->loop, net->ends[2]->next == 1);
    (void)close(fd);
    LOOP_UNTIL(net->loop, net->ends[2]->downs[1] == 1);
    net_free(net);
}

/* Later versions may say more, within the limit of what is read from strangers. */
static void a_longer_hello_is_understood_up_to_the_limit(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    uint8_t hello[PEERS_HELLO_BYTES_MAX + 1] = {0};
    uint8_t frame[HEAD + sizeof(hello)];
    raw_hello(hello, PEERS_LOG);
    size_t len = raw_frame(frame, PEERS_FRAME_HELLO, hello, sizeof(hello));
    expect_thrown_out(net, frame, len, NULL);
    len = raw_frame(frame, PEERS_FRAME_HELLO, hello, PEERS_HELLO_BYTES_MAX);
    int fd = raw_connect(&net->ends[2]->addr);
    raw_send(fd, frame, len);
    LOOP_UNTIL(net->loop, net->ends[2]->ups[1] == 1);
    (void)close(fd);
    net_free(net);
}

static void bulk_lives_no_longer_than_its_log(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    uint8_t hello[HELLO];
    uint8_t frame[HEAD + HELLO];
    raw_hello(hello, PEERS_BULK);
    size_t len = raw_frame(frame, PEERS_FRAME_HELLO, hello, HELLO);
    int log = raw_peer(net);
    int bulk = raw_connect(&net->ends[2]->addr);
    raw_send(bulk, frame, len);
    LOOP_UNTIL(net->loop, send_bulk(net->ends[2], 1, (struct bytes){0}));
    (void)close(log);
    clk_ns begun = loop_now(net->loop);
    struct buf said;
    buf_init(&said, 4096);
    LOOP_UNTIL(net->loop, raw_ended(bulk, &said));
    assert_true(loop_now(net->loop) - begun < CLK_S(4)); /* not by its silence */
    assert_int_equal(net->ends[2]->downs[1], 1);
    (void)close(bulk);
    buf_clear(&said);
    bulk = raw_connect(&net->ends[2]->addr);
    raw_send(bulk, frame, len);
    LOOP_UNTIL(net->loop, raw_ended(bulk, &said));
    assert_int_equal(said.data[4], PEERS_FRAME_REFUSE);
    buf_done(&said);
    (void)close(bulk);
    net_free(net);
}

static void a_damaged_frame_is_not_acted_on(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    uint8_t body[100] = {0};
    uint8_t frame[HEAD + 100];
    for (size_t i = 4; i < sizeof(frame); i += 5) { /* kind, checksum, body */
        int fd = raw_peer(net);
        (void)raw_frame(frame, KIND_TEST, body, sizeof(body));
        frame[i] ^= 0x04;
        raw_send(fd, frame, sizeof(frame));
        struct buf said;
        buf_init(&said, 4096);
        LOOP_UNTIL(net->loop, raw_ended(fd, &said));
        assert_false(net->ends[2]->up[1]);
        buf_done(&said);
        (void)close(fd);
    }
    assert_int_equal(net->ends[2]->frames[PEERS_LOG], 0);
    net_free(net);
}

static void a_frame_over_the_limit_closes_before_its_body(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    int fd = raw_peer(net);
    uint8_t head[HEAD] = {0};
    put_u32(head, 18 * 1024 * 1024 + 1);
    raw_send(fd, head, sizeof(head));
    LOOP_UNTIL(net->loop, net->ends[2]->downs[1] == 1);
    (void)close(fd);
    net_free(net);
}

static void what_a_slow_peer_has_not_taken_is_bounded(void **state)
{
    (void)state;
    const struct peers_cfg limits = {.queue_bytes_max = 256 * 1024, .frame_bytes_max = 64 * 1024};
    struct net *net = net_of_two_with(&limits);
    int fd = raw_peer(net); /* reads nothing */
    uint8_t *body = mem_alloc(64 * 1024);
    struct peers_status status = {0};
    uint64_t queued = 0;
    for (int refused = 0; refused < 20; refused++) {
        while (
            peers_send(net->ends[2]->peers, 1, PEERS_LOG, KIND_TEST, bytes_of(body, 60 * 1024))) {
            queued += HEAD + 60 * 1024;
            refused = 0;
            loop_turn(net->loop, 0);
            assert_int_equal(peers_status_get(net->ends[2]->peers, 1, &status), ERR_OK);
            assert_true(queued - status.sent_bytes <= limits.queue_bytes_max);
        }
        loop_turn(net->loop, CLK_MS(5));
    }
    assert_true(queued > limits.queue_bytes_max); /* the kernel has taken the rest */
    mem_free(body);
    (void)close(fd);
    net_free(net);
}

/* The other side has given the old one up, and this side never heard of it. */
static void a_newer_connection_of_a_peer_wins(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    int old = raw_peer(net);
    int new = raw_peer(net);
    assert_int_equal(net->ends[2]->downs[1], 1);
    struct buf said;
    buf_init(&said, 4096);
    LOOP_UNTIL(net->loop, raw_ended(old, &said));
    assert_true(net->ends[2]->up[1]);
    buf_done(&said);
    (void)close(old);
    (void)close(new);
    LOOP_UNTIL(net->loop, net->ends[2]->downs[1] == 2);
    net_free(net);
}

/* Says hello with another number at this offset, while the first connection is up. */
static void a_rival_is_refused(size_t at, const char *why)
{
    struct net *net = net_of_two_alone();
    int first = raw_peer(net);
    uint8_t hello[HELLO];
    uint8_t frame[HEAD + HELLO];
    raw_hello(hello, PEERS_LOG);
    put_u64(hello + at, 5555);
    int second = raw_connect(&net->ends[2]->addr);
    raw_send(second, frame, raw_frame(frame, PEERS_FRAME_HELLO, hello, HELLO));
    struct buf said;
    buf_init(&said, 4096);
    LOOP_UNTIL(net->loop, raw_ended(second, &said));
    assert_non_null(memmem(said.data, said.len, why, strlen(why)));
    assert_int_equal(net->ends[2]->downs[1], 0);
    buf_done(&said);
    (void)close(first);
    (void)close(second);
    net_free(net);
}

static void a_second_node_with_the_same_id_does_not_push_out_the_first(void **state)
{
    (void)state;
    a_rival_is_refused(24, "another node 1, with another data directory, is connected");
}

static void a_process_on_a_copied_disk_does_not_push_out_the_first(void **state)
{
    (void)state;
    a_rival_is_refused(56, "another process of node 1 is connected");
}

/* Each keeps the others company, so that their times pass together: a peer that falls silent, two
 * followers that have nothing to say to each other, and who never says hello. */
static void silence_ends_a_connection_but_idleness_does_not(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    struct end *three = end_new(net, 3);
    start(three, &NO_LIMITS);
    stop(net->ends[2]);
    start(net->ends[2], &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 2, 3));
    int mute = raw_connect(&three->addr);
    int silent = raw_peer(net);
    clk_ns begun = loop_now(net->loop);
    struct buf said;
    buf_init(&said, 4096);
    LOOP_UNTIL(net->loop, raw_ended(mute, &said));
    assert_true(loop_now(net->loop) - begun < CLK_MS(4900));
    LOOP_UNTIL(net->loop, net->ends[2]->downs[1] == 1);
    assert_true(loop_now(net->loop) - begun >= CLK_MS(4900));
    /* Meanwhile it was told that this side is alive. */
    buf_clear(&said);
    LOOP_UNTIL(net->loop, raw_ended(silent, &said));
    assert_true(said.len >= HEAD + HELLO + 3 * HEAD);
    assert_int_equal(said.data[HEAD + HELLO + 4], PEERS_FRAME_ALIVE);
    LOOP_UNTIL(net->loop, loop_now(net->loop) - begun > CLK_MS(6200));
    assert_int_equal(net->ends[2]->downs[3] + three->downs[2], 0);
    buf_done(&said);
    (void)close(silent);
    (void)close(mute);
    net_free(net);
}

static void who_says_nothing_does_not_keep_peers_out(void **state)
{
    (void)state;

    enum {
        SILENT = 100
    };
    struct net *net = net_of_two_alone();
    int fds[SILENT];
    for (int i = 0; i < SILENT; i++) {
        fds[i] = raw_connect(&net->ends[2]->addr);
        loop_turn(net->loop, 0);
    }
    clk_ns begun = loop_now(net->loop);
    (void)close(raw_peer(net));
    assert_true(loop_now(net->loop) - begun < CLK_MS(2500)); /* before they time out */
    for (int i = 0; i < SILENT; i++) {
        (void)close(fds[i]);
    }
    net_free(net);
}

/* --- with a secret --- */

static struct net *net_of_two_secrets(const struct secret_ring *one, const struct secret_ring *two)
{
    struct net *net = mem_alloc(sizeof(*net));
    net->loop = test_loop();
    end_new(net, 1)->secret = one;
    end_new(net, 2)->secret = two;
    start(net->ends[2], &NO_LIMITS);
    start(net->ends[1], &NO_LIMITS);
    return net;
}

static void expect_refusals(const struct secret_ring *one, const struct secret_ring *two,
                            const char *at_one, const char *at_two)
{
    struct net *net = net_of_two_secrets(one, two);
    LOOP_UNTIL(net->loop, has_refusal(net->ends[1], 2, at_one));
    LOOP_UNTIL(net->loop, has_refusal(net->ends[2], 1, at_two));
    assert_int_equal(net->ends[1]->ups[2] + net->ends[2]->ups[1], 0);
    net_free(net);
}

static void another_secret_is_refused_and_both_sides_say_so(void **state)
{
    (void)state;
    expect_refusals(&RING_A, &RING_B, "does not take this node's secret (--secret-file)",
                    "a connection from its machine: its secret is none of this node's");
    expect_refusals(&RING_BA, &RING_A, "does not take this node's secret (--secret-file)",
                    "its secret is none of this node's");
}

static void one_with_and_one_without_a_secret_both_say_so(void **state)
{
    (void)state;
    expect_refusals(&NO_SECRET, &RING_A,
                    "the other side has a secret and this node none: give --secret-file FILE",
                    "it runs without a secret, or is no node (--secret-file)");
    expect_refusals(&RING_A, &NO_SECRET,
                    "the other side does not speak TLS: it runs without a secret (--secret-file)",
                    "it has a secret and this node none: give --secret-file FILE");
}

static void step(struct net *net, raft_node_id id, const struct secret_ring *ring)
{
    peers_set_secret(net->ends[id]->peers, ring);
    net->ends[id]->secret = ring; /* at a restart too */
}

/* Nodes take each step one after the other; connections stay up, new ones are made at each
 * point. */
static void a_secret_is_rotated_without_losing_a_connection(void **state)
{
    (void)state;
    static const struct secret_ring *const STEPS[] = {&RING_AB, &RING_BA, &RING_B};
    struct net *net = net_of_two_secrets(&RING_A, &RING_A);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    for (size_t i = 0; i < sizeof(STEPS) / sizeof(STEPS[0]); i++) {
        for (raft_node_id id = 1; id <= 2; id++) {
            int downs = net->ends[1]->downs[2] + net->ends[2]->downs[1];
            step(net, id, STEPS[i]);
            assert_int_equal(net->ends[1]->downs[2] + net->ends[2]->downs[1], downs);
            peers_reset(net->ends[1]->peers, 2);
            LOOP_UNTIL(net->loop, net->ends[2]->downs[1] > 0 && both_up(net, 1, 2));
            LOOP_UNTIL(net->loop, send_bulk(net->ends[1], 2, (struct bytes){0}));
        }
    }
    net_free(net);
}

static void a_dropped_secret_ends_its_connections(void **state)
{
    (void)state;
    struct net *net = net_of_two_secrets(&RING_A, &RING_AB);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    step(net, 2, &RING_B);
    assert_int_equal(net->ends[2]->downs[1], 1);
    LOOP_UNTIL(net->loop, has_refusal(net->ends[1], 2, "does not take this node's secret"));
    assert_int_equal(net->ends[2]->ups[1], 1);
    net_free(net);
}

/* Sends a stranger's bytes; the answer is an alert of TLS or nothing, never a word of ours. */
static void expect_nothing_parsed(struct net *net, const void *data, size_t len)
{
    int fd = raw_connect(&net->ends[2]->addr);
    struct buf answer;
    buf_init(&answer, 4096);
    raw_send(fd, data, len);
    LOOP_UNTIL(net->loop, raw_ended(fd, &answer));
    assert_true(answer.len == 0 || (answer.len == 7 && answer.data[0] == 21));
    assert_int_equal(net->ends[2]->ups[1], 0);
    buf_done(&answer);
    (void)close(fd);
}

static void nothing_of_ours_is_parsed_without_the_secret(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    uint8_t hello[HELLO];
    uint8_t frame[HEAD + HELLO];
    raw_hello(hello, PEERS_LOG);
    size_t len = raw_frame(frame, PEERS_FRAME_HELLO, hello, HELLO);
    expect_nothing_parsed(net, frame, len); /* good in the clear */
    hello[0] ^= 1;
    len = raw_frame(frame, PEERS_FRAME_HELLO, hello, HELLO);
    expect_nothing_parsed(net, frame, len);
    expect_nothing_parsed(net, "GET / HTTP/1.1\r\n\r\n", 18);
    static const uint8_t HUGE[] = {22, 3, 1, 0xff, 0xff, 1};
    expect_nothing_parsed(net, HUGE, sizeof(HUGE));
    LOOP_UNTIL(net->loop, has_refusal(net->ends[2], 1, "(--secret-file)") ||
                              has_refusal(net->ends[2], 1, "handshake"));
    net_free(net);
}

/* A handshake that never ends costs a place among the strangers, for a while. */
static void a_slow_handshake_is_timed_out(void **state)
{
    (void)state;
    struct net *net = net_of_two_alone();
    static const uint8_t BEGINNING[] = {22, 3, 1, 1, 0, 1};
    clk_ns begun = loop_now(net->loop);
    int fd = raw_connect(&net->ends[2]->addr);
    raw_send(fd, BEGINNING, sizeof(BEGINNING));
    struct buf said;
    buf_init(&said, 4096);
    LOOP_UNTIL(net->loop, raw_ended(fd, &said));
    assert_true(loop_now(net->loop) - begun >= CLK_MS(2900));
    assert_int_equal(said.len, 0);
    buf_done(&said);
    (void)close(fd);
    net_free(net);
}

static void slow_handshakes_do_not_keep_peers_out(void **state)
{
    (void)state;

    enum {
        SLOW = 100
    };

    static const uint8_t BEGINNING[] = {22, 3, 1, 1, 0, 1};
    struct net *net = net_of_two_alone();
    int fds[SLOW];
    struct buf said;
    buf_init(&said, 4096);
    for (int i = 0; i < SLOW; i++) {
        fds[i] = raw_connect(&net->ends[2]->addr);
        raw_send(fds[i], BEGINNING, sizeof(BEGINNING));
        loop_turn(net->loop, 0);
    }
    clk_ns begun = loop_now(net->loop);
    start(net->ends[1], &NO_LIMITS);
    LOOP_UNTIL(net->loop, both_up(net, 1, 2));
    LOOP_UNTIL(net->loop, raw_ended(fds[0], &said));         /* the oldest had to go */
    assert_true(loop_now(net->loop) - begun < CLK_MS(2500)); /* before they time out */
    for (int i = 0; i < SLOW; i++) {
        (void)close(fds[i]);
    }
    buf_done(&said);
    net_free(net);
}

#define WITH_SECRET(f)                                                                             \
    {                                                                                              \
#        f "_with_a_secret", f, with_secret, without_secret, NULL                                  \
    }

int main(void)
{
    test_skip_without_backend();
    log_init(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_find_each_other),
        cmocka_unit_test(three_nodes_find_each_other),
        cmocka_unit_test(frames_of_all_sizes_arrive_in_order),
        cmocka_unit_test(a_frame_of_nine_mebibytes_passes_beside_small_ones),
        cmocka_unit_test(frames_of_one_turn_leave_in_one_write),
        cmocka_unit_test(a_full_queue_says_so_and_drains),
        cmocka_unit_test(a_reset_connection_comes_back),
        cmocka_unit_test(a_stopped_node_is_found_when_it_is_back),
        cmocka_unit_test(a_frame_that_is_refused_closes_the_connection),
        cmocka_unit_test(a_frame_may_reset_its_own_connection),
        cmocka_unit_test(another_cluster_is_refused_with_the_reason_on_both_sides),
        cmocka_unit_test(both_connections_of_a_node_that_joins_are_open),
        cmocka_unit_test(a_node_at_the_address_of_another_is_refused),
        cmocka_unit_test(the_one_who_dialled_may_refuse_too),
        cmocka_unit_test(an_untrusted_peer_is_connected_and_shown),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(garbage_is_thrown_out),
        cmocka_unit_test(wrong_hellos_hear_why),
        cmocka_unit_test(a_hello_in_single_bytes_is_understood),
        cmocka_unit_test(a_damaged_frame_is_not_acted_on),
        cmocka_unit_test(a_frame_over_the_limit_closes_before_its_body),
        cmocka_unit_test(what_a_slow_peer_has_not_taken_is_bounded),
        cmocka_unit_test(a_newer_connection_of_a_peer_wins),
        cmocka_unit_test(a_second_node_with_the_same_id_does_not_push_out_the_first),
        cmocka_unit_test(a_process_on_a_copied_disk_does_not_push_out_the_first),
        cmocka_unit_test(a_longer_hello_is_understood_up_to_the_limit),
        cmocka_unit_test(bulk_lives_no_longer_than_its_log),
        cmocka_unit_test(silence_ends_a_connection_but_idleness_does_not),
        cmocka_unit_test(who_says_nothing_does_not_keep_peers_out),
        /* The same, encrypted. */
        WITH_SECRET(two_nodes_find_each_other),
        WITH_SECRET(three_nodes_find_each_other),
        WITH_SECRET(frames_of_all_sizes_arrive_in_order),
        WITH_SECRET(a_frame_of_nine_mebibytes_passes_beside_small_ones),
        WITH_SECRET(frames_of_one_turn_leave_in_one_write),
        WITH_SECRET(a_full_queue_says_so_and_drains),
        WITH_SECRET(a_reset_connection_comes_back),
        WITH_SECRET(a_stopped_node_is_found_when_it_is_back),
        WITH_SECRET(a_frame_that_is_refused_closes_the_connection),
        WITH_SECRET(a_frame_may_reset_its_own_connection),
        WITH_SECRET(another_cluster_is_refused_with_the_reason_on_both_sides),
        WITH_SECRET(both_connections_of_a_node_that_joins_are_open),
        WITH_SECRET(a_node_at_the_address_of_another_is_refused),
        WITH_SECRET(the_one_who_dialled_may_refuse_too),
        WITH_SECRET(an_untrusted_peer_is_connected_and_shown),
        cmocka_unit_test(another_secret_is_refused_and_both_sides_say_so),
        cmocka_unit_test(one_with_and_one_without_a_secret_both_say_so),
        cmocka_unit_test(a_secret_is_rotated_without_losing_a_connection),
        cmocka_unit_test(a_dropped_secret_ends_its_connections),
        WITH_SECRET(nothing_of_ours_is_parsed_without_the_secret),
        WITH_SECRET(a_slow_handshake_is_timed_out),
        WITH_SECRET(slow_handshakes_do_not_keep_peers_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
