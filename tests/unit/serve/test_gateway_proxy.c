/* What passes through the gateway: heads, framing, order, addresses. */
#include "gateway_rig.h"

#include <string.h>
#include <sys/socket.h>

/* What the gateway puts behind the passed fields of a request without any of its own. */
#define FORWARDED                                                                                  \
    "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n"             \
    "X-Request-Id: id-1\r\n"
#define GET "GET /x HTTP/1.1\r\nHost: h\r\nX-Request-Id: id-1\r\n\r\n"

static void a_request_is_rebuilt_for_the_instance(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "GET /a?q=%20 HTTP/1.1\r\nHost: Shop.example:81\r\nAccept: */*\r\n"
                     "Connection: keep-alive, X-Drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\n"
                     "TE: trailers\r\nX_Under: 1\r\nX-Service: web\r\nCookie: a=b\r\n"
                     "X-Forwarded-For: 10.1.1.1\r\nX-Forwarded-For: 10.2.2.2\r\n"
                     "X-Forwarded-Proto: https\r\nX-Forwarded-Host: other\r\nX-Real-IP: 1.1.1.1\r\n"
                     "Forwarded: for=1.1.1.1\r\nX-Request-Id: id-1\r\nX-Last: z\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_is(conn, "GET /a?q=%20 HTTP/1.1\r\nHost: Shop.example:81\r\nAccept: */*\r\n"
                  "Cookie: a=b\r\nX-Last: z\r\n"
                  "X-Forwarded-For: 10.1.1.1, 10.2.2.2, 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
                  "X-Forwarded-Host: Shop.example:81\r\nX-Request-Id: id-1\r\n\r\n");
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "ok");
    rig_close();
}

static void an_answer_is_rebuilt_for_the_client(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(conn,
             "HTTP/1.1 299 Fine thing\r\nServer: s\r\nDate: D\r\nConnection: keep-alive, X-Hop\r\n"
             "X-Hop: 1\r\nKeep-Alive: timeout=5\r\nX_Kept: 1\r\nX-Request-Id: theirs\r\n"
             "Content-Length: 3\r\n\r\nabc");
    peer_is(client, "HTTP/1.1 299 Fine thing\r\nServer: s\r\nDate: D\r\nX_Kept: 1\r\n"
                    "Content-Length: 3\r\nX-Request-Id: id-1\r\n\r\nabc");
    rig_close();
}

static void an_answer_without_a_date_gets_one(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    peer_say(origin_request(0, 0, "\r\n\r\n"), "HTTP/1.1 204 No Content\r\n\r\n");
    peer_wait(client, " GMT\r\nX-Request-Id: id-1\r\n\r\n");
    assert_true(peer_has(client, "HTTP/1.1 204 No Content\r\nDate: "));
    rig_close();
}

/* Enough turns for one byte to go all the way. */
static void step(void)
{
    for (int i = 0; i < 4; i++) {
        loop_turn(rig.loop, 0);
        rig_poll();
    }
}

static void messages_may_come_byte_by_byte(void **state)
{
    (void)state;
    static const char request[] =
        "POST /x HTTP/1.1\r\nHost: h\r\nX-Request-Id: id-1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\n"
        "T: 1\r\n\r\n";
    static const char answer[] = "HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\n\r\n"
                                 "2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n";
    rig_open(1);
    struct peer *client = rig_client();
    for (size_t i = 0; request[i] != '\0'; i++) {
        peer_send(client, request + i, 1);
        step();
    }
    struct peer *conn = origin_request(0, 0, "0\r\n\r\n");
    peer_is(conn,
            "POST /x HTTP/1.1\r\nHost: h\r\n" FORWARDED
            "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n"
            "0\r\n\r\n");
    for (size_t i = 0; answer[i] != '\0'; i++) {
        peer_send(conn, answer + i, 1);
        step();
    }
    peer_is(client, "HTTP/1.1 200 OK\r\nDate: D\r\nX-Request-Id: id-1\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1\r\ny\r\n1\r\nz\r\n0\r\n\r\n");
    rig_close();
}

static void both_sides_are_kept_alive(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    for (size_t i = 1; i <= 3; i++) {
        peer_say(client, GET);
        struct peer *conn = origin_conn(0, 0);
        peer_wait_count(conn, "\r\n\r\n", i);
        peer_say(conn, OK_ANSWER);
        peer_wait_count(client, "\r\n\r\nok", i);
    }
    assert_int_equal(rig_stats().connects, 1);
    assert_int_equal(rig_stats().reuses, 2);
    assert_int_equal(rig_stats().buffers, 0);
    rig_close();
}

/* The first connection of one of the first two origins, if it has got this text. */
static struct peer *conn_with(const char *text)
{
    for (size_t n = 0; n < 2; n++) {
        struct origin *origin = &rig.origins[n];
        if (origin->count > 0 && peer_has(&origin->conns[0], text)) {
            return &origin->conns[0];
        }
    }
    return NULL;
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    rig_open(2);
    struct peer *client = rig_client();
    peer_say(client, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\n"
                     "Content-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: h\r\n\r\n");
    for (size_t i = 1; i <= 3; i++) {
        char path[] = " /0 ";
        char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0";
        path[2] = (char)('0' + (char)i);
        answer[sizeof(answer) - 2] = path[2];
        struct peer *conn = NULL;
        RIG_UNTIL((conn = conn_with(path)) != NULL && (i != 2 || peer_has(conn, "abc")));
        rig_settle();
        path[2]++;
        assert_null(conn_with(path));
        peer_say(conn, answer);
    }
    peer_wait(client, "\r\n\r\n3");
    const char *first = strstr(client->text, "\r\n\r\n1");
    assert_true(first != NULL && strstr(first, "\r\n\r\n2") != NULL);
    rig_close();
}

static void answers_without_body_end_with_their_head(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "HEAD /x HTTP/1.1\r\nHost: h\r\nX-Request-Id: id-1\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 1000\r\n\r\n");
    peer_is(client,
            "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 1000\r\nX-Request-Id: id-1\r\n\r\n");
    peer_say(client, GET);
    peer_wait_count(conn, "\r\n\r\n", 2);
    peer_say(conn, "HTTP/1.1 304 Not Modified\r\nDate: D\r\nContent-Length: 5\r\n\r\n");
    peer_wait(client, "HTTP/1.1 304 Not Modified\r\nDate: D\r\nContent-Length: 5\r\n");
    peer_say(client, GET);
    peer_wait_count(conn, "\r\n\r\n", 3);
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    assert_int_equal(rig_stats().connects, 1);
    rig_close();
}

static void bodies_with_a_length_pass_with_it(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client,
             "PUT /x HTTP/1.1\r\nHost: h\r\nX-Request-Id: id-1\r\nContent-Length: 6\r\n\r\nabc");
    struct peer *conn = origin_request(0, 0, "\r\n\r\nabc");
    peer_say(client, "def");
    peer_is(conn, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n" FORWARDED "\r\nabcdef");
    peer_say(conn, "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 6\r\n\r\nuvw");
    peer_wait(client, "uvw");
    peer_say(conn, "xyz");
    peer_is(client,
            "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 6\r\nX-Request-Id: id-1\r\n\r\nuvwxyz");
    rig_close();
}

static void an_answer_that_ends_with_its_connection_becomes_chunked(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nDate: D\r\n\r\nabc");
    peer_wait(client, "\r\nabc\r\n");
    peer_close(conn);
    peer_is(client, "HTTP/1.1 200 OK\r\nDate: D\r\nX-Request-Id: id-1\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    peer_say(client, GET);
    conn = origin_request(0, 1, "\r\n\r\n");
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    rig_close();
}

static void an_http_1_0_client_gets_no_chunks(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\nX-Request-Id: id-1\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_is(conn, "GET /x HTTP/1.1\r\nHost: \r\nX-Forwarded-For: 127.0.0.1\r\n"
                  "X-Forwarded-Proto: http\r\nX-Request-Id: id-1\r\n\r\n");
    peer_say(
        conn,
        "HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    peer_wait_end(client);
    assert_true(client->ended);
    assert_string_equal(client->text, "HTTP/1.1 200 OK\r\nDate: D\r\nX-Request-Id: id-1\r\n"
                                      "Connection: close\r\n\r\nabc");
    rig_close();
}

static void an_http_1_0_client_may_keep_its_connection(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    for (size_t i = 1; i <= 2; i++) {
        peer_say(client, "GET /x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
        struct peer *conn = origin_conn(0, 0);
        peer_wait_count(conn, "\r\n\r\n", i);
        peer_say(conn, OK_ANSWER);
        peer_wait_count(client, "Connection: keep-alive\r\n\r\nok", i);
    }
    peer_say(client, "GET /x HTTP/1.0\r\nHost: h\r\n\r\n");
    peer_wait_count(origin_conn(0, 0), "\r\n\r\n", 3);
    peer_say(origin_conn(0, 0), OK_ANSWER);
    peer_wait(client, "Connection: close\r\n\r\nok");
    peer_wait_end(client);
    rig_close();
}

static void a_client_that_waits_for_100_gets_it_from_the_gateway(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client,
             "POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    peer_is(client, "HTTP/1.1 100 Continue\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    assert_false(peer_has(conn, "Expect"));
    peer_say(client, "abc");
    peer_wait(conn, "\r\n\r\nabc");
    /* The instance's own 100 is not passed on. */
    peer_say(conn,
             "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    assert_false(peer_has(client, "Early"));
    peer_clear(client);
    /* On a pooled connection, and with the body already there: no 100 is needed. */
    peer_say(client,
             "POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc");
    peer_wait_count(conn, "\r\n\r\nabc", 2);
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    assert_false(peer_has(client, "100 Continue"));
    rig_close();
}

static void an_early_answer_ends_both_connections(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc");
    struct peer *conn = origin_request(0, 0, "\r\n\r\nabc");
    peer_say(conn, "HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno");
    peer_wait(client, "Connection: close\r\n\r\nno");
    peer_wait_end(client);
    peer_wait_end(conn);
    rig_close();
}

static void an_absolute_target_is_taken_apart(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "GET http://real.example:99/p?q HTTP/1.1\r\nHost: other\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    assert_true(peer_has(conn, "GET /p?q HTTP/1.1\r\nHost: real.example:99\r\n"));
    assert_true(peer_has(conn, "X-Forwarded-Host: real.example:99\r\n"));
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "ok");
    peer_say(client, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_wait(conn, "OPTIONS * HTTP/1.1\r\nHost: h\r\n");
    peer_say(conn, OK_ANSWER);
    peer_wait_count(client, "ok", 2);
    peer_say(client, "GET http://real.example?q HTTP/1.1\r\nHost: other\r\n\r\n");
    peer_wait(conn, "GET /?q HTTP/1.1\r\nHost: real.example\r\n");
    rig_close();
}

static void request_ids_are_kept_when_sound_and_made_when_not(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    static const char *const bad[] = {"X-Request-Id: a b\r\n", "X-Request-Id: \r\n", "",
                                      "X-Request-Id: a\r\nX-Request-Id: b\r\n",
                                      "X-Request-Id: a\"b\r\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        peer_clear(client);
        peer_say(client, "GET /x HTTP/1.1\r\nHost: h\r\n");
        peer_say(client, bad[i]);
        peer_say(client, "\r\n");
        struct peer *conn = origin_request(0, 0, "\r\n\r\n");
        const char *id = strstr(conn->text, "X-Request-Id: ");
        assert_non_null(id);
        char line[64] = {0};
        memcpy(line, id, strcspn(id, "\r"));
        assert_int_equal(strlen(line), strlen("X-Request-Id: ") + 32);
        assert_null(strstr(id + 1, "X-Request-Id"));
        peer_clear(conn);
        peer_say(conn, OK_ANSWER);
        peer_wait(client, "ok");
        assert_true(peer_has(client, line));
    }
    rig_close();
}

static void the_path_is_normalised_once_and_routed_so(void **state)
{
    (void)state;
    static const char *const routes[] = {"*", "/api", "web", NULL};
    rig_open(1);
    rig_routes(routes);
    struct peer *client = rig_client();
    peer_say(client, "GET /x/../%61pi/./y%2fz?a=../b HTTP/1.1\r\nHost: h\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    assert_true(peer_has(conn, "GET /api/y%2Fz?a=../b HTTP/1.1\r\n"));
    rig_close();
}

static void routes_choose_by_host_and_path_and_follow_changes(void **state)
{
    (void)state;
    static const char *const routes[] = {"*",    "/",    "web", "*", "/api", "api", "shop.example",
                                         "/api", "shop", NULL};
    static const char *const later[] = {"*", "/", "api", NULL};
    static const size_t one[] = {1};
    static const size_t two[] = {2};
    rig_open(1);
    rig_routes(routes);
    rig_service("api", one, 1);
    rig_service("shop", two, 1);
    struct peer *client = rig_client();
    peer_say(client, "GET /apix HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_say(origin_request(0, 0, "/apix"), OK_ANSWER);
    peer_wait_count(client, "ok", 1);
    peer_say(client, "GET /api/x HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_say(origin_request(1, 0, "/api/x"), OK_ANSWER);
    peer_wait_count(client, "ok", 2);
    peer_say(client, "GET /api/x HTTP/1.1\r\nHost: SHOP.example:8080\r\n\r\n");
    peer_say(origin_request(2, 0, "/api/x"), OK_ANSWER);
    peer_wait_count(client, "ok", 3);
    rig_routes(later);
    peer_say(client, "GET /other HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    peer_say(origin_request(1, 0, "/other"), OK_ANSWER);
    peer_wait_count(client, "ok", 4);
    rig_close();
}

static void a_service_may_be_addressed_by_name(void **state)
{
    (void)state;
    static const size_t two[] = {2};
    rig_open(1);
    rig_service("billing", two, 1);
    struct peer *client = rig_client();
    peer_say(client, "GET /x HTTP/1.1\r\nHost: h\r\nX-Service: Billing\r\n\r\n");
    struct peer *conn = origin_request(2, 0, "\r\n\r\n");
    assert_false(peer_has(conn, "X-Service"));
    rig_close();
}

static void a_client_that_asks_for_close_is_closed_after_its_answer(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    peer_say(origin_request(0, 0, "\r\n\r\n"), OK_ANSWER);
    peer_wait(client, "Connection: close\r\n\r\nok");
    peer_wait_end(client);
    assert_int_equal(rig_stats().upstreams_idle, 1);
    rig_close();
}

static void a_client_that_has_finished_sending_gets_its_answer(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    assert_int_equal(shutdown(client->fd, SHUT_WR), 0);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    rig_settle();
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "ok");
    peer_wait_end(client);
    assert_true(client->ended);
    rig_close();
}

static void a_client_that_leaves_ends_its_request(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_reset(client);
    peer_wait_end(conn);
    assert_non_null(strstr(rig_log(), "\"status\":0,\"reason\":\"client_closed\""));
    /* In the middle of its body, FIN is enough. */
    client = rig_client();
    peer_say(client, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    conn = origin_request(0, 1, "abc");
    peer_close(client);
    peer_wait_end(conn);
    assert_int_equal(rig_stats().upstreams, 0);
    rig_close();
}

static void every_request_has_a_line_in_the_log(void **state)
{
    (void)state;
    static const char request[] =
        "GET /p?secret=1 HTTP/1.1\r\nHost: h:1\r\nX-Request-Id: id-1\r\n\r\n";
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, request);
    peer_say(origin_request(0, 0, "\r\n\r\n"), OK_ANSWER);
    peer_wait(client, "ok");
    char address[NET_ADDR_TEXT_MAX];
    char expected[256];
    (void)snprintf(expected, sizeof(expected),
                   "\"request_id\":\"id-1\",\"client\":\"127.0.0.1\",\"method\":\"GET\","
                   "\"host\":\"h:1\",\"path\":\"/p\",\"status\":200,\"reason\":\"\","
                   "\"service\":\"web\",\"endpoint\":\"%s\",\"duration_us\":",
                   net_addr_format(&rig.origins[0].addr, address));
    const char *line = strstr(rig_log(), expected);
    assert_non_null(line);
    (void)snprintf(expected, sizeof(expected),
                   ",\"bytes_in\":%zu,\"bytes_out\":%zu,\"retries\":0}\n", strlen(request),
                   client->len);
    assert_non_null(strstr(line, expected));
    assert_null(strstr(rig_log(), "secret"));
    rig_close();
}

/* Both instances are asked for the first time: the connection is not a pooled one. */
static struct peer *ask_one_that_dies(struct peer *client, const char *request, size_t *ret_other)
{
    peer_say(client, request);
    RIG_UNTIL(rig.origins[0].count + rig.origins[1].count > 0);
    size_t number = rig.origins[0].count > 0 ? 0 : 1;
    peer_close(origin_request(number, 0, "\r\n\r\n"));
    *ret_other = 1 - number;
    return client;
}

static void the_death_of_an_instance_is_not_seen_by_idempotent_requests(void **state)
{
    (void)state;
    size_t other = 0;
    rig_open(2);
    struct peer *client = ask_one_that_dies(rig_client(), GET, &other);
    peer_say(origin_request(other, 0, "GET /x"), OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    assert_int_equal(rig_stats().retries, 1);
    rig_close();
    rig_open(2);
    client = ask_one_that_dies(rig_client(), "POST /x HTTP/1.1\r\nHost: h\r\n\r\n", &other);
    peer_wait(client, "X-Flotilla-Reason: upstream_closed");
    assert_int_equal(rig_stats().retries, 0);
    rig_close();
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_rebuilt_for_the_instance),
        cmocka_unit_test(an_answer_is_rebuilt_for_the_client),
        cmocka_unit_test(an_answer_without_a_date_gets_one),
        cmocka_unit_test(messages_may_come_byte_by_byte),
        cmocka_unit_test(both_sides_are_kept_alive),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(answers_without_body_end_with_their_head),
        cmocka_unit_test(bodies_with_a_length_pass_with_it),
        cmocka_unit_test(an_answer_that_ends_with_its_connection_becomes_chunked),
        cmocka_unit_test(an_http_1_0_client_gets_no_chunks),
        cmocka_unit_test(an_http_1_0_client_may_keep_its_connection),
        cmocka_unit_test(a_client_that_waits_for_100_gets_it_from_the_gateway),
        cmocka_unit_test(an_early_answer_ends_both_connections),
        cmocka_unit_test(an_absolute_target_is_taken_apart),
        cmocka_unit_test(request_ids_are_kept_when_sound_and_made_when_not),
        cmocka_unit_test(the_path_is_normalised_once_and_routed_so),
        cmocka_unit_test(routes_choose_by_host_and_path_and_follow_changes),
        cmocka_unit_test(a_service_may_be_addressed_by_name),
        cmocka_unit_test(a_client_that_asks_for_close_is_closed_after_its_answer),
        cmocka_unit_test(a_client_that_has_finished_sending_gets_its_answer),
        cmocka_unit_test(a_client_that_leaves_ends_its_request),
        cmocka_unit_test(every_request_has_a_line_in_the_log),
        cmocka_unit_test(the_death_of_an_instance_is_not_seen_by_idempotent_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
