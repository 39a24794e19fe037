/* Routes: rules of form, commands and rows.
 *
 * Place: core; see route.h. Bodies (after version u8 = 1):
 *   put:    id blob | service blob | path blob | host count u8 | host blobs
 *   remove: id blob */
#include "route/route.h"

#include "check/check.h"

enum {
    ROW_VERSION = 1
};

/* ---- rules of form --------------------------------------------------------------------------- */

static bool is_letter_or_digit(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool id_ok(struct bytes id)
{
    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.data[i];
        if (!is_letter_or_digit(c) && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return id.len > 0;
}

static bool service_ok(struct bytes service)
{
    for (size_t i = 0; i < service.len; i++) {
        if (service.data[i] < ' ' || service.data[i] == 0x7f) {
            return false;
        }
    }
    return service.len > 0;
}

/* Labels of letters, digits, - and _, none of them empty (RFC 952, RFC 1123 section 2.1; the
 * underscore as in SRV names). */
static bool labels_ok(struct bytes name)
{
    bool empty = true;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        if (c == '.') {
            if (empty) {
                return false;
            }
            empty = true;
        } else if (is_letter_or_digit(c) || c == '-' || c == '_') {
            empty = false;
        } else {
            return false;
        }
    }
    return !empty;
}

static const char *host_fault(struct bytes host)
{
    if (bytes_eq_str(host, "*")) {
        return NULL;
    }
    bool wildcard = bytes_has_prefix(host, BYTES_LITERAL("*."));
    if (!labels_ok(wildcard ? bytes_from(host, 2) : host)) {
        return "a host must be a name, \"*.\" and a name, or \"*\", without a port";
    }
    return NULL;
}

/* The element that ends at `end` is "." or "..", or empty. */
static bool element_bad(struct bytes path, size_t start, size_t end)
{
    struct bytes element = bytes_of(path.data + start, end - start);
    return element.len == 0 || bytes_eq_str(element, ".") || bytes_eq_str(element, "..");
}

static const char *path_fault(struct bytes path)
{
    if (path.len == 0) {
        return NULL;
    }
    if (path.data[0] != '/') {
        return "a path must begin with \"/\"";
    }
    size_t start = 1;
    for (size_t i = 1; i < path.len; i++) {
        uint8_t c = path.data[i];
        if (c <= ' ' || c >= 0x7f || c == '?' || c == '#') {
            return "a path must be printable ASCII without blanks, \"?\" and \"#\"";
        }
        if (c == '/') {
            if (element_bad(path, start, i)) {
                return "a path may not have empty, \".\" or \"..\" elements";
            }
            start = i + 1;
        }
    }
    if (start < path.len && element_bad(path, start, path.len)) {
        return "a path may not have empty, \".\" or \"..\" elements";
    }
    return NULL;
}

static const char *size_fault(const struct route *route)
{
    if (route->id.len > ROUTE_ID_MAX) {
        return "a route's id has at most 128 bytes";
    }
    if (route->service.len > ROUTE_SERVICE_MAX) {
        return "a service's name has at most 128 bytes";
    }
    if (route->path.len > ROUTE_PATH_MAX) {
        return "a path has at most 1024 bytes";
    }
    if (route->host_count > ROUTE_HOSTS_MAX) {
        return "a route has at most 16 hosts";
    }
    for (uint32_t i = 0; i < route->host_count; i++) {
        if (route->hosts[i].len > ROUTE_HOST_MAX) {
            return "a host has at most 253 bytes";
        }
    }
    return NULL;
}

static const char *form_fault(const struct route *route)
{
    if (!id_ok(route->id)) {
        return "a route's id must be letters, digits, \"-\", \"_\" and \".\"";
    }
    if (!service_ok(route->service)) {
        return "a route needs the name of a service";
    }
    const char *fault = path_fault(route->path);
    for (uint32_t i = 0; fault == NULL && i < route->host_count; i++) {
        fault = host_fault(route->hosts[i]);
    }
    return fault;
}

enum err route_check(const struct route *route, const char **ret_reason)
{
    const char *fault = size_fault(route);
    if (fault != NULL) {
        *ret_reason = fault;
        return ERR_TOO_LARGE;
    }
    fault = form_fault(route);
    if (fault != NULL) {
        *ret_reason = fault;
        return ERR_BAD_INPUT;
    }
    return ERR_OK;
}

/* ---- bodies and rows ------------------------------------------------------------------------- */

static void write_lower(struct writer *w, struct bytes text)
{
    write_varint(w, text.len);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        write_u8(w, c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c);
    }
}

/* Everything but id and indices, in the form in which it is stored. */
static void write_rest(struct writer *w, const struct route *route)
{
    write_lower(w, route->service);
    write_blob(w, route->path.len == 0 ? BYTES_LITERAL("/") : route->path);
    write_u8(w, route->host_count == 0 ? 1 : (uint8_t)route->host_count);
    for (uint32_t i = 0; i < route->host_count; i++) {
        write_lower(w, route->hosts[i]);
    }
    if (route->host_count == 0) {
        write_blob(w, BYTES_LITERAL("*"));
    }
}

static void read_rest(struct reader *r, struct route *ret_route)
{
    size_t most = reader_left(r);
    ret_route->service = read_blob(r, most);
    ret_route->path = read_blob(r, most);
    uint8_t count = read_u8(r);
    ret_route->host_count = count;
    for (uint32_t i = 0; i < count && i < ROUTE_HOSTS_MAX; i++) {
        ret_route->hosts[i] = read_blob(r, most);
    }
}

enum err route_put_encode(const struct route *route, struct buf *to)
{
    const char *reason = NULL;
    enum err err = route_check(route, &reason);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_blob(&w, route->id);
    write_rest(&w, route);
    return w.err;
}

enum err route_remove_encode(struct bytes id, struct buf *to)
{
    if (id.len > ROUTE_ID_MAX || !id_ok(id)) {
        return id.len > ROUTE_ID_MAX ? ERR_TOO_LARGE : ERR_BAD_INPUT;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_blob(&w, id);
    return w.err;
}

static enum err row_encode(const struct route *route, struct buf *to)
{
    struct writer w = writer_of(to);
    write_u8(&w, ROW_VERSION);
    write_u64(&w, route->create_index);
    write_u64(&w, route->modify_index);
    write_rest(&w, route);
    return w.err;
}

static enum err row_decode(struct bytes key, struct bytes value, struct route *ret_route)
{
    struct reader r = reader_of(value);
    uint8_t version = read_u8(&r);
    ret_route->id = key;
    ret_route->create_index = read_u64(&r);
    ret_route->modify_index = read_u64(&r);
    read_rest(&r, ret_route);
    bool ok = version == ROW_VERSION && apply_body_whole(&r) && ret_route->host_count > 0 &&
              ret_route->host_count <= ROUTE_HOSTS_MAX;
    return ok ? ERR_OK : ERR_CORRUPT;
}

/* ---- reads ----------------------------------------------------------------------------------- */

enum err route_get(struct table_txn *txn, struct bytes id, struct route *ret_route)
{
    struct bytes value;
    enum err err = table_get(txn, TABLE_ROUTES, id, &value);
    return err == ERR_OK ? row_decode(id, value, ret_route) : err;
}

struct each {
    route_visit_fn *visit;
    void *context;
};

static enum err visit_row(void *context, struct bytes key, struct bytes value)
{
    const struct each *each = context;
    struct route route;
    enum err err = row_decode(key, value, &route);
    return err == ERR_OK ? each->visit(each->context, &route) : err;
}

enum err route_each(struct table_txn *txn, route_visit_fn *visit, void *context)
{
    struct each each = {.visit = visit, .context = context};
    return table_each(txn, TABLE_ROUTES, (struct bytes){NULL, 0}, visit_row, &each);
}

enum err route_index(struct table_txn *txn, uint64_t *ret_index)
{
    return apply_area_index(txn, APPLY_AREA_ROUTES, ret_index);
}

/* ---- commands -------------------------------------------------------------------------------- */

static enum err count_row(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    uint32_t *count = context;
    (*count)++;
    return ERR_OK;
}

/* Whether another route may be added; looks at all, which are few and change seldom. */
static enum err has_room(struct apply *a, bool *ret_room)
{
    uint32_t count = 0;
    enum err err = table_each(a->txn, TABLE_ROUTES, (struct bytes){NULL, 0}, count_row, &count);
    if (err == ERR_OK) {
        *ret_room = count < ROUTE_COUNT_MAX;
    }
    return err;
}

static enum err store(struct apply *a, const struct route *route)
{
    buf_clear(a->record);
    enum err err = row_encode(route, a->record);
    if (err == ERR_OK) {
        err = apply_put(a, TABLE_ROUTES, route->id, buf_bytes(a->record));
    }
    a->result->value = 1;
    return err == ERR_OK ? apply_area_bump(a, APPLY_AREA_ROUTES) : err;
}

/* Whether the stored row says the same as the route with the row's own indices. */
static enum err unchanged(struct apply *a, const struct route *route, bool *ret_same)
{
    buf_clear(a->record);
    enum err err = row_encode(route, a->record);
    struct bytes row = {NULL, 0};
    if (err == ERR_OK) {
        err = table_get(a->txn, TABLE_ROUTES, route->id, &row);
    }
    if (err == ERR_OK) {
        *ret_same = bytes_eq(row, buf_bytes(a->record));
    }
    return err;
}

static enum err do_put(struct apply *a, struct route *route)
{
    struct route old;
    enum err err = route_get(a->txn, route->id, &old);
    bool room = true;
    bool same = false;
    if (err == ERR_NOT_FOUND) {
        route->create_index = a->index;
        err = has_room(a, &room);
    } else if (err == ERR_OK) {
        route->create_index = old.create_index;
        route->modify_index = old.modify_index;
        err = unchanged(a, route, &same);
    }
    if (err != ERR_OK || same) {
        return err;
    }
    if (!room) {
        return apply_refuse(a, ERR_FULL, "the route table is full");
    }
    route->modify_index = a->index;
    return store(a, route);
}

static enum err apply_route_put(struct apply *a, struct reader *r)
{
    struct route route = {.id = read_blob(r, reader_left(r))};
    read_rest(r, &route);
    if (!apply_body_whole(r)) {
        return apply_refuse(a, ERR_BAD_INPUT, "the route command is malformed");
    }
    const char *reason = NULL;
    enum err err = route_check(&route, &reason);
    return err == ERR_OK ? do_put(a, &route) : apply_refuse(a, err, reason);
}

static enum err apply_route_remove(struct apply *a, struct reader *r)
{
    struct bytes id = read_blob(r, reader_left(r));
    if (!apply_body_whole(r)) {
        return apply_refuse(a, ERR_BAD_INPUT, "the route command is malformed");
    }
    struct route old;
    enum err err = id.len > ROUTE_ID_MAX ? ERR_NOT_FOUND : route_get(a->txn, id, &old);
    if (err == ERR_NOT_FOUND) {
        return apply_refuse_about(a, ERR_NOT_FOUND, "there is no such route", id);
    }
    if (err == ERR_OK) {
        err = apply_delete(a, TABLE_ROUTES, id);
    }
    a->result->value = 1;
    return err == ERR_OK ? apply_area_bump(a, APPLY_AREA_ROUTES) : err;
}

enum err route_apply(struct apply *a, uint16_t kind, struct bytes body)
{
    struct reader r;
    enum err err = apply_body_open(body, &r);
    if (err != ERR_OK) {
        return err;
    }
    switch (kind) {
    case ROUTE_CMD_PUT:
        return apply_route_put(a, &r);
    case ROUTE_CMD_REMOVE:
        return apply_route_remove(a, &r);
    default:
        return ERR_UNSUPPORTED;
    }
}
