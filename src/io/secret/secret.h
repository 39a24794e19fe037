/* The cluster secret: 256 random bits, their text form, and the file that holds one or two of them.
 *
 * Place: io; OpenSSL's HKDF inside. Whoever has the secret is a node of the cluster. It is made by
 * `flotilla secret new` and never thought up by a person: a pass-phrase could be guessed offline
 * from one recorded handshake. The secret itself encrypts nothing: each use has a key of its own,
 * derived with a label.
 *
 * Text, one line: "flotilla-secret-1:" + 64 hexadecimal digits + "-" + 8 of a checksum (CRC-32C of
 * all before the dash), so that a copying mistake is told from a wrong secret.
 *
 * File: the current secret in the first line; in a second one, during a rotation, the other secret
 * that is accepted too. Nothing else; it belongs to the user and nobody else may read it.
 *
 * Invariants:
 *   1. A ring has one or two different secrets; at[0] is the one to dial with, all are accepted.
 *   2. The file is replaced as a whole or not at all.
 *   3. No text of an error contains a part of a secret. */
#ifndef SECRET_SECRET_H
#define SECRET_SECRET_H

#include "bytes/bytes.h"
#include "err/err.h"

enum {
    SECRET_BYTES = 32,
    SECRET_TEXT_MAX = 96, /* with the terminating zero */
    SECRET_RING_MAX = 2,
    SECRET_FILE_BYTES_MAX = 1024
};

struct secret {
    uint8_t bytes[SECRET_BYTES];
};

struct secret_ring {
    uint32_t count; /* 0: there is no secret */
    struct secret at[SECRET_RING_MAX];
};

/* From the system's random numbers. */
void secret_make(struct secret *ret_secret);
/* Overwrites what the compiler would leave. */
void secret_forget(struct secret_ring *ring);

void secret_format(const struct secret *secret, char dest[SECRET_TEXT_MAX]);
/* One line without its end. ERR_BAD_INPUT: not of this form (the note says what to do instead of a
 * pass-phrase), ERR_CORRUPT: the checksum does not fit. */
ERR_CHECKED enum err secret_parse(struct bytes text, struct secret *ret_secret,
                                  struct err_note *note);

/* A key for one use: HKDF-SHA256 (RFC 5869) without salt, the label as info. size: at most 64. */
void secret_derive(const struct secret *secret, const char *label, uint8_t *ret_key, size_t size);

/* Reads a secret file. Refused with ERR_DENIED: others than its user may read or write it, it
 * belongs to somebody else, or it is no plain file. ERR_NOT_FOUND, ERR_BAD_INPUT, ERR_CORRUPT,
 * ERR_IO; the note names the file and the remedy. */
ERR_CHECKED enum err secret_file_read(const char *path, struct secret_ring *ret_ring,
                                      struct err_note *note);
/* Makes a new file (0600), durably. ERR_EXISTS, ERR_DENIED, ERR_NOT_FOUND, ERR_NO_SPACE, ERR_IO. */
ERR_CHECKED enum err secret_file_new(const char *path, const struct secret_ring *ring,
                                     struct err_note *note);
/* Replaces a file at once and durably: by "PATH.new", renamed. Errors as above. */
ERR_CHECKED enum err secret_file_replace(const char *path, const struct secret_ring *ring,
                                         struct err_note *note);

enum secret_step {
    SECRET_ADD,    /* a new secret is accepted too */
    SECRET_SWITCH, /* the second is dialled with, the first is still accepted */
    SECRET_DROP,   /* the second is not accepted any more */
};

/* One step of a rotation. ERR_CONFLICT: the ring has not the secrets for it; the note says why. */
ERR_CHECKED enum err secret_rotate(struct secret_ring *ring, enum secret_step step,
                                   struct err_note *note);

#endif
