/* Which handshakes are allowed, and the keys for them. See tls.h. */
#include "tls/tls_priv.h"

#include "mem/mem.h"

#include <openssl/ssl.h>
#include <sys/auxv.h>

enum {
    RECORDS_PER_KEY = 1 << 22 /* a sixth of what RFC 8446, 5.5 gives AES-GCM */
};

/* TLS_AES_128_GCM_SHA256; of a key only the hash of its suite counts, and both have SHA-256. */
static const uint8_t SUITE[] = {0x13, 0x01};

static void use_key(struct tls *tls, const struct tls_key *key)
{
    tls->has_key = true;
    memcpy(tls->key_id, key->id, sizeof(tls->key_id));
}

/* The key in the form in which OpenSSL takes it; owned by the caller. NULL: out of memory. */
static SSL_SESSION *session_of(SSL *ssl, const struct tls_key *key)
{
    SSL_SESSION *session = SSL_SESSION_new();
    const SSL_CIPHER *suite = SSL_CIPHER_find(ssl, SUITE);
    if (session == NULL || suite == NULL ||
        SSL_SESSION_set1_master_key(session, key->key, sizeof(key->key)) != 1 ||
        SSL_SESSION_set_cipher(session, suite) != 1 ||
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1) {
        SSL_SESSION_free(session);
        return NULL;
    }
    return session;
}

/* The one who dials offers the current key. */
static int on_offer(SSL *ssl, const EVP_MD *digest, const unsigned char **ret_id,
                    size_t *ret_id_len, SSL_SESSION **ret_session)
{
    (void)digest;
    struct tls *tls = SSL_get_app_data(ssl);
    const struct tls_key *key = &tls->context->keys.at[0];
    use_key(tls, key);
    *ret_session = session_of(ssl, key);
    *ret_id = tls->key_id;
    *ret_id_len = sizeof(tls->key_id);
    return *ret_session != NULL ? 1 : 0;
}

/* The one who accepts looks for the offered key. None: OpenSSL goes on without and finds that there
 * is no certificate either. */
static int on_find(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **ret_session)
{
    struct tls *tls = SSL_get_app_data(ssl);
    const struct tls_keys *keys = &tls->context->keys;
    *ret_session = NULL;
    for (uint32_t i = 0; i < keys->count; i++) {
        if (id_len == sizeof(keys->at[i].id) && memcmp(id, keys->at[i].id, id_len) == 0) {
            use_key(tls, &keys->at[i]);
            *ret_session = session_of(ssl, &keys->at[i]);
            return *ret_session != NULL ? 1 : 0;
        }
    }
    return 1;
}

/* Without the instructions AES is slow and may leak by its timing. */
static bool has_aes(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("aes") != 0;
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
    return false;
#endif
}

static void allow(SSL_CTX *ctx)
{
    bool aes = has_aes();
    char groups[] = "X25519"; /* OpenSSL's macro drops const */
    int ok = SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
             SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
             SSL_CTX_set1_groups_list(ctx, groups) == 1 &&
             SSL_CTX_set_ciphersuites(ctx, aes ? "TLS_AES_128_GCM_SHA256:"
                                                 "TLS_CHACHA20_POLY1305_SHA256"
                                               : "TLS_CHACHA20_POLY1305_SHA256:"
                                                 "TLS_AES_128_GCM_SHA256") == 1 &&
             SSL_CTX_set_num_tickets(ctx, 0) == 1;
    CHECK(ok); /* the library can all this, or is not OpenSSL 3 */
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_psk_use_session_callback(ctx, on_offer);
    SSL_CTX_set_psk_find_session_callback(ctx, on_find);
}

struct tls_context *tls_context_new(const struct tls_keys *keys, uint64_t records_per_key)
{
    struct tls_context *context = mem_alloc(sizeof(*context));
    tls_context_set_keys(context, keys);
    context->records_per_key = records_per_key != 0 ? records_per_key : RECORDS_PER_KEY;
    /* The machine's openssl.cnf has no say in what is allowed here. */
    int rc = OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    CHECK(rc == 1);
    context->ssl_ctx = SSL_CTX_new(TLS_method());
    context->bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "bytes");
    CHECK(context->ssl_ctx != NULL && context->bio_method != NULL);
    allow(context->ssl_ctx);
    rc = BIO_meth_set_read(context->bio_method, tls_bio_read) == 1 &&
         BIO_meth_set_write(context->bio_method, tls_bio_write) == 1 &&
         BIO_meth_set_ctrl(context->bio_method, tls_bio_ctrl) == 1;
    CHECK(rc == 1);
    return context;
}

void tls_context_set_keys(struct tls_context *context, const struct tls_keys *keys)
{
    CHECK(keys->count >= 1 && keys->count <= TLS_KEYS_MAX);
    context->keys = *keys;
}

void tls_context_free(struct tls_context *context)
{
    if (context == NULL) {
        return;
    }
    SSL_CTX_free(context->ssl_ctx);
    BIO_meth_free(context->bio_method);
    explicit_bzero(&context->keys, sizeof(context->keys));
    mem_free(context);
}
