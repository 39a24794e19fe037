/* Inside of TLS: the context and its sessions.
 *
 * Place: io/tls, private. tls_context.c says what handshakes are allowed, tls.c moves bytes. */
#ifndef TLS_TLS_PRIV_H
#define TLS_TLS_PRIV_H

#include "tls/tls.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

struct tls_context {
    SSL_CTX *ssl_ctx;
    BIO_METHOD *bio_method;
    struct tls_keys keys;
    uint64_t records_per_key;
    uint8_t plain[16 * 1024]; /* the record that was read last, of any session */
};

struct tls {
    struct tls_context *context;
    SSL *ssl;
    struct bytes wire;  /* fed and not read yet */
    struct buf pending; /* what the protocol wants to say by itself */
    struct buf *to;     /* where OpenSSL writes: pending, or tls_write's buffer */
    uint64_t records;   /* written with the current key, at least */
    bool dials;
    bool begun; /* the first byte was looked at */
    bool open;
    bool has_key;
    bool overflowed;
    bool ended; /* we have said so */
    enum err failed;
    char reason[96];
    uint8_t key_id[TLS_ID_BYTES];
};

/* tls.c: the BIO's functions, as OpenSSL wants them */
int tls_bio_read(BIO *bio, char *dest, int size);
int tls_bio_write(BIO *bio, const char *from, int size);
long tls_bio_ctrl(BIO *bio, int command, long number, void *pointer);

#endif
