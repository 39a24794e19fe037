/* Registry: names of enum values and the rules of form for instances and checks.
 *
 * Place: core; see registry.h. The same rules hold for what doors take in, for what commands carry
 * and for what rows contain. */
#include "registry/registry_priv.h"

enum {
    /* Intervals and the like: no more than a year. */
    DURATION_MAX_S = 366 * 24 * 3600
};

const char *registry_status_name(enum registry_status status)
{
    switch (status) {
    case REGISTRY_PASSING:
        return "passing";
    case REGISTRY_WARNING:
        return "warning";
    case REGISTRY_CRITICAL:
        return "critical";
    default:
        return "unknown";
    }
}

bool registry_status_parse(struct bytes name, enum registry_status *ret_status)
{
    static const enum registry_status all[] = {REGISTRY_PASSING, REGISTRY_WARNING,
                                               REGISTRY_CRITICAL};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (bytes_eq_str(name, registry_status_name(all[i]))) {
            *ret_status = all[i];
            return true;
        }
    }
    return false;
}

const char *registry_check_type_name(enum registry_check_type type)
{
    switch (type) {
    case REGISTRY_CHECK_NONE:
        return "";
    case REGISTRY_CHECK_TTL:
        return "ttl";
    case REGISTRY_CHECK_HTTP:
        return "http";
    case REGISTRY_CHECK_TCP:
        return "tcp";
    default:
        return "unknown";
    }
}

static bool no_controls(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < ' ' || text.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool no_blanks(struct bytes text)
{
    return no_controls(text) && bytes_find(text, ' ') == text.len;
}

bool registry_id_ok(struct bytes id, size_t max)
{
    return id.len > 0 && id.len <= max && no_controls(id);
}

static const char *instance_size_fault(const struct registry_instance *i)
{
    if (i->service.len > REGISTRY_NAME_MAX) {
        return "a service's name has at most 128 bytes";
    }
    if (i->id.len > REGISTRY_ID_MAX) {
        return "an instance's id has at most 255 bytes";
    }
    if (i->address.len > REGISTRY_ADDRESS_MAX) {
        return "an address has at most 255 bytes";
    }
    if (i->tag_count > REGISTRY_TAGS_MAX) {
        return "an instance has at most 64 tags";
    }
    if (i->meta_count > REGISTRY_META_MAX) {
        return "an instance has at most 64 pairs of metadata";
    }
    if (i->tagged_count > REGISTRY_TAGGED_MAX) {
        return "an instance has at most 8 tagged addresses";
    }
    if (i->weight_passing > REGISTRY_WEIGHT_MAX || i->weight_warning > REGISTRY_WEIGHT_MAX) {
        return "a weight is at most 65535";
    }
    if (i->kind.len > REGISTRY_KIND_MAX) {
        return "a service's kind has at most 32 bytes";
    }
    return i->document.len > REGISTRY_DOCUMENT_MAX ? "a registration has at most 65536 bytes"
                                                   : NULL;
}

static const char *element_size_fault(const struct registry_instance *i)
{
    for (uint32_t n = 0; n < i->tag_count; n++) {
        if (i->tags[n].len > REGISTRY_TAG_MAX) {
            return "a tag has at most 255 bytes";
        }
    }
    for (uint32_t n = 0; n < i->meta_count; n++) {
        if (i->meta[n].key.len > REGISTRY_META_KEY_MAX) {
            return "a metadata key has at most 128 bytes";
        }
        if (i->meta[n].value.len > REGISTRY_META_VALUE_MAX) {
            return "a metadata value has at most 512 bytes";
        }
    }
    for (uint32_t n = 0; n < i->tagged_count; n++) {
        if (i->tagged[n].tag.len > REGISTRY_TAG_MAX ||
            i->tagged[n].address.len > REGISTRY_ADDRESS_MAX) {
            return "a tagged address and its tag have at most 255 bytes";
        }
    }
    return NULL;
}

static const char *instance_form_fault(const struct registry_instance *i)
{
    if (i->node == 0) {
        return "an instance needs a node";
    }
    if (!registry_id_ok(i->service, REGISTRY_NAME_MAX)) {
        return "a service needs a name without control characters";
    }
    if (!registry_id_ok(i->id, REGISTRY_ID_MAX)) {
        return "an instance needs an id without control characters";
    }
    if (!no_blanks(i->address)) {
        return "an address may not have blanks or control characters";
    }
    for (uint32_t n = 0; n < i->meta_count; n++) {
        if (!registry_id_ok(i->meta[n].key, REGISTRY_META_KEY_MAX)) {
            return "a metadata key must not be empty or have control characters";
        }
    }
    for (uint32_t n = 0; n < i->tagged_count; n++) {
        if (!registry_id_ok(i->tagged[n].tag, REGISTRY_TAG_MAX) ||
            !no_blanks(i->tagged[n].address)) {
            return "a tagged address needs a tag, and no blanks or control characters";
        }
    }
    return i->origin == REGISTRY_ORIGIN_CONSUL ? NULL : "the origin is not known";
}

enum err registry_instance_check(const struct registry_instance *instance, const char **ret_reason)
{
    const char *fault = instance_size_fault(instance);
    if (fault == NULL) {
        fault = element_size_fault(instance);
    }
    if (fault != NULL) {
        *ret_reason = fault;
        return ERR_TOO_LARGE;
    }
    fault = instance_form_fault(instance);
    if (fault != NULL) {
        *ret_reason = fault;
        return ERR_BAD_INPUT;
    }
    return ERR_OK;
}

static const char *check_size_fault(const struct registry_check *c)
{
    if (c->id.len > REGISTRY_CHECK_ID_MAX) {
        return "a check's id has at most 320 bytes";
    }
    if (c->name.len > REGISTRY_NOTES_MAX || c->notes.len > REGISTRY_NOTES_MAX) {
        return "a check's name and notes have at most 512 bytes";
    }
    if (c->service.len > REGISTRY_NAME_MAX || c->instance_id.len > REGISTRY_ID_MAX) {
        return "a check's service name or instance id is too long";
    }
    if (c->output.len > REGISTRY_OUTPUT_MAX) {
        return "a check's output has at most 4096 bytes";
    }
    if (c->def.http.len > REGISTRY_URL_MAX || c->def.method.len > REGISTRY_METHOD_MAX) {
        return "a check's URL has at most 2048 bytes and its method 16";
    }
    if (c->def.tcp.len > REGISTRY_ADDRESS_MAX) {
        return "a check's TCP address has at most 255 bytes";
    }
    if (c->def.header_count > REGISTRY_HEADERS_MAX) {
        return "a check has at most 16 headers";
    }
    for (uint32_t i = 0; i < c->def.header_count; i++) {
        if (c->def.headers[i].key.len > REGISTRY_META_KEY_MAX ||
            c->def.headers[i].value.len > REGISTRY_META_VALUE_MAX) {
            return "a check's header name has at most 128 bytes, its value 512";
        }
    }
    return NULL;
}

static bool duration_ok(uint64_t ms)
{
    return ms <= (uint64_t)DURATION_MAX_S * 1000;
}

static const char *definition_fault(const struct registry_check *c)
{
    const struct registry_check_def *def = &c->def;
    if (!duration_ok(def->interval_ms) || !duration_ok(def->timeout_ms) ||
        !duration_ok(def->ttl_ms) || !duration_ok(def->deregister_critical_after_ms)) {
        return "a check's durations are at most a year";
    }
    switch (c->type) {
    case REGISTRY_CHECK_NONE:
        return NULL;
    case REGISTRY_CHECK_TTL:
        return def->ttl_ms > 0 ? NULL : "a TTL check needs a TTL above zero";
    case REGISTRY_CHECK_HTTP:
        if (def->http.len == 0 || !no_blanks(def->http)) {
            return "an HTTP check needs a URL without blanks";
        }
        return def->interval_ms > 0 ? NULL : "an HTTP check needs an interval above zero";
    case REGISTRY_CHECK_TCP:
        if (def->tcp.len == 0 || !no_blanks(def->tcp)) {
            return "a TCP check needs an address without blanks";
        }
        return def->interval_ms > 0 ? NULL : "a TCP check needs an interval above zero";
    default:
        return "the type of the check is not known";
    }
}

static const char *check_form_fault(const struct registry_check *c)
{
    if (!no_controls(c->id) || !no_controls(c->name)) {
        return "a check's id and name may not have control characters";
    }
    if (c->status < REGISTRY_PASSING || c->status > REGISTRY_CRITICAL) {
        return "a check's status must be passing, warning or critical";
    }
    if (!no_controls(c->service) || !no_controls(c->instance_id)) {
        return "a service's name and id may not have control characters";
    }
    if (!no_blanks(c->def.method)) {
        return "a check's method may not have blanks";
    }
    for (uint32_t i = 0; i < c->def.header_count; i++) {
        if (!registry_id_ok(c->def.headers[i].key, REGISTRY_META_KEY_MAX) ||
            !no_controls(c->def.headers[i].value)) {
            return "a check's headers need names, and may not have control characters";
        }
    }
    return definition_fault(c);
}

enum err registry_check_check(const struct registry_check *check, const char **ret_reason)
{
    const char *fault = check_size_fault(check);
    if (fault != NULL) {
        *ret_reason = fault;
        return ERR_TOO_LARGE;
    }
    fault = check_form_fault(check);
    if (fault != NULL) {
        *ret_reason = fault;
        return ERR_BAD_INPUT;
    }
    return ERR_OK;
}
