/* The API door: services with their instances, for the CLI and the console. */
#include "api/api_priv.h"
#include "registry/registry.h"

struct service_rows {
    struct json_out *out;
    struct table_txn *txn;
};

static enum err write_check(void *context, const struct registry_check *check)
{
    const struct service_rows *rows = context;
    struct json_out *out = rows->out;
    json_out_object(out);
    json_out_field_bytes(out, "id", check->id);
    json_out_field_bytes(out, "name", check->name);
    json_out_field_str(out, "type", registry_check_type_name(check->type));
    json_out_field_str(out, "status", registry_status_name(check->status));
    json_out_field_bytes(out, "output", check->output);
    json_out_field_u64(out, "owner", check->owner);
    json_out_object_end(out);
    return ERR_OK;
}

static void write_lists(struct json_out *out, const struct registry_instance *instance)
{
    json_out_key(out, "tags");
    json_out_array(out);
    for (uint32_t i = 0; i < instance->tag_count; i++) {
        json_out_bytes(out, instance->tags[i]);
    }
    json_out_array_end(out);
    json_out_key(out, "meta");
    json_out_object(out);
    for (uint32_t i = 0; i < instance->meta_count; i++) {
        json_out_key_bytes(out, instance->meta[i].key);
        json_out_bytes(out, instance->meta[i].value);
    }
    json_out_object_end(out);
}

/* An instance without an address of its own is reached at its node's. */
static enum err write_place(const struct service_rows *rows,
                            const struct registry_instance *instance)
{
    struct json_out *out = rows->out;
    struct member member;
    enum err err = member_get(rows->txn, instance->node, &member);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    json_out_key(out, "node");
    json_out_bytes(out, err == ERR_OK ? member.name : bytes_of(NULL, 0));
    struct bytes address = instance->address;
    if (address.len == 0 && err == ERR_OK) {
        size_t colon = member.http_address.len;
        while (colon > 0 && member.http_address.data[colon - 1] != ':') {
            colon--;
        }
        address = bytes_of(member.http_address.data, colon > 0 ? colon - 1 : 0);
    }
    json_out_field_bytes(out, "address", address);
    json_out_field_u64(out, "port", instance->port);
    return ERR_OK;
}

static enum err write_instance(void *context, const struct registry_instance *instance,
                               enum registry_status status)
{
    struct service_rows *rows = context;
    struct json_out *out = rows->out;
    json_out_object(out);
    json_out_field_bytes(out, "id", instance->id);
    json_out_field_str(out, "status", registry_status_name(status));
    enum err err = write_place(rows, instance);
    if (err != ERR_OK) {
        return err;
    }
    write_lists(out, instance);
    json_out_key(out, "checks");
    json_out_array(out);
    err = registry_instance_checks(rows->txn, instance, write_check, rows);
    json_out_array_end(out);
    json_out_object_end(out);
    return err;
}

static enum err write_service(void *context, const struct registry_service *service)
{
    struct service_rows *rows = context;
    struct json_out *out = rows->out;
    json_out_object(out);
    json_out_field_bytes(out, "name", service->name);
    json_out_field_u64(out, "modify_index", service->modify_index);
    json_out_key(out, "instances");
    json_out_array(out);
    enum err err = registry_service_instances(rows->txn, service->key, false, write_instance, rows);
    json_out_array_end(out);
    json_out_object_end(out);
    return err;
}

static enum err render(struct api_read *read, struct json_out *out,
                       const struct node_snapshot *snapshot, uint64_t index)
{
    (void)read;
    struct service_rows rows = {.out = out, .txn = snapshot->txn};
    json_out_object(out);
    json_out_field_u64(out, "index", index);
    json_out_key(out, "services");
    json_out_array(out);
    enum err err = registry_services(snapshot->txn, write_service, &rows);
    if (err == ERR_OK) {
        json_out_array_end(out);
        json_out_object_end(out);
    }
    return err;
}

/* Everything that the answer shows. */
static enum err index_of(struct web_read *read, struct table_txn *txn, uint64_t *ret_index)
{
    (void)read;
    uint64_t services = 0;
    uint64_t checks = 0;
    uint64_t members = 0;
    enum err err = registry_index_of_all_services(txn, &services);
    if (err == ERR_OK) {
        err = registry_index_of_checks(txn, &checks);
    }
    if (err == ERR_OK) {
        err = member_index(txn, &members);
    }
    if (err == ERR_OK) {
        uint64_t newest = services > checks ? services : checks;
        *ret_index = newest > members ? newest : members;
    }
    return err;
}

void api_services(const struct web_ask *ask)
{
    struct api_read *read = api_read_new(ask);
    if (read != NULL) {
        read->render = render;
        read->read.index = index_of;
        read->read.topics[0] = (struct web_topic){.table = TABLE_INSTANCES, .prefix = true};
        read->read.topics[1] = (struct web_topic){.table = TABLE_CHECKS, .prefix = true};
        read->read.topics[2] = (struct web_topic){.table = TABLE_MEMBERS, .prefix = true};
        read->read.topic_count = 3;
        api_read_start(read);
    }
}
