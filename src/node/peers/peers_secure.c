/* The seam between a connection's frames and the network when the cluster has a secret: TLS.
 *
 * Place: node/peers. With a secret every connection, in both directions and on both channels, is
 * TLS from its first byte; nothing of our protocol is parsed before the other side has proved that
 * it has the secret. Without one, frames go out as they are, and one who speaks TLS is recognised
 * by its first two bytes, only to tell it (and this node's status) why it is refused.
 *
 * Frames are collected in out[filling] as always. With TLS, peers_secure_seal encrypts a part of
 * them into the other buffer, which is what is sent. */
#include "peers/peers_priv.h"

#include "check/check.h"
#include "secret/secret.h"

#include <stdio.h>

enum {
    TLS_ALERT = 21,
    TLS_HANDSHAKE = 22,
    TLS_MAJOR = 3
};

/* ---- keys ------------------------------------------------------------------------------------ */

/* The labels make them keys for this use only; the id tells nothing about the key. */
static struct tls_keys keys_of(const struct secret_ring *ring)
{
    CHECK(ring->count <= TLS_KEYS_MAX);
    struct tls_keys keys = {.count = ring->count};
    for (uint32_t i = 0; i < ring->count; i++) {
        secret_derive(&ring->at[i], "flotilla 1 peers tls key", keys.at[i].key, TLS_KEY_BYTES);
        secret_derive(&ring->at[i], "flotilla 1 peers tls id", keys.at[i].id, TLS_ID_BYTES);
    }
    return keys;
}

void peers_secure_init(struct peers *peers, const struct secret_ring *ring)
{
    if (ring == NULL || ring->count == 0) {
        return;
    }
    struct tls_keys keys = keys_of(ring);
    peers->tls = tls_context_new(&keys, 0);
    explicit_bzero(&keys, sizeof(keys));
}

static bool has_key(const struct tls_keys *keys, const uint8_t *id)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        if (memcmp(keys->at[i].id, id, TLS_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

void peers_set_secret(struct peers *peers, const struct secret_ring *ring)
{
    CHECK(peers->tls != NULL && ring->count > 0);
    struct tls_keys keys = keys_of(ring);
    tls_context_set_keys(peers->tls, &keys);
    LIST_FOREACH (link, &peers->conns) {
        struct peers_conn *conn = CONTAINER_OF(link, struct peers_conn, link_all);
        const uint8_t *id = conn->tls != NULL ? tls_key_id(conn->tls) : NULL;
        if (id != NULL && !has_key(&keys, id)) {
            if (conn->link != NULL) {
                conn->link->backoff = 0; /* nobody has failed: it is dialled again at once */
            }
            peers_conn_drop(conn, "its secret is not accepted any more");
        }
    }
    explicit_bzero(&keys, sizeof(keys));
}

/* ---- refusing -------------------------------------------------------------------------------- */

/* Of a stranger one knows the machine only. The peers of that machine that are missed show the
 * reason in their status, marked as what it is. */
static void note_machine(struct peers_conn *conn, const char *reason)
{
    struct peers *peers = conn->peers;
    struct net_addr from;
    char ip[NET_IP_TEXT_MAX];
    char peer_ip[NET_IP_TEXT_MAX];
    if (tcp_peer_addr(&conn->tcp, &from) != ERR_OK) {
        return;
    }
    (void)net_ip_format(&from, ip);
    for (uint32_t i = 0; i < peers->peer_count; i++) {
        struct peers_peer *peer = &peers->peers[i];
        bool missed = !peer->up && peer->id < peers->self && peer->addr.len > 0;
        if (missed && strcmp(net_ip_format(&peer->addr, peer_ip), ip) == 0) {
            char text[ERR_NOTE_MAX];
            (void)snprintf(text, sizeof(text), "a connection from its machine: %s", reason);
            peers_note_refusal(peer, text);
        }
    }
}

static void refuse(struct peers_conn *conn, const char *reason)
{
    if (conn->link != NULL) {
        peers_note_refusal(conn->link->peer, reason);
    } else {
        peers_log_stranger(conn->peers, conn->from, reason);
        note_machine(conn, reason);
    }
    peers_conn_refuse(conn, reason);
}

bool peers_secure_meets_tls(struct peers_conn *conn, struct bytes data)
{
    if (conn->state != PEERS_GREETING || conn->in.len + data.len < 2) {
        return false;
    }
    uint8_t type = conn->in.len > 0 ? conn->in.data[0] : data.data[0];
    uint8_t major = conn->in.len > 1 ? conn->in.data[1] : data.data[1 - conn->in.len];
    /* As the length of a frame it would be over 768, more than a hello may have. */
    if ((type != TLS_ALERT && type != TLS_HANDSHAKE) || major != TLS_MAJOR) {
        return false;
    }
    refuse(conn, conn->dialled
                     ? "the other side has a secret and this node none: give --secret-file FILE"
                     : "it has a secret and this node none: give --secret-file FILE");
    return true;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

void peers_secure_begin(struct peers_conn *conn)
{
    if (conn->peers->tls == NULL) {
        return;
    }
    conn->tls = tls_new(conn->peers->tls, conn->dialled);
    if (conn->dialled) {
        peers_secure_receive(conn, (struct bytes){0});
    }
}

void peers_secure_receive(struct peers_conn *conn, struct bytes data)
{
    struct bytes plain = {0};
    struct err_note note = {{0}};
    tls_feed(conn->tls, data);
    enum err err = tls_read(conn->tls, &plain, &note);
    while (err == ERR_OK && !conn->closing && conn->state != PEERS_REFUSING) {
        peers_conn_take(conn, plain);
        err = conn->closing ? ERR_CLOSED : tls_read(conn->tls, &plain, &note);
    }
    if (conn->closing || conn->state == PEERS_REFUSING) {
        return;
    }
    if (err == ERR_INCOMPLETE) {
        peers_conn_flush(conn);
    } else if (err == ERR_CLOSED || conn->state == PEERS_OPEN) {
        peers_conn_drop(conn, note.text);
    } else {
        char reason[ERR_NOTE_MAX + 32];
        bool about_secret = err == ERR_DENIED || err == ERR_MISMATCH;
        (void)snprintf(reason, sizeof(reason), "%s%s", note.text,
                       about_secret ? " (--secret-file)" : "");
        refuse(conn, reason);
    }
}

bool peers_secure_can_say(const struct peers_conn *conn)
{
    return conn->tls == NULL || tls_is_open(conn->tls);
}

bool peers_secure_has_more(const struct peers_conn *conn)
{
    return conn->tls != NULL && tls_has_pending(conn->tls);
}

void peers_secure_end(struct peers_conn *conn)
{
    if (conn->tls != NULL) {
        tls_end(conn->tls);
    }
}

struct buf *peers_secure_seal(struct peers_conn *conn)
{
    struct buf *frames = &conn->out[conn->filling];
    struct buf *wire = &conn->out[1 - conn->filling];
    CHECK(wire->len == 0 && !conn->sending);
    struct bytes part = bytes_from(buf_bytes(frames), conn->sealed);
    if (!tls_is_open(conn->tls)) {
        part.len = 0;
    } else if (part.len > PEERS_SEAL_BYTES) {
        part.len = PEERS_SEAL_BYTES;
    }
    enum err err = tls_write(conn->tls, part, wire);
    if (err != ERR_OK) {
        buf_clear(wire);
        peers_conn_drop(conn, err_text(err));
        return wire;
    }
    conn->sealed += part.len;
    /* Moved when at least as much was sealed as is left, so that each byte moves once at most. */
    if (conn->sealed == frames->len) {
        buf_clear(frames);
        if (frames->cap > PEERS_KEEP_BYTES) {
            buf_done(frames);
        }
        conn->sealed = 0;
    } else if (conn->sealed >= frames->len - conn->sealed) {
        buf_consume(frames, conn->sealed);
        conn->sealed = 0;
    }
    return wire;
}
