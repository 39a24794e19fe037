/* The Consul door: registrations as clients send them, into the registry's terms.
 *
 * Source: Consul's HTTP API, "Register Service" and "Register Check". What is checked here is what
 * is Consul's; limits and forms are the registry's (registry_instance_check,
 * registry_check_check). */
#include "check/check.h"
#include "consul/consul_priv.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- lists and maps -------------------------------------------------------------------------- */

static enum err decode_tags(const json_t *array, struct registry_instance *instance,
                            struct err_note *note)
{
    size_t count = json_array_size(array);
    if (count > REGISTRY_TAGS_MAX) {
        return err_note_set(note, ERR_TOO_LARGE, "a service has at most %d tags",
                            REGISTRY_TAGS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *tag = json_array_get(array, i);
        if (!json_is_string(tag)) {
            return err_note_set(note, ERR_BAD_INPUT, "Tags must be strings");
        }
        instance->tags[i] = web_json_text(tag);
    }
    instance->tag_count = (uint32_t)count;
    return ERR_OK;
}

static enum err decode_meta(const json_t *object, struct registry_instance *instance,
                            struct err_note *note)
{
    if (json_object_size(object) > REGISTRY_META_MAX) {
        return err_note_set(note, ERR_TOO_LARGE, "Meta has at most %d pairs", REGISTRY_META_MAX);
    }
    json_t *tree = (json_t *)(uintptr_t)object;
    const char *key;
    json_t *value;
    json_object_foreach(tree, key, value)
    {
        if (!json_is_string(value)) {
            return err_note_set(note, ERR_BAD_INPUT, "Meta.%.64s must be a string", key);
        }
        instance->meta[instance->meta_count++] =
            (struct registry_pair){bytes_of_str(key), web_json_text(value)};
    }
    return ERR_OK;
}

static enum err decode_tagged(const json_t *object, struct registry_instance *instance,
                              struct err_note *note)
{
    if (json_object_size(object) > REGISTRY_TAGGED_MAX) {
        return err_note_set(note, ERR_TOO_LARGE, "at most %d TaggedAddresses", REGISTRY_TAGGED_MAX);
    }
    json_t *tree = (json_t *)(uintptr_t)object;
    const char *tag;
    json_t *value;
    json_object_foreach(tree, tag, value)
    {
        struct registry_tagged *tagged = &instance->tagged[instance->tagged_count++];
        tagged->tag = bytes_of_str(tag);
        const struct web_field fields[] = {
            {"address", WEB_STRING, &tagged->address},
            {"port", WEB_PORT, &tagged->port},
        };
        enum err err = web_json_fields(value, fields, COUNT_OF(fields), note);
        if (err != ERR_OK) {
            return err_note_wrap(note, err, "TaggedAddresses.%.64s", tag);
        }
    }
    return ERR_OK;
}

static enum err decode_weights(const json_t *object, struct registry_instance *instance,
                               struct err_note *note)
{
    instance->weight_passing = 1;
    instance->weight_warning = 1;
    if (object == NULL) {
        return ERR_OK;
    }
    const struct web_field fields[] = {
        {"passing", WEB_COUNT, &instance->weight_passing},
        {"warning", WEB_COUNT, &instance->weight_warning},
    };
    enum err err = web_json_fields(object, fields, COUNT_OF(fields), note);
    if (err != ERR_OK) {
        return err_note_wrap(note, err, "Weights");
    }
    return instance->weight_passing > 0
               ? ERR_OK
               : err_note_set(note, ERR_BAD_INPUT, "Passing must be greater than 0");
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* What a check's object may say, before it is known what it means. */
struct check_fields {
    struct bytes id;
    struct bytes check_id;
    struct bytes status;
    const json_t *header;
    const json_t *foreign[10]; /* kinds of checks that are not built */
};

/* In the order of check_fields.foreign. */
static const char *const foreign_kinds[] = {
    "script", "script",      "script", "Docker", "gRPC",
    "UDP",    "HTTP/2 ping", "alias",  "alias",  "OS service",
};

/* Clients send every field they know, empty ones too. */
static bool says_something(const json_t *value)
{
    if (json_is_string(value)) {
        return json_string_length(value) > 0;
    }
    return json_is_array(value) ? json_array_size(value) > 0 : value != NULL;
}

static enum err refuse_foreign(const struct check_fields *fields, struct err_note *note)
{
    for (size_t i = 0; i < COUNT_OF(foreign_kinds); i++) {
        if (says_something(fields->foreign[i])) {
            return err_note_set(note, ERR_BAD_INPUT,
                                "%s checks are not built into this version of Flotilla: use TTL, "
                                "HTTP or TCP",
                                foreign_kinds[i]);
        }
    }
    return ERR_OK;
}

static enum err add_header(struct registry_check_def *def, const char *name, const json_t *value,
                           struct err_note *note)
{
    if (!json_is_string(value)) {
        return err_note_set(note, ERR_BAD_INPUT, "Header.%.64s must be a list of strings", name);
    }
    if (def->header_count == REGISTRY_HEADERS_MAX) {
        return err_note_set(note, ERR_TOO_LARGE, "a check has at most %d headers",
                            REGISTRY_HEADERS_MAX);
    }
    def->headers[def->header_count++] =
        (struct registry_pair){bytes_of_str(name), web_json_text(value)};
    return ERR_OK;
}

static enum err decode_headers(const json_t *object, struct registry_check_def *def,
                               struct err_note *note)
{
    json_t *tree = (json_t *)(uintptr_t)object;
    const char *name;
    json_t *value;
    enum err err = ERR_OK;
    json_object_foreach(tree, name, value)
    {
        if (!json_is_array(value)) {
            err = add_header(def, name, value, note);
        }
        for (size_t i = 0; err == ERR_OK && i < json_array_size(value); i++) {
            err = add_header(def, name, json_array_get(value, i), note);
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err check_http(const struct registry_check_def *def, struct err_note *note)
{
    if (!bytes_has_prefix(def->http, BYTES_LITERAL("http://"))) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "HTTP checks need a URL that begins with http:// (https is not built "
                            "into this version of Flotilla)");
    }
    return ERR_OK;
}

/* The type follows from what is given. */
static enum err decide_type(struct registry_check *check, struct err_note *note)
{
    const struct registry_check_def *def = &check->def;
    bool http = def->http.len > 0;
    bool tcp = def->tcp.len > 0;
    bool ttl = def->ttl_ms > 0;
    if ((http ? 1 : 0) + (tcp ? 1 : 0) + (ttl ? 1 : 0) > 1) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "a check is one of TTL, HTTP and TCP, not several");
    }
    if (ttl) {
        check->type = REGISTRY_CHECK_TTL;
        return ERR_OK;
    }
    if (!http && !tcp) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "a check needs a TTL, or an Interval and HTTP or TCP");
    }
    check->type = http ? REGISTRY_CHECK_HTTP : REGISTRY_CHECK_TCP;
    if (def->interval_ms == 0) {
        return err_note_set(note, ERR_BAD_INPUT, "Interval must be > 0 for HTTP and TCP checks");
    }
    return http ? check_http(def, note) : ERR_OK;
}

static enum err decode_status(struct bytes status, struct registry_check *check,
                              struct err_note *note)
{
    check->status = REGISTRY_CRITICAL;
    if (status.len == 0 || registry_status_parse(status, &check->status)) {
        return ERR_OK;
    }
    return err_note_set(note, ERR_BAD_INPUT,
                        "Status must be \"passing\", \"warning\" or \"critical\"");
}

enum err consul_decode_check(const json_t *object, bool run, struct registry_check *check,
                             struct err_note *note)
{
    struct check_fields found = {.id = {NULL, 0}};
    struct registry_check_def *def = &check->def;
    const struct web_field fields[] = {
        {"id", WEB_STRING, &found.id},
        {"checkid", WEB_STRING, &found.check_id},
        {"name", WEB_STRING, &check->name},
        {"notes", WEB_STRING, &check->notes},
        {"output", WEB_STRING, &check->output},
        {"serviceid", WEB_STRING, &check->instance_id},
        {"status", WEB_STRING, &found.status},
        {"ttl", WEB_DURATION, &def->ttl_ms},
        {"interval", WEB_DURATION, &def->interval_ms},
        {"timeout", WEB_DURATION, &def->timeout_ms},
        {"http", WEB_STRING, &def->http},
        {"method", WEB_STRING, &def->method},
        {"header", WEB_OBJECT, &found.header},
        {"tcp", WEB_STRING, &def->tcp},
        {"deregistercriticalserviceafter", WEB_DURATION, &def->deregister_critical_after_ms},
        {"successbeforepassing", WEB_COUNT, &def->success_before_passing},
        {"failuresbeforecritical", WEB_COUNT, &def->failures_before_critical},
        {"args", WEB_ANY, &found.foreign[0]},
        {"scriptargs", WEB_ANY, &found.foreign[1]},
        {"script", WEB_ANY, &found.foreign[2]},
        {"dockercontainerid", WEB_ANY, &found.foreign[3]},
        {"grpc", WEB_ANY, &found.foreign[4]},
        {"udp", WEB_ANY, &found.foreign[5]},
        {"h2ping", WEB_ANY, &found.foreign[6]},
        {"aliasservice", WEB_ANY, &found.foreign[7]},
        {"aliasnode", WEB_ANY, &found.foreign[8]},
        {"osservice", WEB_ANY, &found.foreign[9]},
    };
    *check = (struct registry_check){.type = REGISTRY_CHECK_NONE};
    enum err err = web_json_fields(object, fields, COUNT_OF(fields), note);
    if (err == ERR_OK) {
        check->id = found.check_id.len > 0 ? found.check_id : found.id;
        err = decode_status(found.status, check, note);
    }
    if (err == ERR_OK && run) {
        check->output = bytes_of(NULL, 0);
        err = refuse_foreign(&found, note);
    }
    if (err == ERR_OK && found.header != NULL) {
        err = decode_headers(found.header, def, note);
    }
    return err == ERR_OK && run ? decide_type(check, note) : err;
}

/* ---- services -------------------------------------------------------------------------------- */

static enum err add_check(struct consul_registration *registration, const json_t *object,
                          struct err_note *note)
{
    if (registration->check_count == REGISTRY_CHECKS_MAX) {
        return err_note_set(note, ERR_TOO_LARGE, "a registration has at most %d checks",
                            REGISTRY_CHECKS_MAX);
    }
    struct registry_check *check = &registration->checks[registration->check_count];
    enum err err = consul_decode_check(object, true, check, note);
    if (err != ERR_OK) {
        return err;
    }
    for (uint32_t i = 0; check->id.len > 0 && i < registration->check_count; i++) {
        if (bytes_eq(registration->checks[i].id, check->id)) {
            return err_note_set(note, ERR_BAD_INPUT, "two checks have the ID \"%.*s\"",
                                BYTES_PRINT(check->id));
        }
    }
    check->service = registration->instance.service;
    check->instance_id = registration->instance.id;
    registration->check_count++;
    const char *reason = NULL;
    err = registry_check_check(check, &reason);
    return err == ERR_OK ? ERR_OK : err_note_set(note, err, "%s", reason);
}

static enum err add_checks(struct consul_registration *registration, const json_t *one,
                           const json_t *several, struct err_note *note)
{
    enum err err = ERR_OK;
    /* Clients send an empty object for "no check". */
    if (one != NULL && json_object_size(one) > 0) {
        err = add_check(registration, one, note);
    }
    for (size_t i = 0; err == ERR_OK && i < json_array_size(several); i++) {
        err = add_check(registration, json_array_get(several, i), note);
    }
    return err;
}

/* Addresses that nobody can be reached at. */
static bool is_unspecified(struct bytes address)
{
    return bytes_eq_str(address, "0.0.0.0") || bytes_eq_str(address, "::") ||
           bytes_eq_str(address, "[::]");
}

static enum err judge_instance(const struct registry_instance *instance, struct err_note *note)
{
    if (instance->service.len == 0) {
        return err_note_set(note, ERR_BAD_INPUT, "Missing service name");
    }
    if (is_unspecified(instance->address)) {
        return err_note_set(note, ERR_BAD_INPUT, "Invalid service address");
    }
    struct registry_instance placed = *instance;
    const char *reason = NULL;
    placed.node = 1; /* any: the caller's is not set yet */
    enum err err = registry_instance_check(&placed, &reason);
    return err == ERR_OK ? ERR_OK : err_note_set(note, err, "%s", reason);
}

enum err consul_decode_service(const json_t *root, struct consul_registration *registration,
                               struct err_note *note)
{
    struct registry_instance *instance = &registration->instance;
    const json_t *tags = NULL;
    const json_t *meta = NULL;
    const json_t *tagged = NULL;
    const json_t *weights = NULL;
    const json_t *check = NULL;
    const json_t *checks = NULL;
    struct bytes service = {NULL, 0};
    const struct web_field fields[] = {
        {"id", WEB_STRING, &instance->id},
        {"name", WEB_STRING, &instance->service},
        {"service", WEB_STRING, &service}, /* the catalog's word for the name */
        {"address", WEB_STRING, &instance->address},
        {"port", WEB_PORT, &instance->port},
        {"kind", WEB_STRING, &instance->kind},
        {"enabletagoverride", WEB_BOOL, &instance->enable_tag_override},
        {"tags", WEB_ARRAY, &tags},
        {"meta", WEB_OBJECT, &meta},
        {"taggedaddresses", WEB_OBJECT, &tagged},
        {"weights", WEB_OBJECT, &weights},
        {"check", WEB_OBJECT, &check},
        {"checks", WEB_ARRAY, &checks},
    };
    *instance = (struct registry_instance){.origin = REGISTRY_ORIGIN_CONSUL};
    registration->check_count = 0;
    enum err err = web_json_fields(root, fields, COUNT_OF(fields), note);
    instance->service = instance->service.len == 0 ? service : instance->service;
    instance->id = instance->id.len == 0 ? instance->service : instance->id;
    if (err == ERR_OK) {
        err = decode_tags(tags, instance, note);
    }
    if (err == ERR_OK) {
        err = decode_meta(meta, instance, note);
    }
    if (err == ERR_OK) {
        err = decode_tagged(tagged, instance, note);
    }
    if (err == ERR_OK) {
        err = decode_weights(weights, instance, note);
    }
    if (err == ERR_OK) {
        err = judge_instance(instance, note);
    }
    return err == ERR_OK ? add_checks(registration, check, checks, note) : err;
}
