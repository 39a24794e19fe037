/* TLS with a pre-shared key: both sides in memory, an attacker between them. */
#include "tls/tls.h"

#include "mem/mem.h"
#include "test.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

enum {
    ROOM = 8 * 1024 * 1024
};

struct side {
    struct tls_context *context;
    struct tls *tls;
    struct buf wire; /* what it has to send */
    struct buf got;  /* plain */
    enum err last;
    struct err_note note;
};

/* ---- helpers --------------------------------------------------------------------------------- */

static struct tls_keys keys_of(uint8_t first, uint8_t second)
{
    struct tls_keys keys = {.count = second == 0 ? 1 : 2};
    memset(keys.at[0].key, first, sizeof(keys.at[0].key));
    memset(keys.at[0].id, first + 100, sizeof(keys.at[0].id));
    memset(keys.at[1].key, second, sizeof(keys.at[1].key));
    memset(keys.at[1].id, second + 100, sizeof(keys.at[1].id));
    return keys;
}

static void side_init(struct side *side, bool dials, struct tls_keys keys, uint64_t per_key)
{
    *side = (struct side){.context = tls_context_new(&keys, per_key), .last = ERR_INCOMPLETE};
    side->tls = tls_new(side->context, dials);
    buf_init(&side->wire, ROOM);
    buf_init(&side->got, ROOM);
}

static void side_done(struct side *side)
{
    tls_free(side->tls);
    tls_context_free(side->context);
    buf_done(&side->wire);
    buf_done(&side->got);
}

/* Gives it bytes, takes everything that comes of them. */
static void give(struct side *side, struct bytes wire)
{
    struct bytes plain = {0};
    tls_feed(side->tls, wire);
    while ((side->last = tls_read(side->tls, &plain, &side->note)) == ERR_OK) {
        assert_int_equal(buf_append(&side->got, plain), ERR_OK);
    }
    assert_int_equal(tls_write(side->tls, (struct bytes){0}, &side->wire), ERR_OK);
}

/* Moves what waits from one to the other, in pieces of this size. */
static void pass(struct side *from, struct side *to, size_t piece)
{
    struct buf wire = from->wire;
    buf_init(&from->wire, ROOM);
    for (size_t at = 0; at < wire.len; at += piece) {
        size_t len = wire.len - at < piece ? wire.len - at : piece;
        give(to, bytes_of(wire.data + at, len));
    }
    buf_done(&wire);
}

static void talk(struct side *a, struct side *b, size_t piece)
{
    while (a->wire.len > 0 || b->wire.len > 0) {
        pass(a, b, piece);
        pass(b, a, piece);
    }
}

static void say(struct side *side, const void *data, size_t len)
{
    assert_int_equal(tls_write(side->tls, bytes_of(data, len), &side->wire), ERR_OK);
}

struct pair {
    struct side dials;
    struct side accepts;
};

static void pair_init(struct pair *pair, struct tls_keys dials, struct tls_keys accepts)
{
    side_init(&pair->dials, true, dials, 0);
    side_init(&pair->accepts, false, accepts, 0);
    give(&pair->dials, (struct bytes){0});
}

static void pair_done(struct pair *pair)
{
    side_done(&pair->dials);
    side_done(&pair->accepts);
}

static void pair_open(struct pair *pair)
{
    pair_init(pair, keys_of(1, 0), keys_of(1, 0));
    talk(&pair->dials, &pair->accepts, 4096);
    assert_true(tls_is_open(pair->dials.tls) && tls_is_open(pair->accepts.tls));
}

/* ---- with the key ---------------------------------------------------------------------------- */

static void who_has_the_key_is_let_in(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    say(&pair.dials, "ping", 4);
    assert_null(memmem(pair.dials.wire.data, pair.dials.wire.len, "ping", 4));
    say(&pair.accepts, "pong", 4);
    talk(&pair.dials, &pair.accepts, 4096);
    assert_memory_equal(pair.accepts.got.data, "ping", 4);
    assert_memory_equal(pair.dials.got.data, "pong", 4);
    assert_int_equal(tls_key_id(pair.accepts.tls)[0], 101);
    pair_done(&pair);
}

static void single_bytes_are_enough(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, keys_of(1, 0), keys_of(1, 0));
    talk(&pair.dials, &pair.accepts, 1);
    assert_true(tls_is_open(pair.dials.tls) && tls_is_open(pair.accepts.tls));
    say(&pair.dials, "in single bytes", 15);
    talk(&pair.dials, &pair.accepts, 1);
    assert_int_equal(pair.accepts.got.len, 15);
    pair_done(&pair);
}

/* During a rotation either key is accepted, the first is dialled with. */
static void the_next_key_is_accepted_too(void **state)
{
    (void)state;
    static const uint8_t CASES[][4] = {{1, 0, 1, 2}, {2, 0, 1, 2}, {1, 2, 2, 1}, {2, 1, 1, 2}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct pair pair;
        pair_init(&pair, keys_of(CASES[i][0], CASES[i][1]), keys_of(CASES[i][2], CASES[i][3]));
        talk(&pair.dials, &pair.accepts, 4096);
        assert_true(tls_is_open(pair.dials.tls) && tls_is_open(pair.accepts.tls));
        assert_int_equal(tls_key_id(pair.accepts.tls)[0], CASES[i][0] + 100);
        pair_done(&pair);
    }
}

static void new_keys_are_for_handshakes_to_come(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    struct tls_keys keys = keys_of(2, 0);
    tls_context_set_keys(pair.accepts.context, &keys);
    say(&pair.dials, "old", 3);
    talk(&pair.dials, &pair.accepts, 4096);
    assert_int_equal(pair.accepts.got.len, 3);
    struct side late = {0};
    side_init(&late, true, keys_of(1, 0), 0);
    tls_free(pair.accepts.tls);
    pair.accepts.tls = tls_new(pair.accepts.context, false);
    give(&late, (struct bytes){0});
    talk(&late, &pair.accepts, 4096);
    assert_int_equal(pair.accepts.last, ERR_DENIED);
    side_done(&late);
    pair_done(&pair);
}

static void much_passes_in_few_records(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    size_t size = 3 * 1024 * 1024 + 17;
    uint8_t *data = mem_alloc(size);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
    }
    say(&pair.dials, data, size);
    assert_true(pair.dials.wire.len <= size + (size / 16384 + 1) * 22);
    assert_true(pair.dials.wire.len <= tls_wire_bytes(size));
    talk(&pair.dials, &pair.accepts, 10007);
    assert_int_equal(pair.accepts.got.len, size);
    assert_memory_equal(pair.accepts.got.data, data, size);
    mem_free(data);
    pair_done(&pair);
}

/* Each direction by itself, while the other side writes too. */
static void keys_are_changed_on_the_way(void **state)
{
    (void)state;
    struct pair pair;
    side_init(&pair.dials, true, keys_of(1, 0), 3);
    side_init(&pair.accepts, false, keys_of(1, 0), 3);
    give(&pair.dials, (struct bytes){0});
    talk(&pair.dials, &pair.accepts, 4096);
    size_t plain = 0;
    for (int i = 0; i < 30; i++) {
        size_t before = pair.dials.wire.len;
        say(&pair.dials, "abc", 3);
        plain += pair.dials.wire.len - before == 3 + 22 ? 1 : 0;
        say(&pair.accepts, "defg", 4);
        if (i % 4 == 0) {
            talk(&pair.dials, &pair.accepts, 4096);
        }
    }
    talk(&pair.dials, &pair.accepts, 4096);
    assert_int_equal(plain, 20); /* every third brings a key update */
    assert_int_equal(pair.accepts.got.len, 90);
    assert_int_equal(pair.dials.got.len, 120);
    pair_done(&pair);
}

static void a_full_buffer_is_refused_before_anything_is_written(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    struct buf small;
    buf_init(&small, 100);
    uint8_t data[200] = {0};
    assert_int_equal(tls_write(pair.dials.tls, bytes_of(data, sizeof(data)), &small), ERR_FULL);
    assert_int_equal(small.len, 0);
    say(&pair.dials, data, sizeof(data));
    talk(&pair.dials, &pair.accepts, 4096);
    assert_int_equal(pair.accepts.got.len, sizeof(data));
    buf_done(&small);
    pair_done(&pair);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void an_end_in_order_is_told_from_a_cut(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    say(&pair.dials, "last words", 10);
    pass(&pair.dials, &pair.accepts, 4096);
    assert_int_equal(pair.accepts.last, ERR_INCOMPLETE); /* the connection may be cut here */
    say(&pair.dials, "lost words", 10);
    pair.dials.wire.len -= 3;
    pass(&pair.dials, &pair.accepts, 4096);
    assert_int_equal(pair.accepts.last, ERR_INCOMPLETE);
    assert_int_equal(pair.accepts.got.len, 10);
    tls_end(pair.accepts.tls);
    assert_true(tls_has_pending(pair.accepts.tls));
    give(&pair.accepts, (struct bytes){0});
    pass(&pair.accepts, &pair.dials, 4096);
    assert_int_equal(pair.dials.last, ERR_CLOSED);
    pair_done(&pair);
}

static void a_handshake_may_be_cut_anywhere(void **state)
{
    (void)state;
    struct side dials = {0};
    side_init(&dials, true, keys_of(1, 0), 0);
    give(&dials, (struct bytes){0});
    for (size_t len = 0; len < dials.wire.len; len++) {
        struct side accepts = {0};
        side_init(&accepts, false, keys_of(1, 0), 0);
        give(&accepts, bytes_of(dials.wire.data, len));
        assert_int_equal(accepts.last, ERR_INCOMPLETE);
        assert_false(tls_is_open(accepts.tls));
        side_done(&accepts);
    }
    side_done(&dials);
}

/* ---- without the key ------------------------------------------------------------------------- */

static void expect_denied(struct pair *pair)
{
    talk(&pair->dials, &pair->accepts, 4096);
    assert_false(tls_is_open(pair->dials.tls) || tls_is_open(pair->accepts.tls));
    assert_int_equal(pair->accepts.last, ERR_DENIED);
    assert_string_equal(pair->accepts.note.text, "its secret is none of this node's");
    assert_int_equal(pair->dials.last, ERR_DENIED);
    assert_string_equal(pair->dials.note.text, "the other side does not take this node's secret");
    assert_int_equal(pair->accepts.got.len + pair->dials.got.len, 0);
    pair_done(pair);
}

static void another_key_is_denied_on_both_sides(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, keys_of(1, 0), keys_of(2, 0));
    expect_denied(&pair);
    pair_init(&pair, keys_of(1, 2), keys_of(2, 0)); /* the second one is not dialled with */
    expect_denied(&pair);
}

/* Who knows the id, which is public, has not the key. */
static void an_id_without_its_key_is_worth_nothing(void **state)
{
    (void)state;
    struct tls_keys forged = keys_of(1, 0);
    forged.at[0].key[5] ^= 1;
    struct pair pair;
    pair_init(&pair, forged, keys_of(1, 0));
    talk(&pair.dials, &pair.accepts, 4096);
    assert_false(tls_is_open(pair.dials.tls) || tls_is_open(pair.accepts.tls));
    assert_true(pair.accepts.last == ERR_BAD_INPUT || pair.accepts.last == ERR_DENIED);
    assert_int_equal(pair.dials.last, ERR_DENIED);
    pair_done(&pair);
}

static void garbage_is_refused_at_its_first_byte(void **state)
{
    (void)state;
    for (int first = 0; first < 256; first++) {
        uint8_t garbage[64];
        memset(garbage, first, sizeof(garbage));
        for (int dials = 0; dials < 2; dials++) {
            struct side side = {0};
            side_init(&side, dials == 1, keys_of(1, 0), 0);
            give(&side, (struct bytes){0});
            buf_clear(&side.wire);
            give(&side, bytes_of(garbage, 1));
            bool tls = first == 22 || (first == 21 && dials == 1);
            assert_int_equal(side.last, tls ? ERR_INCOMPLETE : ERR_MISMATCH);
            give(&side, bytes_of(garbage, sizeof(garbage)));
            assert_int_equal(side.last, ERR_MISMATCH);
            if (!tls && dials == 0) {
                assert_int_equal(side.wire.len, 7); /* an alert */
                assert_int_equal(side.wire.data[0], 21);
            }
            side_done(&side);
        }
    }
}

static void a_huge_record_is_refused_by_its_header(void **state)
{
    (void)state;
    static const uint8_t HEADER[] = {22, 3, 1, 0xff, 0xff};
    struct side accepts = {0};
    side_init(&accepts, false, keys_of(1, 0), 0);
    give(&accepts, bytes_of(HEADER, sizeof(HEADER)));
    assert_true(accepts.last != ERR_OK && accepts.last != ERR_INCOMPLETE);
    side_done(&accepts);
    static const uint8_t DATA[] = {23, 3, 3, 0x41, 0x01}; /* 2^14 + 256 and one */
    struct pair pair;
    pair_open(&pair);
    give(&pair.accepts, bytes_of(DATA, sizeof(DATA)));
    assert_int_equal(pair.accepts.last, ERR_BAD_INPUT);
    pair_done(&pair);
}

/* Every byte of a record is guarded, and the session is dead afterwards. */
static void a_changed_record_is_not_given_out(void **state)
{
    (void)state;
    for (size_t at = 5; at < 22 + 7; at++) {
        struct pair pair;
        pair_open(&pair);
        say(&pair.dials, "payload", 7);
        assert_int_equal(pair.dials.wire.len, 22 + 7);
        pair.dials.wire.data[at] ^= 0x10;
        pass(&pair.dials, &pair.accepts, 4096);
        assert_int_equal(pair.accepts.last, ERR_BAD_INPUT);
        assert_int_equal(pair.accepts.got.len, 0);
        assert_false(tls_is_open(pair.accepts.tls));
        struct buf wire;
        buf_init(&wire, ROOM);
        assert_int_equal(tls_write(pair.accepts.tls, BYTES_LITERAL("x"), &wire), ERR_BAD_INPUT);
        buf_done(&wire);
        say(&pair.dials, "more", 4);
        pass(&pair.dials, &pair.accepts, 4096);
        assert_int_equal(pair.accepts.got.len, 0);
        pair_done(&pair);
    }
}

static void records_are_not_replayed_or_swapped(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    say(&pair.dials, "first!", 6);
    struct buf copy = pair.dials.wire;
    buf_init(&pair.dials.wire, ROOM);
    give(&pair.accepts, buf_bytes(&copy));
    assert_int_equal(pair.accepts.got.len, 6);
    give(&pair.accepts, buf_bytes(&copy));
    assert_int_equal(pair.accepts.last, ERR_BAD_INPUT);
    assert_int_equal(pair.accepts.got.len, 6);
    buf_done(&copy);
    pair_done(&pair);
}

/* ---- others who speak TLS -------------------------------------------------------------------- */

/* A server of the world, with a certificate and no idea of our key. */
static SSL *other_server(SSL_CTX **ret_ctx, X509 **ret_cert, EVP_PKEY **ret_key)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    assert_non_null(cert);
    assert_int_equal(X509_set_version(cert, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    SSL *ssl = SSL_new(ctx);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl);
    *ret_ctx = ctx;
    *ret_cert = cert;
    *ret_key = key;
    return ssl;
}

static void a_certificate_does_not_stand_in_for_the_key(void **state)
{
    (void)state;
    SSL_CTX *ctx = NULL;
    X509 *cert = NULL;
    EVP_PKEY *key = NULL;
    SSL *other = other_server(&ctx, &cert, &key);
    struct side dials = {0};
    side_init(&dials, true, keys_of(1, 0), 0);
    give(&dials, (struct bytes){0});
    assert_true(BIO_write(SSL_get_rbio(other), dials.wire.data, (int)dials.wire.len) > 0);
    assert_int_not_equal(SSL_do_handshake(other), 1);
    char *answer = NULL;
    long len = BIO_get_mem_data(SSL_get_wbio(other), &answer);
    assert_true(len > 300); /* it has answered with its certificate */
    give(&dials, bytes_of(answer, (size_t)len));
    assert_int_equal(dials.last, ERR_DENIED);
    assert_false(tls_is_open(dials.tls));
    SSL_free(other);
    SSL_CTX_free(ctx);
    X509_free(cert);
    EVP_PKEY_free(key);
    side_done(&dials);
}

static void a_client_without_a_key_is_denied(void **state)
{
    (void)state;
    static const int VERSIONS[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (size_t i = 0; i < 2; i++) {
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        assert_int_equal(SSL_CTX_set_max_proto_version(ctx, VERSIONS[i]), 1);
        SSL *other = SSL_new(ctx);
        SSL_set_bio(other, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        SSL_set_connect_state(other);
        assert_int_not_equal(SSL_do_handshake(other), 1);
        char *hello = NULL;
        long len = BIO_get_mem_data(SSL_get_wbio(other), &hello);
        struct side accepts = {0};
        side_init(&accepts, false, keys_of(1, 0), 0);
        give(&accepts, bytes_of(hello, (size_t)len));
        assert_int_equal(accepts.last, ERR_DENIED);
        SSL_free(other);
        SSL_CTX_free(ctx);
        side_done(&accepts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_the_key_is_let_in),
        cmocka_unit_test(single_bytes_are_enough),
        cmocka_unit_test(the_next_key_is_accepted_too),
        cmocka_unit_test(new_keys_are_for_handshakes_to_come),
        cmocka_unit_test(much_passes_in_few_records),
        cmocka_unit_test(keys_are_changed_on_the_way),
        cmocka_unit_test(a_full_buffer_is_refused_before_anything_is_written),
        cmocka_unit_test(an_end_in_order_is_told_from_a_cut),
        cmocka_unit_test(a_handshake_may_be_cut_anywhere),
        cmocka_unit_test(another_key_is_denied_on_both_sides),
        cmocka_unit_test(an_id_without_its_key_is_worth_nothing),
        cmocka_unit_test(garbage_is_refused_at_its_first_byte),
        cmocka_unit_test(a_huge_record_is_refused_by_its_header),
        cmocka_unit_test(a_changed_record_is_not_given_out),
        cmocka_unit_test(records_are_not_replayed_or_swapped),
        cmocka_unit_test(a_certificate_does_not_stand_in_for_the_key),
        cmocka_unit_test(a_client_without_a_key_is_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
