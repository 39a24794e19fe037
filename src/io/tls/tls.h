/* TLS 1.3 with a pre-shared key, over bytes: what arrived goes in, what has to be sent comes out.
 *
 * Place: io; the protocol is OpenSSL's. No sockets: the owner of a connection feeds received bytes,
 * takes the plain ones, and sends what tls_write appended. One context per thread; sessions belong
 * to their context.
 *
 *   tls_feed(wire) -> tls_read() until it is not ERR_OK -> tls_write(plain) -> send
 *
 * Handshake (RFC 8446): TLS 1.3 only, external PSK with a fresh X25519 exchange (psk_dhe_ke, so a
 * key that leaks later does not open what was recorded), AES-128-GCM, or ChaCha20-Poly1305 first on
 * a processor without AES. No certificates, no tickets, no early data. The identity that is sent in
 * the clear is the key's id, which says nothing about the key.
 *
 * Invariants:
 *   1. Nothing plain is given out or taken before the other side has proved that it has the key.
 *   2. The key is a cryptographic secret (256 random bits), else a recorded handshake could be
 *      searched for it.
 *   3. Memory of a session is bounded: OpenSSL's record buffers, and at most TLS_PENDING_BYTES_MAX
 *      that the protocol wants to say by itself. Input is borrowed, never stored but for the record
 *      that is not whole yet (at most 16 KiB and its overhead).
 *   4. A direction's key is changed (KeyUpdate) long before AES-GCM's limit (RFC 8446, 5.5).
 *   5. After an error the session is dead: each later call gives the same error. */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include "bytes/bytes.h"
#include "err/err.h"

struct tls_context;
struct tls;

enum {
    TLS_KEY_BYTES = 32,
    TLS_ID_BYTES = 16,
    TLS_KEYS_MAX = 2,
    TLS_PENDING_BYTES_MAX = 64 * 1024
};

struct tls_key {
    uint8_t id[TLS_ID_BYTES]; /* the identity: public */
    uint8_t key[TLS_KEY_BYTES];
};

/* at[0] is dialled with, all are accepted. */
struct tls_keys {
    uint32_t count; /* 1 to TLS_KEYS_MAX */
    struct tls_key at[TLS_KEYS_MAX];
};

/* Owned by the caller; keys are copied. records_per_key: after how many records a direction's key
 * is changed; 0: 2^22. */
struct tls_context *tls_context_new(const struct tls_keys *keys, uint64_t records_per_key);
/* For the handshakes to come; sessions that are open stay as they are. */
void tls_context_set_keys(struct tls_context *context, const struct tls_keys *keys);
/* Its sessions are freed. Accepts NULL. */
void tls_context_free(struct tls_context *context);

/* One side of a connection; owned by the caller. */
struct tls *tls_new(struct tls_context *context, bool dials);
/* Accepts NULL. */
void tls_free(struct tls *tls);

/* The next received bytes, borrowed until tls_read does not return ERR_OK. Those before were
 * consumed. */
void tls_feed(struct tls *tls, struct bytes wire);
/* Goes on with the handshake and decrypts. ERR_OK: plain bytes, borrowed until the next call with
 * this context; call again. Otherwise the input is consumed:
 *   ERR_INCOMPLETE  more is needed; there may be something to send (tls_has_pending);
 *   ERR_CLOSED      the other side has ended the session in order;
 *   ERR_MISMATCH    the other side does not speak TLS;
 *   ERR_DENIED      it has not the key, or does not take ours;
 *   ERR_BAD_INPUT   what came is malformed or was changed on the way;
 *   ERR_FULL        it wants more answered than TLS_PENDING_BYTES_MAX.
 * The note has a sentence for all but the first two. The one who dials calls it once with no input
 * to begin. */
ERR_CHECKED enum err tls_read(struct tls *tls, struct bytes *ret_plain, struct err_note *note);
/* Whether the handshake is done: plain bytes may be written, the other side has the key. */
bool tls_is_open(const struct tls *tls);
/* Whether tls_write without plain bytes would append something. */
bool tls_has_pending(const struct tls *tls);
/* Appends to `wire` what the protocol has to say and then the plain bytes, encrypted, in records of
 * up to 16 KiB. plain is empty unless the session is open. ERR_FULL: `wire` has no room, nothing
 * was done (see tls_wire_bytes); or the session's error. */
ERR_CHECKED enum err tls_write(struct tls *tls, struct bytes plain, struct buf *wire);
/* The most bytes that tls_write may append for so many plain ones. */
size_t tls_wire_bytes(size_t plain);
/* Says that nothing more will be written (it goes out with the next tls_write, the last). Does
 * nothing when the session is not open, or at the second call. */
void tls_end(struct tls *tls);
/* The id of the key in use; valid from the moment it is chosen, else NULL. */
const uint8_t *tls_key_id(const struct tls *tls);

#endif
