/* Machine: the envelope of commands, the once-only rule, and the dispatch.
 *
 * Place: core; see machine.h. */
#include "machine/machine.h"

#include "check/check.h"
#include "kv/kv.h"
#include "member/member.h"
#include "registry/registry.h"
#include "route/route.h"
#include "setting/setting.h"

enum {
    COMMAND_VERSION = 1,
    ROW_VERSION = 1,
    ROW_BYTES = 1 + 8 + 8
};

/* Whose commands have this high byte in their kind. */
static const struct {
    uint8_t family;
    enum err (*apply)(struct apply *a, uint16_t kind, struct bytes body);
} families[] = {
    {KV_CMD_PUT >> 8, kv_apply},           {REGISTRY_CMD_SERVICE_REGISTER >> 8, registry_apply},
    {MEMBER_CMD_PUT >> 8, member_apply},   {ROUTE_CMD_PUT >> 8, route_apply},
    {SETTING_CMD_PUT >> 8, setting_apply},
};

static const struct {
    uint16_t kind;
    const char *name;
} kinds[] = {
    {MACHINE_CMD_CANCELED, "canceled"},
    {KV_CMD_PUT, "kv_put"},
    {KV_CMD_DELETE, "kv_delete"},
    {KV_CMD_DELETE_TREE, "kv_delete_tree"},
    {REGISTRY_CMD_SERVICE_REGISTER, "service_register"},
    {REGISTRY_CMD_SERVICE_DEREGISTER, "service_deregister"},
    {REGISTRY_CMD_CHECK_REGISTER, "check_register"},
    {REGISTRY_CMD_CHECK_DEREGISTER, "check_deregister"},
    {REGISTRY_CMD_CHECK_UPDATE, "check_update"},
    {REGISTRY_CMD_MAINTENANCE, "maintenance"},
    {REGISTRY_CMD_CHECKS_REASSIGN, "checks_reassign"},
    {REGISTRY_CMD_REAP, "service_reap"},
    {MEMBER_CMD_PUT, "member_put"},
    {MEMBER_CMD_STATE, "member_state"},
    {MEMBER_CMD_REMOVE, "member_remove"},
    {ROUTE_CMD_PUT, "route_put"},
    {ROUTE_CMD_REMOVE, "route_remove"},
    {SETTING_CMD_PUT, "setting_put"},
    {SETTING_CMD_REMOVE, "setting_remove"},
};

const char *machine_kind_name(uint16_t kind)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].kind == kind) {
            return kinds[i].name;
        }
    }
    return "unknown";
}

/* ---- envelope -------------------------------------------------------------------------------- */

enum err machine_command_encode(const struct machine_command *command, struct buf *to)
{
    if (command->proposer.node == 0 || command->proposer.sequence == 0) {
        return ERR_BAD_INPUT;
    }
    if (command->principal.len > MACHINE_PRINCIPAL_MAX || command->body.len > MACHINE_COMMAND_MAX) {
        return ERR_TOO_LARGE;
    }
    size_t before = to->len;
    struct writer w = writer_of(to);
    write_u8(&w, COMMAND_VERSION);
    write_u16(&w, command->kind);
    write_u32(&w, command->proposer.node);
    write_u64(&w, command->proposer.incarnation);
    write_u64(&w, command->proposer.sequence);
    write_blob(&w, command->principal);
    write_raw(&w, bytes_of(command->trace, sizeof(command->trace)));
    write_raw(&w, command->body);
    if (w.err == ERR_OK && to->len - before > MACHINE_COMMAND_MAX) {
        w.err = ERR_TOO_LARGE;
    }
    if (w.err != ERR_OK) {
        to->len = before;
    }
    return w.err;
}

enum err machine_command_decode(struct bytes from, struct machine_command *ret_command)
{
    if (from.len > MACHINE_COMMAND_MAX) {
        return ERR_TOO_LARGE;
    }
    struct reader r = reader_of(from);
    uint8_t version = read_u8(&r);
    if (reader_ok(&r) && version != COMMAND_VERSION) {
        return ERR_UNSUPPORTED;
    }
    struct machine_command command = {.kind = read_u16(&r)};
    command.proposer.node = read_u32(&r);
    command.proposer.incarnation = read_u64(&r);
    command.proposer.sequence = read_u64(&r);
    command.principal = read_blob(&r, MACHINE_PRINCIPAL_MAX);
    struct bytes trace = read_raw(&r, MACHINE_TRACE_BYTES);
    command.body = read_raw(&r, reader_left(&r));
    if (!reader_ok(&r) || command.proposer.node == 0 || command.proposer.sequence == 0) {
        return ERR_BAD_INPUT;
    }
    memcpy(command.trace, trace.data, sizeof(command.trace));
    *ret_command = command;
    return ERR_OK;
}

/* ---- once only ------------------------------------------------------------------------------- */

enum err machine_last_of(struct table_txn *txn, uint32_t node, struct machine_proposer *ret_last)
{
    uint8_t key[sizeof(node)];
    put_u32_be(key, node);
    struct bytes value;
    enum err err = table_get(txn, TABLE_PROPOSERS, bytes_of(key, sizeof(key)), &value);
    if (err != ERR_OK) {
        return err;
    }
    if (value.len != ROW_BYTES || value.data[0] != ROW_VERSION) {
        return ERR_CORRUPT;
    }
    *ret_last = (struct machine_proposer){
        .node = node,
        .incarnation = get_u64(value.data + 1),
        .sequence = get_u64(value.data + 9),
    };
    return ERR_OK;
}

static enum err is_duplicate(struct table_txn *txn, const struct machine_proposer *proposer,
                             bool *ret_duplicate)
{
    struct machine_proposer last;
    enum err err = machine_last_of(txn, proposer->node, &last);
    if (err == ERR_NOT_FOUND) {
        *ret_duplicate = false;
        return ERR_OK;
    }
    if (err == ERR_OK) {
        *ret_duplicate =
            proposer->incarnation < last.incarnation ||
            (proposer->incarnation == last.incarnation && proposer->sequence <= last.sequence);
    }
    return err;
}

static enum err advance(struct table_txn *txn, const struct machine_proposer *proposer)
{
    uint8_t key[sizeof(proposer->node)];
    uint8_t value[ROW_BYTES];
    put_u32_be(key, proposer->node);
    value[0] = ROW_VERSION;
    put_u64(value + 1, proposer->incarnation);
    put_u64(value + 9, proposer->sequence);
    return table_put(txn, TABLE_PROPOSERS, bytes_of(key, sizeof(key)),
                     bytes_of(value, sizeof(value)));
}

/* ---- apply ----------------------------------------------------------------------------------- */

void machine_init(struct machine *machine)
{
    buf_init(&machine->record, TABLE_VALUE_MAX);
}

void machine_done(struct machine *machine)
{
    buf_done(&machine->record);
}

static enum err dispatch(struct apply *a, const struct machine_command *command)
{
    if (command->kind == MACHINE_CMD_CANCELED) {
        return command->body.len == 0
                   ? ERR_OK
                   : apply_refuse(a, ERR_BAD_INPUT, "a canceled command has no body");
    }
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (families[i].family == command->kind >> 8) {
            return families[i].apply(a, command->kind, command->body);
        }
    }
    return ERR_UNSUPPORTED;
}

static enum err apply_command(struct apply *a, const struct machine_command *command,
                              struct machine_result *result)
{
    result->kind = command->kind;
    result->proposer = command->proposer;
    enum err err = is_duplicate(a->txn, &command->proposer, &result->duplicate);
    if (err != ERR_OK || result->duplicate) {
        return err;
    }
    err = advance(a->txn, &command->proposer);
    return err == ERR_OK ? dispatch(a, command) : err;
}

enum err machine_apply(struct machine *machine, struct table_txn *txn,
                       const struct machine_entry *entry, struct apply_sink *sink,
                       struct machine_result *ret_result)
{
    uint64_t applied = 0;
    enum err err = table_applied(txn, &applied);
    if (err != ERR_OK) {
        return err;
    }
    CHECK(entry->index > applied);
    struct machine_result result = {.duplicate = false};
    struct apply a = {
        .txn = txn,
        .index = entry->index,
        .time_ms = entry->time_ms,
        .changes = sink,
        .record = &machine->record,
        .result = &result.result,
    };
    struct machine_command command;
    err = machine_command_decode(entry->command, &command);
    if (err == ERR_OK) {
        err = apply_command(&a, &command, &result);
    } else if (err != ERR_UNSUPPORTED) {
        err = apply_refuse(&a, err, "the command is malformed");
    }
    if (err == ERR_OK) {
        err = table_set_applied(txn, entry->index, entry->time_ms);
    }
    if (err != ERR_OK) {
        /* A row that a state machine found unfit is damage: all inputs were checked before. */
        bool told = err == ERR_UNSUPPORTED || err == ERR_NO_SPACE || err == ERR_IO;
        return told ? err : ERR_CORRUPT;
    }
    CHECK(txn->cursors_in_use == 0);
    *ret_result = result;
    return ERR_OK;
}
