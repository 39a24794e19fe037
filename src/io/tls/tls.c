/* Sessions over borrowed bytes: OpenSSL reads from the fed slice and writes into a buffer through
 * a BIO of our own, so nothing is copied that TLS itself does not copy. See tls.h. */
#include "tls/tls.h"

#include "tls/tls_priv.h"

#include "mem/mem.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

enum {
    RECORD_PLAIN = 16384,
    RECORD_OVERHEAD = 22, /* header, inner type, tag */
    KEY_UPDATE_BYTES = 64,
    TYPE_ALERT = 21,
    TYPE_HANDSHAKE = 22
};

/* What one who does not speak TLS hears: fatal, unexpected_message (RFC 8446, section 6). */
static const uint8_t ALERT_NOT_TLS[] = {TYPE_ALERT, 3, 3, 0, 2, 2, 10};

/* ---- the bytes below OpenSSL ----------------------------------------------------------------- */

int tls_bio_read(BIO *bio, char *dest, int size)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t count = size > 0 ? (size_t)size : 0;
    if (count > tls->wire.len) {
        count = tls->wire.len;
    }
    if (count == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(dest, tls->wire.data, count);
    tls->wire = bytes_from(tls->wire, count);
    return (int)count;
}

int tls_bio_write(BIO *bio, const char *from, int size)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0 || buf_append(tls->to, bytes_of(from, (size_t)size)) != ERR_OK) {
        tls->overflowed = size > 0;
        return -1;
    }
    return size;
}

long tls_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct tls *tls_new(struct tls_context *context, bool dials)
{
    struct tls *tls = mem_alloc(sizeof(*tls));
    tls->context = context;
    tls->dials = dials;
    buf_init(&tls->pending, TLS_PENDING_BYTES_MAX);
    tls->to = &tls->pending;
    tls->ssl = SSL_new(context->ssl_ctx);
    BIO *bio = BIO_new(context->bio_method);
    CHECK(tls->ssl != NULL && bio != NULL); /* out of memory is fatal here (base/mem) */
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_app_data(tls->ssl, tls);
    if (dials) {
        SSL_set_connect_state(tls->ssl);
        /* No certificate is trusted: one who has no key and shows one is refused. */
        SSL_set_verify(tls->ssl, SSL_VERIFY_PEER, NULL);
    } else {
        SSL_set_accept_state(tls->ssl);
    }
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_free(tls->ssl); /* and its BIO */
    buf_done(&tls->pending);
    mem_free(tls);
}

bool tls_is_open(const struct tls *tls)
{
    return tls->open && tls->failed == ERR_OK;
}

bool tls_has_pending(const struct tls *tls)
{
    return tls->pending.len > 0;
}

const uint8_t *tls_key_id(const struct tls *tls)
{
    return tls->has_key ? tls->key_id : NULL;
}

/* ---- what went wrong ------------------------------------------------------------------------- */

static enum err fail(struct tls *tls, enum err err, const char *text)
{
    tls->failed = err;
    tls->wire = (struct bytes){0};
    (void)snprintf(tls->reason, sizeof(tls->reason), "%s", text);
    return err;
}

static enum err fail_not_tls(struct tls *tls)
{
    return fail(tls, ERR_MISMATCH,
                tls->dials ? "the other side does not speak TLS: it runs without a secret"
                           : "it does not speak TLS: it runs without a secret, or is no node");
}

/* OpenSSL has failed; its oldest error is the cause. */
static enum err fail_by_library(struct tls *tls)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    ERR_clear_error();
    if (tls->overflowed) {
        return fail(tls, ERR_FULL, "it wants too much answered at once");
    }
    if (tls->open) {
        return fail(tls, ERR_BAD_INPUT, "a damaged or forged TLS record came");
    }
    if (reason == SSL_R_WRONG_VERSION_NUMBER) {
        return fail_not_tls(tls);
    }
    bool alert = reason >= SSL_AD_REASON_OFFSET;
    if (tls->dials && alert) {
        return fail(tls, ERR_DENIED, "the other side does not take this node's secret");
    }
    bool certificate = reason == SSL_R_CERTIFICATE_VERIFY_FAILED;
    if (!tls->dials && !tls->has_key) {
        return fail(tls, ERR_DENIED, "its secret is none of this node's");
    }
    if (certificate) {
        return fail(tls, ERR_DENIED, "the other side shows a certificate instead of the secret");
    }
    return fail(tls, ERR_BAD_INPUT, "the TLS handshake is malformed, or was changed on the way");
}

/* ---- reading --------------------------------------------------------------------------------- */

void tls_feed(struct tls *tls, struct bytes wire)
{
    CHECK(tls->wire.len == 0);
    if (tls->failed == ERR_OK) {
        tls->wire = wire;
    }
}

/* The very first byte tells TLS from anything else, before OpenSSL sees it. */
static bool begins_as_tls(struct tls *tls)
{
    if (tls->begun || tls->wire.len == 0) {
        return true;
    }
    tls->begun = true;
    uint8_t type = tls->wire.data[0];
    return type == TYPE_HANDSHAKE || (tls->dials && type == TYPE_ALERT);
}

static enum err shake(struct tls *tls)
{
    int rc = SSL_do_handshake(tls->ssl);
    if (rc != 1) {
        bool more = SSL_get_error(tls->ssl, rc) == SSL_ERROR_WANT_READ && tls->wire.len == 0;
        return more ? ERR_INCOMPLETE : fail_by_library(tls);
    }
    /* Without the key there would be no session to take up. Certificates cannot stand in: none is
     * trusted; this is the second lock on the same door. */
    if (SSL_session_reused(tls->ssl) != 1 || !tls->has_key) {
        return fail(tls, ERR_DENIED, "the other side has not proved that it has the secret");
    }
    tls->open = true;
    return ERR_OK;
}

static enum err read_once(struct tls *tls, struct bytes *ret_plain)
{
    if (tls->failed != ERR_OK) {
        return tls->failed;
    }
    if (!begins_as_tls(tls)) {
        enum err err =
            tls->dials ? ERR_OK
                       : buf_append(&tls->pending, bytes_of(ALERT_NOT_TLS, sizeof(ALERT_NOT_TLS)));
        CHECK(err == ERR_OK); /* nothing else is there yet */
        return fail_not_tls(tls);
    }
    ERR_clear_error();
    if (!tls->open) {
        enum err err = shake(tls);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (tls->wire.len == 0 && SSL_pending(tls->ssl) == 0) {
        return ERR_INCOMPLETE; /* OpenSSL would say the same, for a microsecond or two */
    }
    size_t got = 0;
    int rc = SSL_read_ex(tls->ssl, tls->context->plain, sizeof(tls->context->plain), &got);
    if (rc == 1) {
        *ret_plain = bytes_of(tls->context->plain, got);
        return ERR_OK;
    }
    int why = SSL_get_error(tls->ssl, rc);
    if (why == SSL_ERROR_WANT_READ && tls->wire.len == 0) {
        return ERR_INCOMPLETE;
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
        return fail(tls, ERR_CLOSED, "the other side has ended the session");
    }
    return fail_by_library(tls);
}

enum err tls_read(struct tls *tls, struct bytes *ret_plain, struct err_note *note)
{
    enum err err = read_once(tls, ret_plain);
    if (tls->failed != ERR_OK) {
        return err_note_set(note, err, "%s", tls->reason);
    }
    return err;
}

/* ---- writing --------------------------------------------------------------------------------- */

size_t tls_wire_bytes(size_t plain)
{
    return plain + (plain / RECORD_PLAIN + 1) * RECORD_OVERHEAD + KEY_UPDATE_BYTES +
           TLS_PENDING_BYTES_MAX;
}

static void count_records(struct tls *tls, size_t plain)
{
    tls->records += plain / RECORD_PLAIN + 1;
    /* 0: the other side has sent a part of a message of the protocol; the next write tries
     * again. */
    if (tls->records >= tls->context->records_per_key &&
        SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1) {
        tls->records = 0;
    }
}

enum err tls_write(struct tls *tls, struct bytes plain, struct buf *wire)
{
    if (buf_reserve(wire, tls->pending.len + tls_wire_bytes(plain.len) - TLS_PENDING_BYTES_MAX) !=
        ERR_OK) {
        return ERR_FULL;
    }
    enum err err = buf_append(wire, buf_bytes(&tls->pending));
    CHECK(err == ERR_OK); /* reserved */
    buf_clear(&tls->pending);
    if (plain.len == 0) {
        return ERR_OK;
    }
    if (tls->failed != ERR_OK) {
        return tls->failed;
    }
    CHECK(tls->open);
    ERR_clear_error();
    count_records(tls, plain.len);
    size_t written = 0;
    tls->to = wire;
    int rc = SSL_write_ex(tls->ssl, plain.data, plain.len, &written);
    tls->to = &tls->pending;
    return rc == 1 && written == plain.len ? ERR_OK : fail_by_library(tls);
}

void tls_end(struct tls *tls)
{
    if (tls_is_open(tls) && !tls->ended) {
        tls->ended = true;
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl); /* 0: the other side has not said so yet, which is no error */
    }
}
