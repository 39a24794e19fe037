/* Tests of what serve/web does with a node that is busy, late, lost or stopping: a node made of
 * variables stands in for the real one (its functions are defined here, so that none of node's is
 * linked). */
#include "loop_test.h"
#include "net/net.h"
#include "node/node.h"
#include "registry/registry.h"
#include "web/web_read.h"
#include "web/web_write.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the node -------------------------------------------------------------------------------- */

struct node_edge {
    struct loop *loop;
};

static struct {
    struct node_edge edge;
    uint64_t shown;    /* index of the state that a snapshot shows */
    uint64_t resource; /* index of the thing that is read */
    enum err read_err; /* of consistent reads */
    bool hold_reads;   /* consistent reads stay in held_read */
    struct node_reading *held_read;
    uint32_t reads;
    enum err watch_err;
    struct node_watch *watches[8];
    uint32_t watch_count;
    struct node_listener *listener;
    enum err propose_err; /* returned */
    struct node_proposal *proposal;
    enum err renew_err; /* returned */
    enum err renew_answers[8];
    uint32_t renew_count;
    struct node_lease_update *update;
    struct loop_call renewed;
    bool cancelled;
} fake;

struct node *node_edge_node(struct node_edge *edge)
{
    (void)edge;
    return NULL;
}

struct loop *node_edge_loop(struct node_edge *edge)
{
    return edge->loop;
}

uint32_t node_edge_number(const struct node_edge *edge)
{
    (void)edge;
    return 0;
}

static void show(struct node_reading *reading)
{
    struct node_snapshot snapshot = {.index = fake.shown, .known_leader = true};
    fake.reads++;
    reading->done(reading, ERR_OK, &snapshot);
}

enum err node_read(struct node_edge *edge, const struct node_call *call,
                   enum node_consistency consistency, struct node_reading *reading)
{
    (void)edge;
    (void)call;
    if (consistency == NODE_CONSISTENT && fake.read_err != ERR_OK) {
        reading->done(reading, fake.read_err, NULL);
    } else if (consistency == NODE_CONSISTENT && fake.hold_reads) {
        fake.held_read = reading;
    } else {
        show(reading);
    }
    return ERR_OK;
}

void node_read_cancel(struct node_edge *edge, struct node_reading *reading)
{
    (void)edge;
    assert_ptr_equal(reading, fake.held_read);
    fake.held_read = NULL;
    fake.cancelled = true;
}

enum err node_watch_add(struct node_edge *edge, struct node_watch *watch, enum table_id table,
                        struct bytes key, bool prefix)
{
    (void)edge;
    (void)table;
    (void)key;
    (void)prefix;
    if (fake.watch_err != ERR_OK) {
        return fake.watch_err;
    }
    fake.watches[fake.watch_count++] = watch;
    return ERR_OK;
}

void node_watch_remove(struct node_edge *edge, struct node_watch *watch)
{
    (void)edge;
    for (uint32_t i = 0; i < fake.watch_count; i++) {
        if (fake.watches[i] == watch) {
            fake.watches[i] = fake.watches[--fake.watch_count];
            return;
        }
    }
    fail_msg("the watch is not registered");
}

void node_listen(struct node_edge *edge, struct node_listener *listener)
{
    (void)edge;
    fake.listener = listener;
}

void node_unlisten(struct node_edge *edge, struct node_listener *listener)
{
    (void)edge;
    (void)listener;
    fake.listener = NULL;
}

enum err node_propose(struct node_edge *edge, const struct node_call *call, uint16_t kind,
                      struct bytes body, struct node_proposal *proposal)
{
    (void)edge;
    (void)kind;
    (void)body;
    assert_true(bytes_eq_str(call->principal, "anonymous"));
    if (fake.propose_err == ERR_OK) {
        fake.proposal = proposal;
    }
    return fake.propose_err;
}

void node_propose_cancel(struct node_edge *edge, struct node_proposal *proposal)
{
    (void)edge;
    assert_ptr_equal(proposal, fake.proposal);
    fake.proposal = NULL;
    fake.cancelled = true;
}

static void answer_renewal(struct loop_call *call)
{
    (void)call;
    struct node_lease_update *update = fake.update;
    fake.update = NULL;
    update->done(update, fake.renew_answers[fake.renew_count++]);
}

enum err node_lease_renew(struct node_edge *edge, const struct node_call *call,
                          const struct node_lease *lease, struct node_lease_update *update)
{
    assert_true(call->deadline > 0);
    assert_int_equal(lease->status, REGISTRY_PASSING);
    if (fake.renew_err == ERR_OK) {
        fake.update = update;
        loop_defer(edge->loop, &fake.renewed, answer_renewal);
    }
    return fake.renew_err;
}

void node_lease_cancel(struct node_edge *edge, struct node_lease_update *update)
{
    (void)edge;
    assert_ptr_equal(update, fake.update);
    loop_call_cancel(&fake.renewed);
    fake.update = NULL;
    fake.cancelled = true;
}

static void tell_change(uint64_t index)
{
    struct apply_change change = {.table = TABLE_KV, .index = index};
    for (uint32_t i = 0; i < fake.watch_count; i++) {
        fake.watches[i]->changed(fake.watches[i], &change);
    }
}

/* ---- a door ---------------------------------------------------------------------------------- */

static struct web web;
static struct web_door door;
static bool closed;
static uint16_t port;

static enum err index_of(struct web_read *read, struct table_txn *txn, uint64_t *ret_index)
{
    (void)read;
    (void)txn;
    *ret_index = fake.resource;
    return ERR_OK;
}

static void answer_read(struct web_read *read, const struct node_snapshot *snapshot, uint64_t index)
{
    http_respond_text(read->op.request, 200, "index %u shown %u", (unsigned)index,
                      (unsigned)snapshot->index);
}

static void start_read(struct http_request *request)
{
    struct web_read *read = web_op_new(&door, request, sizeof(*read));
    read->consistency = NODE_CONSISTENT;
    read->min_index = bytes_eq_str(request->query, "wait") ? 10 : 0;
    read->wait_ms = 60000;
    read->topics[0] = (struct web_topic){.table = TABLE_KV, .prefix = true};
    read->topics[1] = (struct web_topic){.table = TABLE_SERVICES, .prefix = true};
    read->topic_count = 2;
    read->index = index_of;
    read->answer = answer_read;
    web_read_start(read);
}

static void answer_write(struct web_write *write, const struct node_result *result)
{
    http_respond_text(write->op.request, 200, "value %u", (unsigned)result->verdict.value);
}

static void start_write(struct http_request *request)
{
    struct web_write *write = web_op_new(&door, request, sizeof(*write));
    write->done = answer_write;
    web_write_start(write, ERR_OK, 1, request->body);
}

static void answer_renew(struct web_renew *renew, enum err err)
{
    http_respond_text(renew->op.request, err == ERR_OK ? 200 : 404, "%s", err_name(err));
}

static void start_renew(struct http_request *request)
{
    struct web_renew *renew = web_op_new(&door, request, sizeof(*renew));
    renew->lease = (struct node_lease){.status = REGISTRY_PASSING};
    renew->done = answer_renew;
    web_renew_start(renew);
}

static void on_request(struct web_door *self, struct http_request *request)
{
    assert_ptr_equal(self, &door);
    if (bytes_eq_str(request->path, "/read")) {
        start_read(request);
    } else if (bytes_eq_str(request->path, "/write")) {
        start_write(request);
    } else {
        start_renew(request);
    }
}

static void on_web_closed(struct web *self)
{
    (void)self;
    closed = true;
}

static int set_up(void **state)
{
    (void)state;
    struct net_addr addr;
    struct err_note note = {0};
    struct web_config config = WEB_CONFIG_DEFAULT;
    config.waiting_max = 2;
    memset(&fake, 0, sizeof(fake));
    closed = false;
    fake.shown = 10;
    fake.resource = 10;
    fake.edge.loop = test_loop();
    door = (struct web_door){.errors = WEB_ERRORS_PLAIN, .on_request = on_request};
    web_open(&web, &fake.edge, &config);
    web_mount(&web, BYTES_LITERAL("/"), &door);
    assert_int_equal(net_addr_make(BYTES_LITERAL("127.0.0.1"), 0, &addr), ERR_OK);
    assert_int_equal(http_server_listen(&web.server, &addr, false, &note), ERR_OK);
    addr = http_server_addr(&web.server, 0);
    port = net_addr_port(&addr);
    return 0;
}

static void close_web(void)
{
    web_close(&web, on_web_closed);
    LOOP_UNTIL(fake.edge.loop, closed);
}

static int tear_down(void **state)
{
    (void)state;
    if (!closed) {
        close_web();
    }
    assert_int_equal(fake.watch_count, 0);
    assert_int_equal(loop_active_count(fake.edge.loop), 0);
    loop_free(fake.edge.loop);
    return 0;
}

/* ---- clients --------------------------------------------------------------------------------- */

struct client {
    int fd;
    bool ended;
    size_t len;
    char text[2048];
};

static struct client ask(const char *path)
{
    struct net_addr addr;
    char head[128];
    struct client client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(net_addr_make(BYTES_LITERAL("127.0.0.1"), port, &addr), ERR_OK);
    assert_int_equal(connect(client.fd, &addr.sa.any, addr.len), 0);
    int len = snprintf(head, sizeof(head),
                       "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(send(client.fd, head, (size_t)len, MSG_NOSIGNAL), len);
    return client;
}

static bool has_ended(struct client *client)
{
    while (!client->ended) {
        ssize_t n = recv(client->fd, client->text + client->len,
                         sizeof(client->text) - 1 - client->len, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            return false;
        }
        client->ended = n <= 0;
        client->len += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void hang_up(struct client *client)
{
    assert_int_equal(close(client->fd), 0);
}

/* Waits for the end of the answer; it must have this part ("": no answer at all). */
static void expect(struct client *client, const char *part)
{
    LOOP_UNTIL(fake.edge.loop, has_ended(client));
    if (strstr(client->text, part) == NULL || (part[0] == '\0' && client->len > 0)) {
        fail_msg("wanted %s, got %s", part, client->text);
    }
    hang_up(client);
}

static void until_waiting(int64_t count)
{
    LOOP_UNTIL(fake.edge.loop, metric_gauge_get(&web.waiting) == count);
}

/* ---- reads ----------------------------------------------------------------------------------- */

static void read_answers_at_once_without_an_index(void **state)
{
    (void)state;
    struct client client = ask("/read");
    expect(&client, "index 10 shown 10");
}

static void wait_ends_when_the_index_has_grown(void **state)
{
    (void)state;
    struct client client = ask("/read?wait");
    until_waiting(1);
    assert_int_equal(fake.watch_count, 2);
    /* A change that leaves the index where it is does not end it. */
    fake.shown = 11;
    tell_change(11);
    LOOP_UNTIL(fake.edge.loop, metric_get(&web.woken) == 1);
    assert_int_equal(metric_gauge_get(&web.waiting), 1);
    fake.shown = 12;
    fake.resource = 12;
    tell_change(12);
    expect(&client, "index 12 shown 12");
    assert_int_equal(metric_gauge_get(&web.waiting), 0);
}

static void waiting_reads_share_one_look_per_turn(void **state)
{
    (void)state;
    struct client first = ask("/read?wait");
    struct client second = ask("/read?wait");
    until_waiting(2);
    uint32_t before = fake.reads;
    fake.shown = 11;
    fake.resource = 11;
    tell_change(11);
    tell_change(11);
    expect(&first, "index 11");
    expect(&second, "index 11");
    assert_int_equal(fake.reads, before + 1);
}

static void change_that_no_snapshot_shows_yet_is_looked_at_again(void **state)
{
    (void)state;
    struct client client = ask("/read?wait");
    until_waiting(1);
    tell_change(11); /* shown is still 10 */
    LOOP_UNTIL(fake.edge.loop, metric_get(&web.woken) >= 3);
    fake.shown = 11;
    fake.resource = 11; /* nobody tells again */
    expect(&client, "index 11 shown 11");
}

static void change_during_the_first_read_is_not_lost(void **state)
{
    (void)state;
    fake.hold_reads = true;
    struct client client = ask("/read?wait");
    LOOP_UNTIL(fake.edge.loop, fake.held_read != NULL);
    tell_change(11);
    show(fake.held_read); /* an old snapshot */
    assert_int_equal(metric_gauge_get(&web.waiting), 1);
    fake.shown = 11;
    fake.resource = 11;
    expect(&client, "index 11");
}

static void lost_changes_make_every_wait_look_again(void **state)
{
    (void)state;
    struct client client = ask("/read?wait");
    until_waiting(1);
    fake.shown = 11;
    fake.resource = 11;
    fake.listener->event(fake.listener, NODE_EVENT_LEADER);
    assert_int_equal(metric_get(&web.woken), 0);
    fake.listener->event(fake.listener, NODE_EVENT_LAGGED);
    expect(&client, "index 11");
}

static void stopping_node_answers_what_waits(void **state)
{
    (void)state;
    struct client client = ask("/read?wait");
    until_waiting(1);
    fake.listener->event(fake.listener, NODE_EVENT_STOPPING);
    expect(&client, "index 10");
}

static void too_many_waits_are_refused_as_busy(void **state)
{
    (void)state;
    struct client first = ask("/read?wait");
    struct client second = ask("/read?wait");
    until_waiting(2);
    struct client third = ask("/read?wait");
    expect(&third, "HTTP/1.1 429 ");
    hang_up(&first);
    hang_up(&second);
    until_waiting(0);
}

static void busy_says_when_to_come_back(void **state)
{
    (void)state;
    fake.watch_err = ERR_FULL;
    struct client client = ask("/read?wait");
    LOOP_UNTIL(fake.edge.loop, has_ended(&client));
    assert_non_null(strstr(client.text, "HTTP/1.1 429 "));
    assert_non_null(strstr(client.text, "Retry-After: 1\r\n"));
    expect(&client, "X-Flotilla-Reason: full\r\n");
}

static void read_without_a_leader_is_an_error(void **state)
{
    (void)state;
    fake.read_err = ERR_NO_LEADER;
    struct client client = ask("/read?wait");
    LOOP_UNTIL(fake.edge.loop, has_ended(&client));
    assert_non_null(strstr(client.text, "HTTP/1.1 500 "));
    expect(&client, "\r\n\r\nNo cluster leader");
}

static void client_that_left_takes_its_watches_along(void **state)
{
    (void)state;
    struct client client = ask("/read?wait");
    until_waiting(1);
    hang_up(&client);
    until_waiting(0);
    assert_int_equal(fake.watch_count, 0);
}

static void client_that_left_during_the_first_read_does_not_wait(void **state)
{
    (void)state;
    fake.hold_reads = true;
    struct client client = ask("/read?wait");
    LOOP_UNTIL(fake.edge.loop, fake.held_read != NULL);
    hang_up(&client);
    LOOP_UNTIL(fake.edge.loop, metric_get(&web.server.stats.gone) == 1);
    show(fake.held_read);
    assert_int_equal(metric_gauge_get(&web.waiting), 0);
    assert_int_equal(fake.watch_count, 0);
}

/* ---- writes ---------------------------------------------------------------------------------- */

static void expect_write(enum err err, const struct node_result *result, const char *part)
{
    fake.proposal = NULL;
    struct client client = ask("/write");
    LOOP_UNTIL(fake.edge.loop, fake.proposal != NULL);
    fake.proposal->done(fake.proposal, err, result);
    expect(&client, part);
}

static void write_is_answered_by_its_verdict(void **state)
{
    (void)state;
    struct node_result good = {.index = 5, .verdict = {.value = 7}};
    struct node_result bad = {.index = 5, .verdict = {.err = ERR_CONFLICT, .reason = "not so"}};
    struct node_result old = {.index = 5, .duplicate = true};
    expect_write(ERR_OK, &good, "value 7");
    expect_write(ERR_OK, &bad, "X-Flotilla-Reason: conflict\r\n");
    expect_write(ERR_OK, &bad, "\r\n\r\nnot so");
    expect_write(ERR_OK, &old, "the outcome is unknown");
    expect_write(ERR_UNKNOWN, NULL, "the outcome is unknown");
    expect_write(ERR_NO_LEADER, NULL, "No cluster leader");
    expect_write(ERR_FULL, NULL, "HTTP/1.1 429 ");
}

static void unknown_outcome_does_not_invite_to_try_again(void **state)
{
    (void)state;
    struct client client = ask("/write");
    LOOP_UNTIL(fake.edge.loop, fake.proposal != NULL);
    fake.proposal->done(fake.proposal, ERR_UNKNOWN, NULL);
    LOOP_UNTIL(fake.edge.loop, has_ended(&client));
    assert_null(strstr(client.text, "Retry-After"));
    expect(&client, "HTTP/1.1 500 ");
}

static void write_that_is_not_taken_is_refused(void **state)
{
    (void)state;
    fake.propose_err = ERR_FULL;
    struct client client = ask("/write");
    expect(&client, "HTTP/1.1 429 ");
}

static void write_goes_on_when_its_client_has_left(void **state)
{
    (void)state;
    struct node_result good = {.index = 5};
    struct client client = ask("/write");
    LOOP_UNTIL(fake.edge.loop, fake.proposal != NULL);
    hang_up(&client);
    LOOP_UNTIL(fake.edge.loop, metric_get(&web.server.stats.gone) == 1);
    assert_false(fake.cancelled);
    fake.proposal->done(fake.proposal, ERR_OK, &good);
}

/* ---- renewals -------------------------------------------------------------------------------- */

static void renewal_is_tried_again_while_that_helps(void **state)
{
    (void)state;
    fake.renew_answers[0] = ERR_FULL;
    fake.renew_answers[1] = ERR_TIMEOUT;
    fake.renew_answers[2] = ERR_NOT_FOUND;
    fake.renew_answers[3] = ERR_OK;
    struct client client = ask("/renew");
    expect(&client, "\r\n\r\nok");
    assert_int_equal(fake.renew_count, 4);
    assert_int_equal(fake.reads, 1); /* it caught up with the leader before it asked again */
}

static void missing_check_is_certain_after_catching_up(void **state)
{
    (void)state;
    fake.renew_answers[0] = ERR_NOT_FOUND;
    fake.renew_answers[1] = ERR_NOT_FOUND;
    struct client client = ask("/renew");
    expect(&client, "\r\n\r\nnot_found");
    assert_int_equal(fake.renew_count, 2);
}

static void missing_check_is_not_certain_without_a_leader(void **state)
{
    (void)state;
    fake.renew_answers[0] = ERR_NOT_FOUND;
    fake.read_err = ERR_NO_LEADER;
    struct client client = ask("/renew");
    expect(&client, "\r\n\r\nno_leader");
}

static void renewal_that_is_not_taken_is_told(void **state)
{
    (void)state;
    fake.renew_err = ERR_STOPPING;
    struct client client = ask("/renew");
    expect(&client, "\r\n\r\nstopping");
}

/* ---- the end --------------------------------------------------------------------------------- */

static void closing_gives_up_what_is_under_way(void **state)
{
    (void)state;
    struct client waiting = ask("/read?wait");
    until_waiting(1);
    struct client writing = ask("/write");
    LOOP_UNTIL(fake.edge.loop, fake.proposal != NULL);
    fake.hold_reads = true;
    struct client reading = ask("/read");
    LOOP_UNTIL(fake.edge.loop, fake.held_read != NULL);
    close_web();
    assert_true(fake.cancelled);
    assert_null(fake.proposal);
    assert_null(fake.held_read);
    assert_null(fake.listener);
    expect(&waiting, "");
    expect(&writing, "");
    expect(&reading, "");
}

#define OPS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        OPS_TEST(read_answers_at_once_without_an_index),
        OPS_TEST(wait_ends_when_the_index_has_grown),
        OPS_TEST(waiting_reads_share_one_look_per_turn),
        OPS_TEST(change_that_no_snapshot_shows_yet_is_looked_at_again),
        OPS_TEST(change_during_the_first_read_is_not_lost),
        OPS_TEST(lost_changes_make_every_wait_look_again),
        OPS_TEST(stopping_node_answers_what_waits),
        OPS_TEST(too_many_waits_are_refused_as_busy),
        OPS_TEST(busy_says_when_to_come_back),
        OPS_TEST(read_without_a_leader_is_an_error),
        OPS_TEST(client_that_left_takes_its_watches_along),
        OPS_TEST(client_that_left_during_the_first_read_does_not_wait),
        OPS_TEST(write_is_answered_by_its_verdict),
        OPS_TEST(unknown_outcome_does_not_invite_to_try_again),
        OPS_TEST(write_that_is_not_taken_is_refused),
        OPS_TEST(write_goes_on_when_its_client_has_left),
        OPS_TEST(renewal_is_tried_again_while_that_helps),
        OPS_TEST(missing_check_is_certain_after_catching_up),
        OPS_TEST(missing_check_is_not_certain_without_a_leader),
        OPS_TEST(renewal_that_is_not_taken_is_told),
        OPS_TEST(closing_gives_up_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
