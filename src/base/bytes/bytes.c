/* Byte slices: comparing, searching, copying.
 *
 * Place: base. memcmp and its kin may not be given a null pointer even for no bytes (C17 7.24.1),
 * so every function here handles the empty slice first. */
#include "bytes/bytes.h"

bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_eq_str(struct bytes a, const char *text)
{
    return bytes_eq(a, bytes_of_str(text));
}

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

bool bytes_eq_nocase(struct bytes a, struct bytes b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

bool bytes_has_prefix(struct bytes slice, struct bytes prefix)
{
    return slice.len >= prefix.len && bytes_eq((struct bytes){slice.data, prefix.len}, prefix);
}

size_t bytes_find(struct bytes slice, uint8_t byte)
{
    if (slice.len == 0) {
        return 0;
    }
    const uint8_t *found = memchr(slice.data, byte, slice.len);
    return found == NULL ? slice.len : (size_t)(found - slice.data);
}

enum err bytes_to_cstr(struct bytes slice, char *dest, size_t dest_size)
{
    CHECK(dest != NULL);
    if (slice.len >= dest_size) {
        return ERR_TOO_LARGE;
    }
    if (slice.len > 0) {
        memcpy(dest, slice.data, slice.len);
    }
    dest[slice.len] = '\0';
    return ERR_OK;
}
