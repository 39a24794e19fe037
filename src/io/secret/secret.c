/* The secret itself: making, writing, reading, deriving, rotating. See secret.h. */
#include "secret/secret.h"

#include "crc/crc32c.h"
#include "process/process.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>

static const char PREFIX[] = "flotilla-secret-1:";

enum {
    PREFIX_LEN = sizeof(PREFIX) - 1,
    HEX_LEN = 2 * SECRET_BYTES,
    CRC_LEN = 8,
    TEXT_LEN = PREFIX_LEN + HEX_LEN + 1 + CRC_LEN
};

_Static_assert((int)TEXT_LEN < (int)SECRET_TEXT_MAX, "a secret's text fits");

void secret_make(struct secret *ret_secret)
{
    process_random(ret_secret->bytes, sizeof(ret_secret->bytes));
}

void secret_forget(struct secret_ring *ring)
{
    explicit_bzero(ring, sizeof(*ring));
}

void secret_format(const struct secret *secret, char dest[SECRET_TEXT_MAX])
{
    char *at = dest + PREFIX_LEN;
    memcpy(dest, PREFIX, PREFIX_LEN);
    for (int i = 0; i < SECRET_BYTES; i++, at += 2) {
        (void)snprintf(at, 3, "%02x", secret->bytes[i]);
    }
    uint32_t crc = crc32c(0, dest, PREFIX_LEN + HEX_LEN);
    (void)snprintf(at, 1 + CRC_LEN + 1, "-%08x", crc);
}

/* -1: not one of the digits that secret_format writes. */
static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum err read_hex(const uint8_t *text, size_t size, uint8_t *dest)
{
    for (size_t i = 0; i < size; i++) {
        int high = digit(text[2 * i]);
        int low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return ERR_BAD_INPUT;
        }
        dest[i] = (uint8_t)(high << 4 | low);
    }
    return ERR_OK;
}

enum err secret_parse(struct bytes text, struct secret *ret_secret, struct err_note *note)
{
    struct secret secret = {{0}};
    uint8_t sum[CRC_LEN / 2] = {0};
    bool begins = bytes_has_prefix(text, bytes_of(PREFIX, PREFIX_LEN));
    if (!begins) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "this is not a secret of Flotilla: pass-phrases are not taken, they "
                            "can be guessed; make one with \"flotilla secret new\"");
    }
    const uint8_t *hex = text.data + PREFIX_LEN;
    if (text.len != TEXT_LEN || hex[HEX_LEN] != '-' ||
        read_hex(hex, SECRET_BYTES, secret.bytes) != ERR_OK ||
        read_hex(hex + HEX_LEN + 1, sizeof(sum), sum) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "the secret is cut or changed: a line of \"flotilla secret new\" has "
                            "%d characters; copy it whole",
                            (int)TEXT_LEN);
    }
    if (get_u32_be(sum) != crc32c(0, text.data, PREFIX_LEN + HEX_LEN)) {
        return err_note_set(
            note, ERR_CORRUPT,
            "the secret's checksum is wrong: a character was changed; copy it anew");
    }
    *ret_secret = secret;
    return ERR_OK;
}

void secret_derive(const struct secret *secret, const char *label, uint8_t *ret_key, size_t size)
{
    CHECK(size > 0 && size <= 64);
    /* The machine's openssl.cnf has no say in it. */
    int ready = OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    CHECK(ready == 1);
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    CHECK(ctx != NULL); /* the library has it, or is broken */
    struct secret key = *secret;
    char digest[] = "SHA256";
    struct bytes info = bytes_of_str(label);
    char text[64];
    CHECK(info.len < sizeof(text));
    memcpy(text, label, info.len);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.bytes, sizeof(key.bytes)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, text, info.len),
        OSSL_PARAM_construct_end(),
    };
    int derived = EVP_KDF_derive(ctx, ret_key, size, params);
    CHECK(derived == 1);
    explicit_bzero(&key, sizeof(key));
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

enum err secret_rotate(struct secret_ring *ring, enum secret_step step, struct err_note *note)
{
    CHECK(ring->count >= 1 && ring->count <= SECRET_RING_MAX);
    if (step == SECRET_ADD) {
        if (ring->count == SECRET_RING_MAX) {
            return err_note_set(note, ERR_CONFLICT,
                                "there are two secrets already: a rotation is under way; finish it "
                                "with switch and drop, or call it off with drop");
        }
        secret_make(&ring->at[ring->count++]);
        return ERR_OK;
    }
    if (ring->count != SECRET_RING_MAX) {
        return err_note_set(note, ERR_CONFLICT,
                            "there is one secret only: a rotation begins with add");
    }
    if (step == SECRET_SWITCH) {
        struct secret first = ring->at[0];
        ring->at[0] = ring->at[1];
        ring->at[1] = first;
        explicit_bzero(&first, sizeof(first));
        return ERR_OK;
    }
    explicit_bzero(&ring->at[1], sizeof(ring->at[1]));
    ring->count = 1;
    return ERR_OK;
}
